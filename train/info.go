package train

import (
	"io"
)

// Info is what is told of a job that is not running.
type Info struct {
	Step     int      `json:"step"`     // optimizer steps done
	Steps    int      `json:"steps"`    // of the whole run
	Updates  int      `json:"updates"`  // steps done that changed the weights
	Pending  int      `json:"pending"`  // sequences of the optimizer step that has begun
	Batch    int      `json:"batch"`    // sequences of an optimizer step
	Base     string   `json:"base"`     // fingerprint of the base model, and compute type
	Data     DataInfo `json:"data"`     // what it is trained on
	Settings Settings `json:"settings"` // as the flags say
	State    int64    `json:"state_bytes"`
	Log      int64    `json:"log_bytes"`
}

// DataInfo tells data apart.
type DataInfo struct {
	File      string `json:"file"`
	Sequences int    `json:"sequences"`
	Hash      string `json:"hash"` // of all ids and targets
}

// Inspect reads what a job would resume from the folder dir.
func Inspect(dir string) (Info, error) {
	f := folder{dir: dir, disk: osDisk{}}
	c, err := f.read()
	if err != nil {
		return Info{}, err
	}
	return c.info()
}

// InspectFile reads a job file to its end, and checks all of it.
func InspectFile(r io.Reader) (Info, error) {
	c, err := readJobFile(r, func(checkpoint, string, io.Reader) error { return nil })
	if err != nil {
		return Info{}, err
	}
	return c.info()
}

func (c checkpoint) info() (Info, error) {
	steps, err := c.steps()
	p := c.Progress
	return Info{
		Step: p.Step, Steps: steps, Updates: p.Updates, Pending: p.Cursor - p.Step*c.Settings.batch(), Batch: c.Settings.batch(),
		Base: c.Base, Data: DataInfo(c.Data), Settings: c.Settings, State: c.State.Bytes, Log: c.LogBytes,
	}, err
}
