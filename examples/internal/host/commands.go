package host

import (
	"context"
	"time"

	"github.com/l3kit/l3kit/examples/internal/daemon"
)

// Commands are what the agent's binary can be told to do.
type Commands struct {
	daemon.Flags

	Run Run `cmd:"" default:"withargs" help:"Keep the routers of this host as the servers want them. The default."`
	Tools
	Completion daemon.Completion `cmd:"" help:"Print a script that completes command lines in bash, zsh or fish."`
}

// Tools are the commands that work beside a running agent. See [Beside] for where their settings
// come from.
type Tools struct {
	Attach  Attach  `cmd:"" beside:"" help:"Attach a network namespace, a container or a virtual machine to a port."`
	Detach  Detach  `cmd:"" beside:"" help:"Detach what is attached to a port."`
	Inspect Inspect `cmd:"" beside:"" help:"Show the routers of this host: ports, addresses, counters, and whether they are as they were applied."`
	Plan    Plan    `cmd:"" beside:"" help:"Show what applying the routers again would change: what somebody else changed. Exit status 1: something."`
	Explain Explain `cmd:"" beside:"" help:"Explain what a router of this host does with a packet."`
	Remove  Remove  `cmd:"" beside:"" help:"Remove routers that run on this host although the servers have no record of them (orphans)."`
	Clean   Clean   `cmd:"" beside:"" help:"Remove every router from this host, and the agent's cache, while no agent runs."`
}

// Run is the command that runs the agent.
type Run struct {
	Agent
	Bus Bus `embed:"" group:"Message queue"`

	AgentDownTime time.Duration `default:"75s" help:"The servers' --agent-down-time, to refuse a --lease or a --heartbeat that is too long for it."`
}

// Run is called by kong.
func (r *Run) Run(ctx context.Context, flags *daemon.Flags) error {
	if err := r.CheckFlags(r.AgentDownTime); err != nil {
		return err
	}
	name, err := r.Name()
	if err != nil {
		return err
	}
	login, err := r.Bus.Login(name)
	if err != nil {
		return err
	}
	return flags.Run(ctx, r.Part(login, r.AgentDownTime))
}
