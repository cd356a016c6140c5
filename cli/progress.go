package cli

import (
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// patience is how long loading takes before it is shown.
const patience = time.Second

// progress shows on a terminal how far something is, once it takes a while.
type progress struct {
	to    io.Writer
	what  string
	start time.Time
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// newProgress returns nil, which shows nothing, where to is not a terminal.
func newProgress(to io.Writer, what string) *progress {
	if !isTerminal(to) {
		return nil
	}
	return &progress{to: to, what: what, start: time.Now()}
}

// bytes takes the bytes that are done, and all there are.
func (p *progress) bytes(done, total int64) {
	p.report(done, total, decor.CountersKibiByte("% .1f of % .1f"))
}

// count takes the things that are done, and all there are.
func (p *progress) count(done, total int) {
	p.report(int64(done), int64(total), decor.CountersNoUnit("%d of %d"))
}

func (p *progress) report(done, total int64, counters decor.Decorator) {
	if p == nil || p.bar == nil && time.Since(p.start) < patience {
		return
	}
	if p.bar == nil {
		p.bars = mpb.New(mpb.WithOutput(p.to), mpb.WithWidth(64))
		p.bar = p.bars.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(p.what+" "), counters),
			mpb.AppendDecorators(decor.Percentage()))
	}
	p.bar.SetCurrent(done)
}

// finish takes the bar away.
func (p *progress) finish() {
	if p != nil && p.bar != nil {
		p.bar.Abort(true)
		p.bars.Wait()
		p.bar = nil
	}
}
