package train

import "loquetier/engine/batch"

// pack is sequences of one slot on their way into a step.
type pack struct {
	kind  batch.Kind
	slot  int
	spans []batch.Span
	until int // position after the last sequence
	total tally
}

// packed takes sequences in order, by their positions from from on to before
// until, as long as they fit into rows and cache blocks: one after the other,
// without padding, none cut. Those without targets take no room and have no span.
func packed(kind batch.Kind, slot int, at func(position int) Example, from, until, rows, blocks int) pack {
	p := pack{kind: kind, slot: slot, until: from}
	for p.until < until {
		e := at(p.until)
		n := e.rows()
		need := (n + batch.BlockSize - 1) / batch.BlockSize
		if n > rows || need > blocks {
			break
		}
		rows, blocks = rows-n, blocks-need
		p.until++
		if n > 0 {
			p.add(e, n)
		}
	}
	return p
}

// add appends a sequence's first n tokens, in which the row before each target
// scores it.
func (p *pack) add(e Example, n int) {
	span := batch.Span{Kind: p.kind, Slot: p.slot, Tokens: e.IDs[:n:n]}
	for i, target := range e.Targets {
		if target {
			span.Wants = append(span.Wants, batch.Want{Row: i - 1, Target: e.IDs[i]})
		}
	}
	p.spans = append(p.spans, span)
	p.total.Targets += len(span.Wants)
	p.total.Tokens += n
}

// fits tells whether picks answer the spans.
func (p *pack) fits(picks [][]batch.Pick) bool {
	if len(picks) != len(p.spans) {
		return false
	}
	for i := range picks {
		if len(picks[i]) != len(p.spans[i].Wants) {
			return false
		}
	}
	return true
}

// tally adds up targets. The order in which they come is that of the
// sequences however they were packed, so the sum is too.
type tally struct {
	Loss    Number `json:"loss"` // sum of negative log-probabilities
	Targets int    `json:"targets"`
	Tokens  int    `json:"tokens"`
}

// score adds the picks of a pack.
func (t *tally) score(p pack, picks [][]batch.Pick) {
	for _, all := range picks {
		for _, pick := range all {
			t.Loss -= Number(pick.LogProb)
		}
	}
	t.Targets += p.total.Targets
	t.Tokens += p.total.Tokens
}

// mean is the loss over all targets.
func (t *tally) mean() Number { return t.Loss / Number(t.Targets) }
