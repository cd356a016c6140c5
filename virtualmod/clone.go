package virtualmod

import "bytes"

// Clone is the adapter with tensors of its own, which outlast the folder that
// it was read from.
func (a *Adapter) Clone() *Adapter {
	out := *a
	out.Modules = nil
	for _, m := range a.Modules {
		m.A.Data, m.B.Data = bytes.Clone(m.A.Data), bytes.Clone(m.B.Data)
		if m.Magnitude != nil {
			magnitude := *m.Magnitude
			magnitude.Data = bytes.Clone(magnitude.Data)
			m.Magnitude = &magnitude
		}
		out.Modules = append(out.Modules, m)
	}
	return &out
}
