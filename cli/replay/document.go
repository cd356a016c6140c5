package replay

import (
	"encoding/json"
	"io"
)

// Report is a run with what it was made of.
type Report struct {
	Load     string  `json:"load"`
	Speed    float64 `json:"speed"`
	Model    string  `json:"model"`
	Device   string  `json:"device"`
	DType    string  `json:"dtype"`
	Adapters int     `json:"adapters"`
	Jobs     int     `json:"jobs"`
	Summary
	SLO     SLO      `json:"slo"`
	Without *Summary `json:"without_training,omitempty"` // the same load, nothing trained
}

// SLO is the targets as a report tells them.
type SLO struct {
	TTFT       float64 `json:"ttft_ms"`
	ITL        float64 `json:"itl_ms"`
	Definition string  `json:"definition"`
}

// SLO of the targets.
func (t Targets) SLO() SLO { return SLO{milliseconds(t.TTFT), milliseconds(t.ITL), t.Definition()} }

// JSON writes the report as one object.
func (r Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
