package control

import (
	"context"

	"github.com/l3kit/l3kit/examples/internal/daemon"
)

// Commands are what the server's binary can be told to do.
type Commands struct {
	Run        Run        `cmd:"" default:"withargs" help:"Serve, until told to end. What is done when no command is named."`
	Credential Credential `cmd:"" help:"Print the password that a host's agent has for the embedded bus."`
	Accounts   Accounts   `cmd:"" help:"Print the accounts that another NATS needs for the control plane and the agents of hosts, as its configuration has them."`
}

// Run is the command that serves.
type Run struct {
	daemon.Flags `embed:""`
	Server       `embed:""`
}

// Run is called by kong.
func (r *Run) Run(ctx context.Context) error { return r.Flags.Run(ctx, r.Part) }
