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
)

// Main reads flags into commands, a pointer to a struct as kong takes it, and runs the command that was chosen until it is done, or the process is
// told to end by SIGINT or SIGTERM. What is wrong is one line, and the exit status is not 0: 80 for flags, else 1. Commands' Run methods may take a
// [context.Context] and an [io.Writer] for what they print.
func Main(name, description string, commands any) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k := kong.Parse(commands,
		kong.Name(name), kong.Description(description), kong.DefaultEnvars("L3KIT"), ownFlags(),
		kong.Configuration(readSettings), kong.Vars{"version": Version()},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)),
	)
	if err := k.Run(); err != nil && !errors.Is(err, context.Canceled) {
		stop()
		k.Fatalf("%s", oneLine(err))
	}
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
