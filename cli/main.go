// Package cli is the command line: one file a verb. It turns names, files and
// text into slots and token ids, and tokens back into text; compose.go puts the
// parts together.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Exit statuses.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells report SIGINT
)

// Main runs the command line and returns the exit status: 0, 1 after an error,
// 2 for wrong usage, 130 when interrupted. Results go to stdout; progress and
// one line for the error to stderr. The first interrupt ends it cleanly, the second
// at once.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	return run(ctx, args, stdin, stdout, stderr)
}

// run is Main that ends when ctx does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	err := app.RunContext(ctx, flagsFirst(app.Commands, args))
	switch {
	case ctx.Err() != nil && !isUnsaved(err):
		fmt.Fprintln(stderr, "loquetier: interrupted")
		return exitInterrupted
	case err == nil:
		return exitOK
	}
	fmt.Fprintln(stderr, "loquetier: "+oneLine(err))
	if isUsage(err) {
		return exitUsage
	}
	return exitError
}

func newApp() *cli.App {
	app := &cli.App{
		Name:                      "loquetier",
		Usage:                     "serve and fine-tune many LoRA adapters of one language model on any Vulkan device",
		Version:                   version(),
		Commands:                  commands(),
		Action:                    noCommand,
		OnUsageError:              wrongUsage,
		ExitErrHandler:            func(*cli.Context, error) {},
		EnableBashCompletion:      true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		CustomAppHelpTemplate:     withExample(cli.AppHelpTemplate, "loquetier demo\nloquetier generate --model stories --prompt 'Once upon a time'"),
	}
	finish(app.Commands)
	return app
}

func commands() []*cli.Command {
	return []*cli.Command{
		demoCommand(), devicesCommand(), generateCommand(), chatCommand(), trainCommand(), jobCommand(), evalCommand(),
		benchCommand(), adapterCommand(), completionCommand(),
	}
}

// finish gives all commands what they have in common. Errors get the
// command's name in front.
func finish(commands []*cli.Command) {
	for _, command := range commands {
		command.HideHelpCommand = true
		command.OnUsageError = wrongUsage
		if len(command.Subcommands) > 0 {
			command.Action = noCommand
			command.CustomHelpTemplate = withExample(cli.SubcommandHelpTemplate, command.Description)
			command.Description = ""
			finish(command.Subcommands)
			continue
		}
		command.CustomHelpTemplate = withExample(cli.CommandHelpTemplate, command.Description)
		command.Description = ""
		action := command.Action
		command.Action = func(c *cli.Context) error {
			if err := action(c); err != nil {
				return fmt.Errorf("%s: %w", fullName(c), err)
			}
			return nil
		}
	}
}

// withExample appends a section to a help template. Commands give their
// examples as their description.
func withExample(template, example string) string {
	return strings.TrimRight(template, "\n") + "\n\nEXAMPLE:\n   " + strings.ReplaceAll(example, "\n", "\n   ") + "\n"
}

// fullName is a command's name with those of its parents.
func fullName(c *cli.Context) string { return strings.TrimPrefix(c.Command.HelpName, "loquetier ") }

// flagsFirst moves positional arguments behind the flags that follow them:
// the parser takes flags only before them.
func flagsFirst(commands []*cli.Command, args []string) []string {
	for i := 1; i < len(args); i++ {
		command := named(commands, args[i])
		switch {
		case command == nil:
			return args
		case command.ArgsUsage != "":
			first := i + 1
			for i++; i < len(args) && (args[i] == "-" || !strings.HasPrefix(args[i], "-")); i++ {
			}
			return slices.Concat(args[:first], args[i:], args[first:i])
		}
		commands = command.Subcommands
	}
	return args
}

func named(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// oneLine is an error's text without line ends.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// usageError is an error of how the program was called.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// usagef makes a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func isUsage(err error) bool {
	var usage usageError
	var coder cli.ExitCoder // only the parser makes those
	return errors.As(err, &usage) || errors.As(err, &coder)
}

// unsavedError is an error that left something unsaved: it is told even where
// an interrupt was the reason to save.
type unsavedError struct{ error }

func (u unsavedError) Unwrap() error { return u.error }

func isUnsaved(err error) bool {
	var unsaved unsavedError
	return errors.As(err, &unsaved)
}

// noCommand is the action where a command's name should stand.
func noCommand(c *cli.Context) error {
	at := "loquetier"
	if c.Command != nil && c.Command.HelpName != "" {
		at = c.Command.HelpName
	}
	if name := c.Args().First(); name != "" {
		return usagef("unknown command %q: run '%s --help'", name, at)
	}
	return usagef("a command is missing: run '%s --help'", at)
}

// wrongUsage words the parser's complaints.
func wrongUsage(c *cli.Context, err error, _ bool) error {
	at, in := "loquetier", ""
	if c.Command != nil && c.Command.HelpName != "" && c.Command.HelpName != at {
		at, in = c.Command.HelpName, fullName(c)+": "
	}
	why := err.Error()
	if flag, ok := strings.CutPrefix(why, "flag provided but not defined: -"); ok {
		why = "unknown flag --" + flag
	}
	return usagef("%s%s: run '%s --help'", in, why, at)
}
