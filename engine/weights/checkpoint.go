package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

const (
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
	maxIndex   = 64 << 20 // bytes of the index
)

// A Checkpoint is a model folder whose files hold every tensor its
// configuration needs, in the right shape and a supported type; or such a model
// of random numbers, without files.
type Checkpoint struct {
	Config  Config
	folder  Folder // nil where there are no files
	tensors map[string]Tensor
}

// Open reads a model folder's configuration and headers and checks that what the
// model needs is there. Tensors the model does not need are left out: buffers
// of older versions, or an output matrix beside tied embeddings. The Checkpoint
// owns the folder; where Open fails the caller still does.
func Open(folder Folder) (*Checkpoint, error) {
	config, err := ReadConfig(folder)
	if err != nil {
		return nil, err
	}
	all, err := readModel(folder)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{Config: config, folder: folder, tensors: map[string]Tensor{}}
	for _, spec := range config.Tensors() {
		if c.tensors[spec.Name], err = need(all, spec, folder); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// need finds the tensor of a Spec.
func need(all map[string]stored, spec Spec, folder Folder) (Tensor, error) {
	s, ok := all[spec.Name]
	if !ok {
		return Tensor{}, fmt.Errorf("%s: tensor %q of shape %v is missing", folder.Path(""), spec.Name, spec.Shape)
	}
	t, err := s.tensor()
	if err != nil {
		return Tensor{}, err
	}
	return t, t.CheckShape(spec.Shape, "config.json")
}

// readModel finds the tensors of the one file or, where it does not exist, of
// the files the index names.
func readModel(folder Folder) (map[string]stored, error) {
	all, err := readSafetensors(folder, singleFile)
	if err == nil {
		return byName(all), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err := folder.Read(indexFile, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has neither %s nor %s: %w", folder.Path(""), singleFile, indexFile, err)
	}
	if err != nil {
		return nil, err
	}
	return readShards(folder, data)
}

func byName(all []stored) map[string]stored {
	m := make(map[string]stored, len(all))
	for _, s := range all {
		m[s.Name] = s
	}
	return m
}

// readShards takes each tensor from the file that the index gives for it.
func readShards(folder Folder, index []byte) (map[string]stored, error) {
	var body struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	path := folder.Path(indexFile)
	if err := json.Unmarshal(index, &body); err != nil {
		return nil, fmt.Errorf("%s: not an index: %w", path, err)
	}
	if len(body.WeightMap) == 0 {
		return nil, fmt.Errorf("%s: weight_map is missing or empty", path)
	}
	shards := map[string]map[string]stored{}
	all := make(map[string]stored, len(body.WeightMap))
	for _, name := range slices.Sorted(maps.Keys(body.WeightMap)) {
		file := body.WeightMap[name]
		if shards[file] == nil {
			shard, err := readSafetensors(folder, file)
			if err != nil {
				return nil, fmt.Errorf("%s: the file of tensor %s: %w", path, quote(name), err)
			}
			shards[file] = byName(shard)
		}
		s, ok := shards[file][name]
		if !ok {
			return nil, fmt.Errorf("%s: tensor %s is not in %s", path, quote(name), quote(file))
		}
		all[name] = s
	}
	return all, nil
}

// Tensor is the tensor of that name, of those Config.Tensors lists.
func (c *Checkpoint) Tensor(name string) (Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Names lists the tensors, sorted.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.tensors)) }

// Bytes is how many bytes the tensors have in their types.
func (c *Checkpoint) Bytes() int64 {
	var n int64
	for _, t := range c.tensors {
		n += int64(t.Bytes())
	}
	return n
}

// Close closes the folder; the tensors' data is gone then.
func (c *Checkpoint) Close() error {
	if c.folder == nil {
		return nil
	}
	return c.folder.Close()
}
