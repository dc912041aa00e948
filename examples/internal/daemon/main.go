package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// Main reads flags into commands, a pointer to a struct as kong takes it, and runs the command that
// was chosen until it is done, or the process is told to end by SIGINT or SIGTERM. An error is one
// line, and the exit status is [setting.Status] for invalid settings, [setting.NotPermitted] where
// root or a capability is missing, else 1. Commands' Run methods may take a [context.Context] and
// an [io.Writer] for what they print. More options are kong's.
func Main(name, description string, commands any, more ...kong.Option) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parser, err := kong.New(commands, append([]kong.Option{
		kong.Name(name), kong.Description(description + exitStatus), kong.DefaultEnvars("L3KIT"), ownFlags(),
		kong.Vars{"version": name + " " + Version()}, kong.Help(help),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)),
	}, more...)...)
	if err != nil {
		panic(err) // the structs of flags are wrong
	}
	k, err := parseArgs(parser, os.Args[1:])
	if err != nil {
		err = setting.Errorf("%w", err) // whatever kong would exit with
	} else if err = k.Run(); errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil
	}
	if err != nil {
		stop()
		parser.Errorf("%s", oneLine(err))
		parser.Exit(status(err))
	}
}

const exitStatus = "\nExit status: 0 success, 1 failure, 77 not permitted, 80 invalid flag or setting."

// parseArgs reads a command line, and refuses values that are empty.
func parseArgs(parser *kong.Kong, args []string) (*kong.Context, error) {
	k, err := parser.Parse(args)
	if err != nil {
		return nil, err
	}
	return k, checkEmpty(k)
}

// status is the exit status for an error.
func status(err error) int {
	if errors.Is(err, dataplane.ErrPermission) || errors.Is(err, os.ErrPermission) {
		return setting.NotPermitted
	}
	var coder kong.ExitCoder
	if errors.As(err, &coder) {
		return coder.ExitCode()
	}
	return 1
}

// oneLine is an error as a log wants it: some libraries say each attempt in a line of its own.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// Version is that of the module, as the Go tool recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return fmt.Sprint(info.Main.Path, " ", info.Main.Version, " ", info.GoVersion)
}
