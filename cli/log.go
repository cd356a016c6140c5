package cli

import (
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
)

// logOptions are --log-level and --log-format.
type logOptions struct{ level, format string }

func (o logOptions) check() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return usagef("--log-level %q: known are debug, info, warn, error", o.level)
	}
	if o.format != "text" && o.format != "json" {
		return usagef("--log-format %q: known are text, json", o.format)
	}
	return nil
}

// newLogger writes to w by checked options.
func newLogger(w io.Writer, o logOptions) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		panic("BUG: log level " + o.level + " was not checked")
	}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w)}))
}
