package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// Agent keeps the routers of this host as the control plane wants them. Its fields are flags for
// kong.
type Agent struct {
	Host             string `placeholder:"NAME" help:"Name by which the servers know this host. Default: the machine's host name."`
	AvailabilityZone string `default:"nova" help:"Availability zone of the host."`

	Machine

	Heartbeat    time.Duration `default:"20s" help:"Interval of heartbeats; at most a third of the servers' --agent-down-time."`
	Check        time.Duration `default:"5m" help:"Interval at which each router is checked for changes by others."`
	Parallel     int           `default:"0" placeholder:"N" help:"Maximum number of routers applied at the same time. Default: four for each processor."`
	OnDisconnect string        `enum:"keep,fence" default:"keep" help:"After --lease without servers: keep the routers, or fence them: remove their ports."`
	Lease        time.Duration `default:"60s" help:"See --on-disconnect. Less than the servers' --agent-down-time, so that no router runs twice."`

	claimed *net.UnixListener // see Claim
}

// Name is the host's name.
func (a *Agent) Name() (string, error) {
	if a.Host != "" {
		if err := agent.CheckHostName(a.Host); err != nil {
			return "", setting.For("--host", err)
		}
		return a.Host, nil
	}
	name, err := os.Hostname()
	if err == nil {
		err = agent.CheckHostName(name)
	}
	if err != nil {
		return "", setting.Errorf("--host is missing, and the machine's name does not serve: %w", err)
	}
	return name, nil
}

// Part is the agent as a part of a process. The login is completed with the host's name. It returns
// when its context ends, and leaves every router as it is.
func (a *Agent) Part(login natsbus.Login) daemon.Part { return a.part(login, 0) }

// Claim makes this process the agent of the host until the claim is closed, for those who do
// something else before they run Part. It fails while another agent runs.
func (a *Agent) Claim() (io.Closer, error) {
	l, err := a.claim()
	a.claimed = l
	return l, err
}

// part is Part for those who know after which time the servers give routers to others; 0: not
// known.
func (a *Agent) part(login natsbus.Login, downTime time.Duration) daemon.Part {
	return func(ctx context.Context, p *daemon.Process) (err error) {
		if login.Host, err = a.Name(); err != nil {
			return err
		}
		config, err := a.config(login.Host, p)
		if err != nil {
			return err
		}
		config.AgentDownTime = downTime
		var running atomic.Pointer[agent.Agent]
		a.ready(p, &running)
		site, err := a.open(ctx, p.Log, nil)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil // told to end before it began
		case err != nil:
			return err
		}
		defer func() { err = errors.Join(err, site.Close()) }()
		if err := a.checkPhysical(ctx, site.wiring); err != nil {
			return err
		}
		if err := a.checkTunnel(); err != nil {
			return err
		}
		claimed := a.claimed
		if claimed == nil {
			if claimed, err = a.claim(); err != nil {
				return err
			}
			defer claimed.Close()
		}
		unlock, err := lock(a.Cache, p.Log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()

		m := newMetrics()
		src := newSource(login, p.Log)
		config.Source, config.Dataplane, config.SetPeers = src, m.time(site), site.SetPeers
		config.Workloads = site.workloads
		loop, err := agent.New(config)
		if err != nil {
			return setting.For("--lease, --heartbeat", err)
		}
		if err := m.register(p.Metrics, loop); err != nil {
			return err
		}
		running.Store(loop)
		settings := a.settings(login.Host)
		if err := writeNote(a.Cache, settings); err != nil {
			p.Log.Warn("cannot note the settings for commands that run when the agent has stopped", "cache", a.Cache, "err", err)
		}
		go obey(ctx, claimed, loop, settings, p.Log)
		p.Log.Info("agent started", "host", login.Host, "dataplane", a.Dataplane, "wiring", a.Wiring, "cache", a.Cache)
		return run(ctx, loop, src)
	}
}

// run ends the loop before the connection, and both when one fails.
func run(ctx context.Context, loop *agent.Agent, src *source) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	refused := make(chan error, 1)
	go func() {
		defer stop()
		refused <- src.keep(connected)
	}()
	err := loop.Run(ctx)
	disconnect()
	return errors.Join(err, <-refused)
}

// config is all but what has to be opened first.
func (a *Agent) config(host string, p *daemon.Process) (agent.Config, error) {
	c := agent.Config{
		Host: host, Cache: a.Cache, AvailabilityZone: a.AvailabilityZone, Capabilities: a.capabilities(), Parallel: a.Parallel,
		HeartbeatEvery: a.Heartbeat, CheckEvery: a.Check, Lease: a.Lease, Logger: p.Log,
	}
	if a.OnDisconnect == "fence" {
		c.OnDisconnect = agent.Fence
	}
	for _, f := range []struct {
		flag  string
		value time.Duration
	}{{"--heartbeat", a.Heartbeat}, {"--check", a.Check}, {"--lease", a.Lease}} {
		if f.value <= 0 {
			return c, setting.Errorf("%s must be more than 0", f.flag)
		}
	}
	if err := a.checkCache(); err != nil {
		return c, err
	}
	if t := a.TunnelAddress; t.IsValid() && (t.IsLoopback() || t.IsMulticast() || t.IsUnspecified()) {
		return c, setting.Errorf("--tunnel-address: %s is not an address that other hosts can reach", t)
	}
	if a.Parallel < 0 {
		return c, setting.Errorf("--parallel must not be less than 0")
	}
	return c, nil
}

func (a *Agent) capabilities() agent.Capabilities {
	return agent.Capabilities{
		Mode: "legacy", Dataplane: a.Dataplane, Wiring: a.Wiring, PhysicalNetworks: a.physicalNetworks(), TunnelTypes: a.tunnelTypes(),
		TunnelAddress: a.TunnelAddress, Version: daemon.Version(), Other: kernel(),
	}
}

// ready says when the agent does its work: it is heard, and knows all routers of the host.
func (a *Agent) ready(p *daemon.Process, running *atomic.Pointer[agent.Agent]) {
	p.Ready("agent", func(context.Context) error {
		loop := running.Load()
		if loop == nil {
			return errors.New("it is starting")
		}
		switch s := loop.Status(); {
		case s.Heard.IsZero():
			return errors.New("no heartbeat has got through")
		case time.Since(s.Heard) > 3*a.Heartbeat:
			return fmt.Errorf("the last heartbeat that got through is of %s", s.Heard.UTC().Format(time.RFC3339))
		case !s.Synced:
			return errors.New("the list of routers was not read yet")
		case s.Cache != nil:
			return fmt.Errorf("--cache cannot be written, and would lack routers after a reboot: %w", s.Cache)
		}
		return nil
	})
}
