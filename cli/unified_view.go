package cli

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// unifiedPace is how often a line of progress is written where there is no
// terminal.
const unifiedPace = 10 * time.Second

// unifiedView shows how far a benchmark is: a bar for each of its parts on a
// terminal, lines elsewhere.
type unifiedView struct {
	err     io.Writer
	bars    *mpb.Progress // nil without a terminal
	trained *trainedLog

	mu   sync.Mutex // guards what follows
	part *unifiedPart
}

// unifiedPart is one of a benchmark's parts.
type unifiedPart struct {
	name     string
	requests int // 0: it has none
	start    time.Time
	before   int // tokens trained before it
	bar      *mpb.Bar
	stop     chan struct{}
	stopped  sync.WaitGroup

	done, lost atomic.Int64
}

func newUnifiedView(c *cli.Context, trained *trainedLog) *unifiedView {
	v := &unifiedView{err: c.App.ErrWriter, trained: trained}
	if isTerminal(v.err) {
		v.bars = mpb.New(mpb.WithOutput(v.err), mpb.WithWidth(60))
	}
	return v
}

// begin ends the part before and begins one of so many requests.
func (v *unifiedView) begin(name string, requests int) {
	v.finish()
	p := &unifiedPart{name: name, requests: requests, start: time.Now(), before: v.trained.total(), stop: make(chan struct{})}
	v.mu.Lock()
	v.part = p
	v.mu.Unlock()
	if v.bars != nil {
		p.bar = v.newBar(p)
		return
	}
	v.say(name)
	p.stopped.Go(func() { v.tick(p) })
}

// newBar shows a part on a terminal: a bar where it has requests.
func (v *unifiedView) newBar(p *unifiedPart) *mpb.Bar {
	style, before := mpb.BarFillerBuilder(mpb.BarStyle()), []decor.Decorator{decor.Name(p.name + " ")}
	if p.requests == 0 {
		style = mpb.NopStyle()
	} else {
		before = append(before, decor.CountersNoUnit("%d/%d"))
	}
	return v.bars.New(int64(p.requests), style, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(before...),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return v.status(p) })))
}

// tick writes lines until the part ends.
func (v *unifiedView) tick(p *unifiedPart) {
	ticker := time.NewTicker(unifiedPace)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			v.say(v.line(p))
		case <-p.stop:
			return
		}
	}
}

// line tells how far a part is.
func (v *unifiedView) line(p *unifiedPart) string {
	far := fmt.Sprintf("%s: %.0f s", p.name, time.Since(p.start).Seconds())
	if p.requests > 0 {
		far += fmt.Sprintf(", %d of %d", p.done.Load()+p.lost.Load(), p.requests)
	}
	return far + v.status(p)
}

// status is what is worth knowing beside the number of requests.
func (v *unifiedView) status(p *unifiedPart) string {
	text := ""
	if n := p.lost.Load(); n > 0 {
		text += fmt.Sprintf("  %d dropped", n)
	}
	if tokens := v.trained.total() - p.before; tokens > 0 {
		text += fmt.Sprintf("  training %.0f tokens/s", float64(tokens)/time.Since(p.start).Seconds())
	}
	return text
}

// completed and dropped count a request of the part.
func (v *unifiedView) completed() { v.count(func(p *unifiedPart) { p.done.Add(1) }) }
func (v *unifiedView) dropped()   { v.count(func(p *unifiedPart) { p.lost.Add(1) }) }

func (v *unifiedView) count(add func(*unifiedPart)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.part == nil {
		return
	}
	add(v.part)
	if v.part.bar != nil {
		v.part.bar.Increment()
	}
}

// say writes a line, above the bar if there is one.
func (v *unifiedView) say(text string) {
	to := v.err
	if v.bars != nil {
		to = v.bars
	}
	fmt.Fprintln(to, text) // progress that cannot be written is not worth an end
}

// finish ends the part that runs.
func (v *unifiedView) finish() {
	v.mu.Lock()
	p := v.part
	v.part = nil
	v.mu.Unlock()
	if p == nil {
		return
	}
	close(p.stop)
	p.stopped.Wait()
	if p.bar != nil {
		p.bar.Abort(true)
	}
}

// end ends the last part and takes the bars away; again, it does nothing.
func (v *unifiedView) end() {
	v.finish()
	if v.bars != nil {
		v.bars.Wait()
		v.bars = nil
	}
}
