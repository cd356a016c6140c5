package scheduler

import "loquetier/engine/batch"

// mix is the work of a step in the amounts that its time depends on.
type mix [amounts]float64

// What a step's time depends on. Each costs a time of its own, and together
// they are about how devices behave: software is linear in rows; a GPU reads the weights
// once for up to few rows, at nearly the same time for one as for few, then changes over to
// kernels for many rows and is linear in them.
//
// Where two explain what was seen as well as each other, the first takes it all (see
// Cost.descend). So what grows with the work comes first: what is not certain yet makes
// larger steps expensive, not cheap.
const (
	mixRows      = iota // of all kinds
	mixBeyond           // rows beyond few
	mixSliceRows        // slices of the backward pass times training rows
	mixTrainRows        // whose loss is computed and whose activations are kept
	mixPicks            // rows whose logits are wanted, but for training
	mixUpdates
	mixDecodeKeys // keys that decode rows read
	mixPairs      // of other rows and the keys that each reads
	mixSlicePairs // slices times the pairs of training rows
	mixSlices     // each reads a layer's weights
	mixMany       // 1 where there are more rows than few
	mixPass       // 1 where there are rows: the weights are read once
	mixBoth       // 1 where there are rows that train and others
	amounts
)

// few is the number of rows up to which a GPU takes the kernels for few rows.
const few = 64

// setRows sets what depends on the number of rows.
func (m *mix) setRows(n float64) {
	m[mixRows], m[mixBeyond] = n, max(0, n-few)
	m[mixPass], m[mixMany] = 0, 0
	if n > 0 {
		m[mixPass] = 1
	}
	if n > few {
		m[mixMany] = 1
	}
}

// add counts n rows of a kind behind position keys, of which some are picked.
func (m *mix) add(kind batch.Kind, position, n, picks int) {
	m.setRows(m[mixRows] + float64(n))
	keys := float64(n) * (float64(position) + float64(n+1)/2)
	switch kind {
	case batch.Decode:
		m[mixDecodeKeys] += keys
	case batch.Train:
		m.addTrain(float64(n), keys)
		return
	default:
		m[mixPairs] += keys
	}
	m[mixPicks] += float64(picks)
	m.setBoth()
}

// addTrain counts training rows, which are among the rows already, and their
// pairs.
func (m *mix) addTrain(rows, pairs float64) {
	m[mixTrainRows] += rows
	m[mixPairs] += pairs
	m.setBoth()
}

func (m *mix) setBoth() {
	m[mixBoth] = 0
	if train := m[mixTrainRows]; train > 0 && m[mixRows] > train {
		m[mixBoth] = 1
	}
}

// span counts a span.
func (m *mix) span(s *batch.Span) { m.add(s.Kind, s.Position, len(s.Tokens), len(s.Wants)) }

// backward counts slices of the backward pass of a number of rows and pairs.
func (m *mix) backward(slices int, rows, pairs float64) {
	m[mixSlices] += float64(slices)
	m[mixSliceRows] += float64(slices) * rows
	m[mixSlicePairs] += float64(slices) * pairs
}

// train counts n rows of training sequences in which a row reads so many keys
// on average; 0: as many as it would in a sequence of all n.
func (m *mix) train(n int, keys float64) {
	rows, alone := float64(n), float64(n+1)/2
	if keys == 0 || keys > alone {
		keys = alone
	}
	m.setRows(m[mixRows] + rows)
	m.addTrain(rows, rows*keys)
}
