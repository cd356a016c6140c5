package train

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// packedJob is the job file of a job that stopped in the middle of a step, and
// its folder.
func packedJob(t *testing.T) ([]byte, Config) {
	t.Helper()
	c, d := config(t)
	c.Rows = 40
	j := newTestJob(t, c)
	for j.at.Step < 4 || j.at.Cursor == 24 {
		d.step(t, j, c.Rows, c.Blocks)
	}
	j.Stop()
	d.step(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	var file bytes.Buffer
	require.NoError(t, Pack(c.Out, &file))
	return file.Bytes(), c
}

// tree is all files below a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		all[name] = read(t, path)
		return err
	}))
	return all
}

// requireRefused checks that nothing is left of what could not be unpacked.
func requireRefused(t *testing.T, file []byte, why string) {
	t.Helper()
	parent := t.TempDir()
	err := unpack(bytes.NewReader(file), filepath.Join(parent, "out"), quick{})
	require.ErrorContains(t, err, why)
	require.NotContains(t, err.Error(), "\n")
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestAJobFileIsATarArchive(t *testing.T) {
	file, c := packedJob(t)
	archive := tar.NewReader(bytes.NewReader(file))
	content := map[string]string{}
	var names []string
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(archive)
		require.NoError(t, err)
		require.Equal(t, []any{int64(len(data)), byte(tar.TypeReg), int64(0o644)}, []any{h.Size, h.Typeflag, h.Mode})
		names = append(names, h.Name)
		content[h.Name] = string(data)
	}
	require.Equal(t, []string{"manifest.json", "job.json", "adapter_config.json", "adapter_model.safetensors", "optimizer.bin", "training_log.jsonl"}, names)
	var m manifest
	require.NoError(t, json.Unmarshal([]byte(content["manifest.json"]), &m))
	for _, f := range m.Files {
		require.Equal(t, markBlob([]byte(content[f.Name])), f.blobMark, f.Name)
	}
	require.Equal(t, read(t, c.Out, logFile), content[logFile])
}

func TestLargeSizesHaveAHeader(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 1<<33 - 1, 1 << 33, 60 << 30} {
		h, err := tar.NewReader(bytes.NewReader(tarHeader(stateFile, size))).Next()
		require.NoError(t, err)
		require.Equal(t, []any{stateFile, size, byte(tar.TypeReg)}, []any{h.Name, h.Size, h.Typeflag})
	}
}

func TestUnpackGivesTheFolderBack(t *testing.T) {
	file, c := packedJob(t)
	for name, out := range map[string]string{"new": "out", "deep": "a/b/out/"} {
		t.Run(name, func(t *testing.T) {
			out = filepath.Join(t.TempDir(), out)
			rest := strings.NewReader("rest")
			require.NoError(t, Unpack(io.MultiReader(iotest.HalfReader(bytes.NewReader(file)), rest), out))
			require.Equal(t, 4, rest.Len(), "it reads no further")
			want, got := tree(t, c.Out), tree(t, out)
			want["state/latest"], got["state/latest"] = "", "" // the names in state/ may differ
			for path, content := range want {
				if strings.HasPrefix(path, "state/step-4") {
					path = filepath.Join("state/step-4", filepath.Base(path))
				}
				require.Equal(t, content, got[path], path)
			}
			require.Len(t, got, len(want))
			var again bytes.Buffer
			require.NoError(t, Pack(out, &again))
			require.Equal(t, file, again.Bytes())
		})
	}
}

func TestWhatIsThereIsNotOverwritten(t *testing.T) {
	file, c := packedJob(t)
	empty, one := t.TempDir(), filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(one, []byte("mine"), 0o600))
	for _, out := range []string{c.Out, empty, one} {
		before := tree(t, filepath.Dir(out))
		require.EqualError(t, Unpack(bytes.NewReader(file), out), out+" is there already: unpack into a folder that is not")
		require.Equal(t, before, tree(t, filepath.Dir(out)))
	}
	require.ErrorContains(t, Unpack(bytes.NewReader(file), filepath.Join(one, "out")), one)
}

// A folder that comes while the file is read stays too.
func TestAFolderThatComesMeanwhileStays(t *testing.T) {
	file, _ := packedJob(t)
	parent := t.TempDir()
	out := filepath.Join(parent, "out")
	late := io.MultiReader(bytes.NewReader(file[:len(file)-1]), readerFunc(func(p []byte) (int, error) {
		p[0] = 0
		return 1, os.WriteFile(out, []byte("mine"), 0o600)
	}))
	require.ErrorContains(t, unpack(late, out, quick{}), "is there already")
	require.Equal(t, map[string]string{"out": "mine"}, tree(t, parent))
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAJobFileCutShortIsRefused(t *testing.T) {
	file, _ := packedJob(t)
	for n := range file {
		_, err := InspectFile(bytes.NewReader(file[:n]))
		require.ErrorIs(t, err, errCutShort, "after %d bytes", n)
		if n%101 == 0 || len(file)-n < 3 {
			requireRefused(t, file[:n], "the job file is cut short")
		}
	}
}

// Every byte of a job file matters: whichever is changed, it is refused.
func TestAJobFileWithAChangedByteIsRefused(t *testing.T) {
	file, c := packedJob(t)
	r := rand.New(rand.NewPCG(1, 2))
	want, err := Inspect(c.Out)
	require.NoError(t, err)
	identical := 0
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= byte(1 + r.IntN(255))
		info, err := InspectFile(bytes.NewReader(damaged))
		if err == nil { // a space in the manifest, or a letter's case in a name there
			require.Equal(t, want, info, "byte %d", i)
			identical++
		} else if r.IntN(40) == 0 {
			requireRefused(t, damaged, err.Error())
		}
	}
	require.Less(t, identical, len(file)/10)
}

// rewritten is a job file with another manifest, or with other files that it
// vouches for.
func rewritten(t *testing.T, c Config, change func(m *manifest, content map[string][]byte)) []byte {
	t.Helper()
	f := folder{dir: c.Out, disk: quick{}}
	require.NoError(t, f.find())
	m, content := manifest{Format: jobFormat, Version: jobFileVersion}, map[string][]byte{}
	for _, l := range memberLimits() {
		path := f.path(stateDir, f.latest, l.name)
		if l.name == logFile {
			path = f.path(logFile)
		}
		content[l.name] = []byte(read(t, path))
		m.Files = append(m.Files, member{l.name, markBlob(content[l.name])})
	}
	change(&m, content)
	var out bytes.Buffer
	require.NoError(t, writeManifest(&out, m))
	for _, l := range m.Files {
		out.Write(tarHeader(l.Name, l.Bytes))
		out.Write(content[l.Name])
		out.Write(make([]byte, tarPadding(int64(len(content[l.Name])))))
	}
	out.Write(make([]byte, 2*tarBlock))
	return out.Bytes()
}

// Files that nobody damaged, but no job wrote.
func TestAForgedJobFileIsRefused(t *testing.T) {
	file, c := packedJob(t)
	require.Equal(t, file, rewritten(t, c, func(*manifest, map[string][]byte) {}))
	put := func(m *manifest, content map[string][]byte, name string, data []byte) {
		for i := range m.Files {
			if m.Files[i].Name == name {
				m.Files[i].blobMark, content[name] = markBlob(data), data
			}
		}
	}
	job := func(change func(*checkpoint)) func(*manifest, map[string][]byte) {
		return func(m *manifest, content map[string][]byte) {
			var k checkpoint
			require.NoError(t, json.Unmarshal(content[jobFile], &k))
			change(&k)
			data, err := json.Marshal(k)
			require.NoError(t, err)
			put(m, content, jobFile, data)
		}
	}
	for want, change := range map[string]func(*manifest, map[string][]byte){
		"manifest.json is not one of a job":                             func(m *manifest, _ map[string][]byte) { m.Format = "else" },
		"manifest.json: version 2, want 1":                              func(m *manifest, _ map[string][]byte) { m.Version = 2 },
		"manifest.json: 4 files, want 5":                                func(m *manifest, _ map[string][]byte) { m.Files = m.Files[:4] },
		`manifest.json: file 2 is "../../x", want "adapter_config`:      func(m *manifest, _ map[string][]byte) { m.Files[1].Name = "../../x" },
		"job.json has 1048577 bytes, at most 1048576":                   func(m *manifest, _ map[string][]byte) { m.Files[0].Bytes = 1<<20 + 1 },
		"adapter_config.json has -1 bytes":                              func(m *manifest, _ map[string][]byte) { m.Files[1].Bytes = -1 },
		"optimizer.bin has 68719476737 bytes, at most 68719476736":      func(m *manifest, _ map[string][]byte) { m.Files[3].Bytes = 64<<30 + 1 },
		"optimizer.bin has 3 bytes and the hash sha256:":                func(m *manifest, c map[string][]byte) { put(m, c, stateFile, []byte("abc")) },
		"training_log.jsonl has 4000 bytes, job.json says at most":      func(m *manifest, c map[string][]byte) { put(m, c, logFile, make([]byte, 4000)) },
		"job.json: unexpected end of JSON input":                        func(m *manifest, c map[string][]byte) { put(m, c, jobFile, []byte("{")) },
		"job.json: version 7, want 1":                                   job(func(k *checkpoint) { k.Version = 7 }),
		"job.json: step 10, but there are 9":                            job(func(k *checkpoint) { k.Progress.Step = 10 }),
		"job.json: --lr -1: it takes a number above 0":                  job(func(k *checkpoint) { k.Settings.LR = -1 }),
		"job.json: 0 sequences, want 1 to 268435456":                    job(func(k *checkpoint) { k.Data.Sequences = 0 }),
		"adapter_model.safetensors: it is damaged: its hash is sha256:": func(_ *manifest, c map[string][]byte) { c[modelFile][0]++ },
	} {
		requireRefused(t, rewritten(t, c, change), want)
	}
	for want, file := range map[string][]byte{
		"manifest.json: the job file is cut short": nil,
		"not a job file": bytes.Repeat([]byte("no "), 1000),
	} {
		requireRefused(t, file, want)
	}
	requireRefused(t, tarHeader(manifestFile, maxManifest+1), "not a job file")
}

func TestAFailingReaderIsReported(t *testing.T) {
	file, _ := packedJob(t)
	broken := errors.New("the line is broken")
	for _, n := range []int{0, 100, 600, 2000, 5000, len(file) - 1} {
		r := io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken))
		require.ErrorIs(t, unpack(r, filepath.Join(t.TempDir(), "out"), quick{}), broken)
	}
}

// Killed or without room at any operation, there is no folder of that name, or
// the whole of it.
func TestUnpackingIsAllOrNothing(t *testing.T) {
	file, _ := packedJob(t)
	whole := filepath.Join(t.TempDir(), "out")
	require.NoError(t, unpack(bytes.NewReader(file), whole, quick{}))
	want := tree(t, whole)
	for operations := 0; ; operations++ {
		left, out := operations, filepath.Join(t.TempDir(), "out")
		err := unpack(bytes.NewReader(file), out, mortal{left: &left})
		if _, missing := os.Stat(out); missing == nil {
			require.Equal(t, want, tree(t, out))
		}
		if err == nil {
			require.Greater(t, operations, 10)
			return
		}
		require.ErrorIs(t, err, errKilled)
	}
}
