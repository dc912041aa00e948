package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/explain"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// Agent keeps the routers of this host as the control plane wants them. Its fields are flags for
// kong.
type Agent struct {
	Host             string `placeholder:"NAME" help:"Name by which the servers know this host. Default: the machine's host name."`
	AvailabilityZone string `default:"nova" placeholder:"NAME" help:"Availability zone of the host."`

	Machine

	Mode string `enum:"auto,dvr,dvr_snat,legacy" default:"auto" help:"Part in distributed routers: dvr is edges only, legacy none, auto all that can be: ${enum}."`

	Heartbeat    time.Duration `default:"20s" help:"Interval of heartbeats; at most a third of the servers' --agent-down-time."`
	Check        time.Duration `default:"5m" help:"Interval at which each router is checked for changes by others."`
	Parallel     int           `placeholder:"N" help:"Maximum number of routers applied at the same time. Default: four for each processor."`
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

// Claim makes this process the agent of the host until the claim is closed, for those who do
// something else before they run Part. It fails while another agent runs.
func (a *Agent) Claim() (io.Closer, error) {
	l, err := a.claim()
	a.claimed = l
	return l, err
}

// Part is the agent as a part of a process. The login is completed with the host's name. The
// servers give the routers of a host that is silent for downTime to others. It returns when its
// context ends, and leaves every router as it is.
func (a *Agent) Part(login natsbus.Login, downTime time.Duration) daemon.Part {
	return func(ctx context.Context, p *daemon.Process) (err error) {
		if err := a.CheckFlags(downTime); err != nil {
			return err
		}
		if login.Host, err = a.Name(); err != nil {
			return err
		}
		config := a.config(login.Host, p)
		config.AgentDownTime = downTime
		var running atomic.Pointer[agent.Agent]
		a.ready(p, &running)
		site, err := a.openHost(ctx, p.Log)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil // told to end before it began
		case err != nil:
			return err
		}
		defer func() { err = errors.Join(err, site.Close()) }()
		if err := atStart(site.Wiring.CheckConfig(ctx)); err != nil {
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
		config.Source, config.Dataplane, config.SetPeers = src, m.time(site), site.Wiring.SetPeers
		config.Workloads, config.Capabilities = site.Wiring.Workloads, site.Capabilities()
		config.Capabilities.Version = daemon.Version()
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
		p.Log.Info("agent started", "host", login.Host, "dataplane", a.Dataplane, "wiring", a.Wiring, "mode", config.Capabilities.Mode,
			"cache", a.Cache)
		watcher := explain.NewWatcher(a.explained(), p.Log)
		defer watcher.Close()
		return run(ctx, loop, src, watcher)
	}
}

// run ends the loop before the connection, and both when one fails.
func run(ctx context.Context, loop *agent.Agent, src *source, watcher *explain.Watcher) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	refused := make(chan error, 1)
	go func() {
		defer stop()
		refused <- src.keep(connected)
	}()
	var answering sync.WaitGroup
	answering.Go(func() { src.Answer(ctx, watcher.Answer) })
	err := loop.Run(ctx)
	stop()
	answering.Wait()
	disconnect()
	return errors.Join(err, <-refused)
}

// CheckFlags refuses flags that are wrong on every host. The servers have that --agent-down-time.
func (a *Agent) CheckFlags(downTime time.Duration) error {
	for _, f := range []struct {
		flag  string
		value time.Duration
	}{{"--heartbeat", a.Heartbeat}, {"--check", a.Check}, {"--lease", a.Lease}, {"--agent-down-time", downTime}} {
		if f.value <= 0 {
			return setting.Errorf("%s must be more than 0", f.flag)
		}
	}
	if most := (downTime / 3).Truncate(time.Millisecond); a.Heartbeat > most {
		return setting.Errorf("--heartbeat: %s is more than %s, a third of --agent-down-time: two lost heartbeats would move the routers",
			a.Heartbeat, most)
	}
	if a.Parallel < 0 {
		return setting.Errorf("--parallel must not be less than 0")
	}
	c, err := a.hostConfig(nil)
	if err == nil {
		err = c.Validate()
	}
	return atStart(err)
}

// hostConfig is what the flags say of the host.
func (a *Agent) hostConfig(log *slog.Logger) (host.Config, error) {
	c, err := a.Machine.hostConfig(log, nil)
	if a.Mode != "auto" {
		c.Mode = a.Mode
	}
	return c, err
}

// openHost is [Machine.open] of a host with a mode.
func (a *Agent) openHost(ctx context.Context, log *slog.Logger) (*host.Host, error) {
	c, err := a.hostConfig(log)
	if err != nil {
		return nil, err
	}
	h, err := host.Open(ctx, c)
	return h, atStart(err)
}

// config is all but what has to be opened first.
func (a *Agent) config(name string, p *daemon.Process) agent.Config {
	c := agent.Config{
		Host: name, Cache: a.Cache, AvailabilityZone: a.AvailabilityZone, Parallel: a.Parallel,
		HeartbeatEvery: a.Heartbeat, CheckEvery: a.Check, Lease: a.Lease, Metadata: a.Metadata.on(), Logger: p.Log,
	}
	if a.OnDisconnect == "fence" {
		c.OnDisconnect = agent.Fence
	}
	return c
}

// ready says when the agent does its work: it is heard, and knows all routers of the host.
func (a *Agent) ready(p *daemon.Process, running *atomic.Pointer[agent.Agent]) {
	p.Ready(func(context.Context) error {
		loop := running.Load()
		if loop == nil {
			return errors.New("agent: it is starting")
		}
		switch s := loop.Status(); {
		case s.Heard.IsZero():
			return errors.New("agent: no heartbeat has got through")
		case time.Since(s.Heard) > 3*a.Heartbeat:
			return fmt.Errorf("agent: the last heartbeat that got through is of %s", s.Heard.UTC().Format(time.RFC3339))
		case !s.Synced:
			return errors.New("agent: the list of routers was not read yet")
		case s.Cache != nil:
			return fmt.Errorf("agent: --cache cannot be written, and would lack routers after a reboot: %w", s.Cache)
		}
		return nil
	})
}
