package control

import (
	"context"

	"github.com/l3kit/l3kit/examples/internal/daemon"
)

// Commands are what the server's binary can be told to do.
type Commands struct {
	Run         Run         `cmd:"" default:"withargs" help:"Serve, until told to end. What is done when no command is named."`
	Credential  Credential  `cmd:"" help:"Print the password that a host's agent has for the embedded bus."`
	Permissions Permissions `cmd:"" help:"Print what another NATS must grant to a host's agent, as its configuration has it."`
}

// Run is the command that serves.
type Run struct {
	daemon.Flags `embed:""`
	Server       `embed:""`
}

// Run is called by kong.
func (r *Run) Run(ctx context.Context) error { return r.Flags.Run(ctx, r.Part) }
