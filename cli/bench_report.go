package cli

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"loquetier/engine"
)

// writeSettings prints what benchstat groups by.
func (s *session) writeSettings(w io.Writer) error {
	_, err := fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: loquetier\ncpu: %s\ndtype: %s\n",
		runtime.GOOS, runtime.GOARCH, s.device.Info.Name, s.engine.Precision().Act)
	return err
}

// processors ends a benchmark's name, as Go's do.
func processors() string { return fmt.Sprintf("-%d", runtime.GOMAXPROCS(0)) }

// writeBench prints a measurement, with its memory and how near it came to the
// limits of the device.
func (s *session) writeBench(w io.Writer, name string, m measurement) error {
	rates, err := s.engine.Rates()
	if err != nil {
		return err
	}
	if err := s.writeSettings(w); err != nil {
		return err
	}
	per := func(total float64) float64 { return total / float64(m.steps) }
	_, err = fmt.Fprintf(w, "%s%s\t%d\t%.0f ns/op\t%.1f tok/s\t%.0f dispatches/op\t%.1f record-us/op\t%.1f MiB%s\n",
		name, processors(), m.steps*m.runs, per(float64(m.wall)), float64(m.tokens)/m.wall.Seconds(),
		per(float64(m.dispatches)), per(float64(m.record.Microseconds())), float64(m.memory)/(1<<20),
		shares(rates, m.work.Bytes, m.work.Flops, m.wall))
	return err
}

// shares are the columns of what moved and was computed in a time, with the
// percentages of the rates.
func shares(r engine.Rates, bytes, flops float64, t time.Duration) string {
	columns := ""
	if seconds := t.Seconds(); seconds > 0 && bytes > 0 {
		columns += fmt.Sprintf("\t%.1f GB/s\t%.1f %%copy", bytes/seconds/1e9, 100*bytes/seconds/r.Copy)
	}
	if seconds := t.Seconds(); seconds > 0 && flops > 0 {
		columns += fmt.Sprintf("\t%.3f TFLOP/s\t%.1f %%matrix", flops/seconds/1e12, 100*flops/seconds/r.Matrix)
	}
	return columns
}

// writeRates prints what the device reaches at best.
func writeRates(w io.Writer, r engine.Rates) error {
	_, err := fmt.Fprintf(w, "BenchmarkRate/copy%[1]s\t1\t%.1[2]f GB/s\nBenchmarkRate/matrix%[1]s\t1\t%.3[3]f TFLOP/s\nBenchmarkRate/dispatch%[1]s\t1\t%[4]d ns/op\n",
		processors(), r.Copy/1e9, r.Matrix/1e12, r.Dispatch.Nanoseconds())
	return err
}
