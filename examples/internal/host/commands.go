package host

import (
	"context"
	"time"

	"github.com/l3kit/l3kit/examples/internal/daemon"
)

// Commands are what the agent's binary can be told to do. Without a word it runs the agent.
type Commands struct {
	daemon.Flags

	Run     Run     `cmd:"" default:"withargs" help:"Keep the routers of this host as the servers want them. The default."`
	Plan    Plan    `cmd:"" help:"Say what would change if what was applied last were applied now: what somebody else changed. Writes nothing."`
	Explain Explain `cmd:"" help:"Say what a router of this host does with a packet, and why."`
	Inspect Inspect `cmd:"" help:"Show the routers of this host: ports, addresses, counters, and whether they are as they were applied. Writes nothing."`
	Remove  Remove  `cmd:"" help:"Remove routers that run on this host although the servers have no record of them (orphans)."`
}

// Run is the command that runs the agent.
type Run struct {
	Agent
	Bus Bus `embed:"" group:"Message queue"`

	AgentDownTime time.Duration `default:"75s" help:"The servers' --agent-down-time, to refuse a --lease that is too long for it."`
}

// Run is called by kong.
func (r *Run) Run(ctx context.Context, all *Commands) error {
	name, err := r.Name()
	if err != nil {
		return err
	}
	login, err := r.Bus.Login(name)
	if err != nil {
		return err
	}
	return all.Flags.Run(ctx, r.part(login, r.AgentDownTime))
}
