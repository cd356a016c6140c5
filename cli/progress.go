package cli

import (
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// patience is how long loading takes before it is shown.
const patience = time.Second

// progress shows on a terminal how far loading is, once it takes a while.
type progress struct {
	to    io.Writer
	start time.Time
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// newProgress returns nil, which shows nothing, where to is not a terminal.
func newProgress(to io.Writer) *progress {
	if !isTerminal(to) {
		return nil
	}
	return &progress{to: to, start: time.Now()}
}

// report takes the bytes that are loaded, and all there are.
func (p *progress) report(done, total int64) {
	if p == nil || p.bar == nil && time.Since(p.start) < patience {
		return
	}
	if p.bar == nil {
		p.bars = mpb.New(mpb.WithOutput(p.to), mpb.WithWidth(64))
		p.bar = p.bars.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("loading "), decor.CountersKibiByte("% .1f of % .1f")),
			mpb.AppendDecorators(decor.Percentage()))
	}
	p.bar.SetCurrent(done)
}

// finish takes the bar away.
func (p *progress) finish() {
	if p != nil && p.bar != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
}
