package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/urfave/cli/v2"

	"loquetier/cli/replay"
)

// report begins the report of a load.
func (u *unified) report(load replay.Load) replay.Report {
	return replay.Report{
		Load: load.Name, Speed: u.speed, Model: u.options.name(), Device: u.device.Info.Name, DType: u.engine.Precision().Act.String(),
		Adapters: u.adapters, Jobs: u.jobCount, SLO: u.targets.SLO(),
	}
}

// title is the picture's.
func (u *unified) title(r replay.Report) string {
	return fmt.Sprintf("%s (%s) on %s: load %s at speed %.3g, %s, %s", r.Model, r.DType, r.Device, r.Load, r.Speed, counted(r.Adapters, "adapter"), counted(r.Jobs, "job"))
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// write prints the report and writes the files that were asked for.
func (u *unified) write(w io.Writer, r replay.Report, picture replay.Picture) error {
	if err := writeUnified(w, r); err != nil {
		return err
	}
	var all []error // one file that cannot be written is no reason not to write the other
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{{u.json, r.JSON}, {u.svg, picture.SVG}} {
		if f.name != "" {
			all = append(all, overwriteFile(f.name, f.write))
		}
	}
	return errors.Join(all...)
}

// writeUnified prints a report as a table, a column for each run.
func writeUnified(w io.Writer, r replay.Report) error {
	columns, runs := []any{""}, []replay.Summary{}
	if r.Without != nil {
		columns, runs = append(columns, "without training"), append(runs, *r.Without)
	}
	name := "with training"
	if r.Jobs == 0 {
		name = "without training"
	}
	columns, runs = append(columns, name), append(runs, r.Summary)
	t := newTable(text.AlignRight, columns...)
	for _, line := range unifiedLines(r.Jobs > 0) {
		row := table.Row{line.name}
		for _, s := range runs {
			row = append(row, line.value(s))
		}
		t.AppendRow(row)
	}
	_, err := fmt.Fprintf(w, "%s at speed %.3g, %s, %s, %s\n%s\nSLO: %s\n", r.Load, r.Speed, r.Model, r.DType, r.Device, t.Render(), r.SLO.Definition)
	return err
}

// unifiedLine is a line of the table.
type unifiedLine struct {
	name  string
	value func(replay.Summary) string
}

func unifiedLines(trains bool) []unifiedLine {
	count := func(f func(replay.Summary) int) func(replay.Summary) string {
		return func(s replay.Summary) string { return fmt.Sprint(f(s)) }
	}
	format := func(format string, f func(replay.Summary) float64) func(replay.Summary) string {
		return func(s replay.Summary) string { return fmt.Sprintf(format, f(s)) }
	}
	times := func(f func(replay.Summary) replay.Percentiles) func(replay.Summary) string {
		return func(s replay.Summary) string {
			p := f(s)
			return fmt.Sprintf("%.4g / %.4g / %.4g ms", p.P50, p.P90, p.P99)
		}
	}
	lines := []unifiedLine{
		{"requests", count(func(s replay.Summary) int { return s.Requests })},
		{"requests/s", format("%.2f", func(s replay.Summary) float64 { return s.RequestRate })},
		{"under way at the end, not late, not counted", count(func(s replay.Summary) int { return s.Cut })},
		{"dropped", count(func(s replay.Summary) int { return s.Dropped })},
		{"no first token within 6 s", count(func(s replay.Summary) int { return s.WaitOver6s })},
		{"SLO attained", format("%.2f %%", func(s replay.Summary) float64 { return 100 * s.Attainment })},
		{"times between tokens within the target", format("%.2f %%", func(s replay.Summary) float64 { return 100 * s.GapsWithin })},
		{"first token, p50 / p90 / p99", times(func(s replay.Summary) replay.Percentiles { return s.TTFT })},
		{"between tokens, p50 / p90 / p99", times(func(s replay.Summary) replay.Percentiles { return s.ITL })},
		{"prefill, tokens/s", format("%.1f", func(s replay.Summary) float64 { return s.PrefillRate })},
		{"decode, tokens/s", format("%.1f", func(s replay.Summary) float64 { return s.DecodeRate })},
		{"preempted", count(func(s replay.Summary) int { return s.Preempted })},
	}
	if !trains {
		return lines
	}
	training := func(layout string, f func(replay.Summary) float64) func(replay.Summary) string {
		return func(s replay.Summary) string {
			if s.TrainAlone == 0 { // the run without
				return ""
			}
			return fmt.Sprintf(layout, f(s))
		}
	}
	return append(lines,
		unifiedLine{"training, tokens/s", training("%.1f", func(s replay.Summary) float64 { return s.TrainRate })},
		unifiedLine{"training alone, tokens/s", training("%.1f", func(s replay.Summary) float64 { return s.TrainAlone })},
		unifiedLine{"training, share of alone", training("%.1f %%", func(s replay.Summary) float64 { return 100 * s.TrainShare })},
		unifiedLine{"the same while requests still came", training("%.1f %%", func(s replay.Summary) float64 { return 100 * s.ArrivingShare })},
	)
}

// checkFiles refuses, before anything is computed, files that could not be
// written.
func checkFiles(c *cli.Context, flags ...string) error {
	for _, flag := range flags {
		name := c.String(flag)
		if name == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(name)); err != nil || !info.IsDir() {
			return fmt.Errorf("--%s %s: there is no folder %s", flag, name, filepath.Dir(name))
		}
		if err := tryFile(name); err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
	}
	return nil
}

// tryFile opens a file as to write it, and leaves everything as it was.
func tryFile(name string) error {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil // a pipe's reader would take it for the end
	}
	missing := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	if err = f.Close(); missing {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// overwriteFile writes a file, in place of what may be there.
func overwriteFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
