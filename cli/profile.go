package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"loquetier/engine"
)

// printProfile writes the time of each kernel to stderr, where --profile asks for it.
func (s *session) printProfile() error {
	if !s.options.profile {
		return nil
	}
	if err := writeProfile(s.stderr, s.engine.Profile()); err != nil {
		return fmt.Errorf("print profile: %w", err)
	}
	return nil
}

func writeProfile(w io.Writer, kernels []engine.KernelTime) error {
	var total time.Duration
	for _, k := range kernels {
		total += k.Time
	}
	t := newTable(text.AlignRight, "kernel", "calls", "time", "share", "GB/s", "GFLOP/s")
	for _, k := range kernels {
		share := 0.0
		if total > 0 {
			share = 100 * float64(k.Time) / float64(total)
		}
		t.AppendRow(table.Row{
			k.Name, k.Calls, k.Time.Round(time.Microsecond), fmt.Sprintf("%.1f %%", share),
			fmt.Sprintf("%.1f", k.GBps()), fmt.Sprintf("%.1f", k.GFlops()),
		})
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

// newTable begins a plain table; align is for all columns but the first.
func newTable(align text.Align, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Format.Header = text.FormatDefault
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for i := range header[1:] {
		columns = append(columns, table.ColumnConfig{Number: i + 2, Align: align, AlignHeader: align})
	}
	t.SetColumnConfigs(columns)
	return t
}
