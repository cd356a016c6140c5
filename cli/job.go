package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"loquetier/train"
)

func jobCommand() *cli.Command {
	return &cli.Command{
		Name: "job", Usage: "look at training jobs that are not running, and move them",
		Description: "loquetier job info tuned\nloquetier job pack tuned - | ssh HOST loquetier job unpack - tuned",
		Subcommands: []*cli.Command{
			{
				Name: "info", Usage: "describe a job's last checkpoint, or a job file, which is checked to its end", ArgsUsage: "DIR|FILE",
				Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print a JSON object"}},
				Description: "loquetier job info tuned\nloquetier job info tuned.job --json",
				Action:      jobInfo,
			},
			{
				Name: "pack", Usage: "write a job's last checkpoint from the folder of train --out to a new file; - is standard output", ArgsUsage: "DIR FILE",
				Description: "loquetier job pack tuned tuned.job\nloquetier job pack tuned - | ssh HOST loquetier job unpack - tuned",
				Action:      jobPack,
			},
			{
				Name: "unpack", Usage: "make a folder for train --resume of a job file; - is standard input", ArgsUsage: "FILE DIR",
				Description: "loquetier job unpack tuned.job tuned\nloquetier train --model stories --data stories.jsonl --out tuned --steps 200 --resume",
				Action:      jobUnpack,
			},
		},
	}
}

// exactly gives the arguments, which are named in messages.
func exactly(c *cli.Context, names ...string) ([]string, error) {
	args := c.Args().Slice()
	if n := len(args); n < len(names) {
		return nil, usagef("%s is missing: run '%s --help'", names[n], c.Command.HelpName)
	}
	if len(args) > len(names) {
		return nil, usagef("unexpected argument %q: run '%s --help'", args[len(names)], c.Command.HelpName)
	}
	return args, nil
}

func jobInfo(c *cli.Context) error {
	args, err := exactly(c, "the job's folder or file")
	if err != nil {
		return err
	}
	info, err := inspectJob(c, args[0])
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(info)
	}
	return writeJob(c.App.Writer, info)
}

func inspectJob(c *cli.Context, name string) (info train.Info, err error) {
	if found, err := os.Stat(name); err == nil && found.IsDir() {
		return train.Inspect(name)
	}
	err = withInput(c, name, func(r io.Reader) (err error) {
		info, err = train.InspectFile(r)
		return err
	})
	return info, err
}

func writeJob(w io.Writer, i train.Info) error {
	at := fmt.Sprintf("%d of %d", i.Step, i.Steps)
	if i.Pending > 0 {
		at += fmt.Sprintf(", and %d of the next one's %d sequences", i.Pending, i.Batch)
	}
	return writeRows(w, [][2]string{
		{"steps", at},
		{"data", fmt.Sprintf("%s, %d sequences, %s", i.Data.File, i.Data.Sequences, i.Data.Hash)},
		{"base", i.Base},
		{"settings", quotedFlags(i.Settings.Flags())},
		{"state", fmt.Sprintf("%d bytes", i.State)},
	})
}

// quotedFlags is flags as a shell takes them.
func quotedFlags(flags []string) string {
	quoted := make([]string, len(flags))
	for i, f := range flags {
		if strings.ContainsFunc(f, func(r rune) bool { return !strings.ContainsRune(plainRunes, r) }) {
			f = "'" + strings.ReplaceAll(f, "'", `'\''`) + "'"
		}
		quoted[i] = f
	}
	return strings.Join(quoted, " ")
}

// plainRunes mean nothing to a shell.
const plainRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:+="

func jobPack(c *cli.Context) error {
	args, err := exactly(c, "the job's folder", "the file to write")
	if err != nil {
		return err
	}
	pack := func(w io.Writer) error { return train.Pack(args[0], ongoingWriter{c.Context, w}) }
	if args[1] != "-" {
		return createFile(args[1], pack)
	}
	if isTerminal(c.App.Writer) {
		return errors.New("standard output is a terminal: name a file, or connect it to a program")
	}
	return pack(c.App.Writer)
}

func jobUnpack(c *cli.Context) error {
	args, err := exactly(c, "the file to read", "the folder to make")
	if err != nil {
		return err
	}
	return withInput(c, args[0], func(r io.Reader) error { return train.Unpack(r, args[1]) })
}

// withInput runs f with a file, or with standard input for "-". Errors of f get
// the name.
func withInput(c *cli.Context, name string, f func(io.Reader) error) (err error) {
	r := c.App.Reader
	if name == "-" {
		name = "standard input"
	} else {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		r = file
	}
	if err := f(ongoingReader{c.Context, r}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// ongoingReader reads until its context ends.
type ongoingReader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads from r.
func (o ongoingReader) Read(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.r.Read(p)
}

// ongoingWriter writes until its context ends.
type ongoingWriter struct {
	ctx context.Context
	w   io.Writer
}

// Write writes to w.
func (o ongoingWriter) Write(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.w.Write(p)
}
