package control

import (
	"context"

	"github.com/l3kit/l3kit/examples/internal/daemon"
)

// Commands are what the server's binary can be told to do.
type Commands struct {
	daemon.Flags

	Run        Run               `cmd:"" default:"withargs" help:"Serve until told to end. The default."`
	Credential Credential        `cmd:"" help:"Print the password that a host's agent has for the embedded bus."`
	Accounts   Accounts          `cmd:"" help:"Print the accounts that another NATS needs for the control plane and the agents of hosts."`
	Explain    Explain           `cmd:"" help:"Say what a router does with a packet, host by host if it is distributed."`
	Completion daemon.Completion `cmd:"" help:"Print a script that completes command lines in bash, zsh or fish."`
}

// Run is the command that serves.
type Run struct {
	Server `embed:""`
}

// Run is called by kong.
func (r *Run) Run(ctx context.Context, flags *daemon.Flags) error {
	listeners := []daemon.Listener{{Flag: "--listen", Address: r.Service.Listen}, {Flag: "--metrics", Address: flags.Metrics}}
	if len(r.Bus.URLs) == 0 {
		listeners = append(listeners, daemon.Listener{Flag: "--bus-listen", Address: r.Bus.Listen.String()},
			daemon.Listener{Flag: "--bus-cluster-listen", Address: r.Bus.ClusterListen.String()})
	}
	if err := daemon.CheckDistinct(listeners...); err != nil {
		return err
	}
	return flags.Run(ctx, r.Part)
}
