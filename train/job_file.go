package train

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// A job file is a stream with all that another process needs to go on with a
// job: an uncompressed tar archive of these files in this order.
//
//	manifest.json              format and version, then name, size and SHA-256 of each file below
//	job.json                   settings, progress, pending accumulation, marks of base, data and state
//	adapter_config.json        the adapter, as PEFT has it
//	adapter_model.safetensors
//	optimizer.bin              weights, moments, the gradient gathered so far
//	training_log.jsonl         as far as it belongs to job.json
//
// Every byte outside the files is determined by the names and sizes: tar
// headers with mode 0644, owner 0 and time 0, padding of zeros to 512 bytes, and
// two blocks of zeros at the end. A reader takes nothing else, so no damage goes
// unnoticed, and no name from a file ever reaches a file system.
const (
	manifestFile   = "manifest.json"
	jobFormat      = "loquetier job"
	jobFileVersion = 1

	tarBlock    = 512
	maxManifest = 64 << 10 // bytes
	maxModel    = 64 << 30 // bytes of the adapter's tensors
)

var errNoJobFile = errors.New("not a job file")

// memberLimit is a file of a job file with the most bytes it may have.
type memberLimit struct {
	name string
	most int64
}

// memberLimits are the files after the manifest, in their order.
func memberLimits() []memberLimit {
	return []memberLimit{{jobFile, maxSmallFile}, {configFile, maxSmallFile}, {modelFile, maxModel}, {stateFile, maxState}, {logFile, maxLog}}
}

// manifest is manifest.json.
type manifest struct {
	Format  string   `json:"format"`
	Version int      `json:"version"`
	Files   []member `json:"files"`
}

// member is a file of a job file.
type member struct {
	Name string `json:"name"`
	blobMark
}

// mark is what the manifest says of a file that it has.
func (m manifest) mark(name string) blobMark {
	for _, f := range m.Files {
		if f.Name == name {
			return f.blobMark
		}
	}
	panic("BUG: no " + name + " in a job file's manifest")
}

// readManifest refuses what this program does not write.
func readManifest(data []byte) (m manifest, err error) {
	if json.Unmarshal(data, &m) != nil || m.Format != jobFormat {
		return m, fmt.Errorf("%w: %s is not one of a job", errNoJobFile, manifestFile)
	}
	if m.Version != jobFileVersion {
		return m, fmt.Errorf("%s: version %d, want %d", manifestFile, m.Version, jobFileVersion)
	}
	limits := memberLimits()
	if len(m.Files) != len(limits) {
		return m, fmt.Errorf("%s: %d files, want %d", manifestFile, len(m.Files), len(limits))
	}
	for i, want := range limits {
		switch got := m.Files[i]; {
		case got.Name != want.name:
			return m, fmt.Errorf("%s: file %d is %q, want %q", manifestFile, i+1, got.Name, want.name)
		case got.Bytes < 0 || got.Bytes > want.most:
			return m, fmt.Errorf("%s: %s has %d bytes, at most %d are taken", manifestFile, want.name, got.Bytes, want.most)
		}
	}
	return m, nil
}

// tarHeader is the header of a plain file, in GNU's variety of the format,
// which has room for large sizes.
func tarHeader(name string, size int64) []byte {
	h := make([]byte, tarBlock)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	if copy(h[124:], fmt.Sprintf("%011o\x00", size)) > 12 {
		h[124] = 0x80 // a binary number follows
		binary.BigEndian.PutUint64(h[128:], uint64(size))
		clear(h[125:128])
	}
	copy(h[136:], "00000000000\x00        0")
	copy(h[257:], "ustar  \x00")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// tarSize is the size in the header of a small file of that name; false: it is
// no such header.
func tarSize(header []byte, name string) (int64, bool) {
	size, err := strconv.ParseInt(string(header[124:135]), 8, 64)
	return size, err == nil && size >= 0 && bytes.Equal(header, tarHeader(name, size))
}

// tarPadding is the number of zeros after size bytes.
func tarPadding(size int64) int64 { return (tarBlock - size%tarBlock) % tarBlock }
