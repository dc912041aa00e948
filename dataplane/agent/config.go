package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// Config is what an [Agent] is made of. Host, Source and Dataplane must be given.
type Config struct {
	Host string // see [CheckHostName]
	// Machine tells this machine from others that may use the same host name by mistake. It is the
	// same for every process on the machine until it boots. Empty: the kernel's boot ID and the
	// network namespace. Agents of several hosts in one network namespace, as in tests, must each
	// have another.
	Machine   string
	Source    Source
	Dataplane dataplane.Dataplane // not closed by the agent

	// Workloads lists the IDs of the ports that workloads are attached by on this host. A heartbeat
	// has them, and [Agent.Announce] sends one at once. nil: the control plane is told of none.
	Workloads func(context.Context) ([]string, error)

	// Metadata gives all routers of this host a metadata proxy ([dataplane.Router.Metadata]),
	// whatever the control plane says. The dataplane must have a handler for it.
	Metadata bool

	// Cache is a directory for what was applied; empty: nothing is kept. Its content is this
	// package's own.
	//
	// An agent whose cache cannot be read or written works, and [Status] has the fault. What it
	// cannot write it keeps in memory, and writes when it can. If it ends before that, the next
	// start finds what the disk has: older versions of routers, and routers that have left the host
	// since. It applies them if the source is silent for RestoreAfter, and the source's word
	// replaces them.
	Cache string
	// SetPeers is told whenever the tunnel peers change; nil: nobody.
	SetPeers func(context.Context, []netip.Addr) error
	// KeepPeers is how long a tunnel peer stays after the source has ceased to name it. It should
	// be more than the time between the heartbeats of other hosts, which name them anew. 0: 5
	// minutes; negative: it goes at once.
	KeepPeers time.Duration

	// What the heartbeat says.
	Binary           string // empty: l3kit-agent
	AvailabilityZone string
	Capabilities     Capabilities // the agent fills in its counts and its lease

	Parallel       int           // routers worked on at once; 0: four for each processor
	HeartbeatEvery time.Duration // 0: 30 s
	CheckEvery     time.Duration // between looks at a router for drift, with jitter; 0: 5 minutes; negative: never
	RetryMin       time.Duration // delay after a router's first failure; 0: 1 s
	RetryMax       time.Duration // that it doubles up to; 0: 1 minute

	// RestoreAfter is how long after its start the agent waits for word of the source before it
	// applies what is in the cache: after a reboot a router may be elsewhere by now, and must not
	// be announced from here. 0: 5 s; negative: it does not wait.
	RestoreAfter time.Duration

	// OnDisconnect says what happens to the routers when no heartbeat has got through for Lease,
	// counted from when the last was sent, by an agent that started since, too.
	OnDisconnect Disconnect
	Lease        time.Duration // 0: 60 s; with Fence at least two heartbeats
	// AgentDownTime is the control plane's limit, after which others get the routers; 0: not known.
	// With Fence, New refuses a Lease that does not end a second earlier, because the routers would
	// be in two places.
	AgentDownTime time.Duration

	Logger *slog.Logger // nil: nothing is logged
}

// Disconnect is what an agent does that has been cut off for long.
type Disconnect int

// What an agent can do.
const (
	Keep  Disconnect = iota // routers go on as they are
	Fence                   // routers lose their gateway and their ports until the control plane is heard again; connections end
)

func (c Config) withDefaults() (Config, error) {
	hostName := CheckHostName(c.Host)
	switch {
	case c.Host == "":
		return c, errors.New("agent: Config.Host is missing")
	case hostName != nil:
		return c, fmt.Errorf("agent: %w", hostName)
	case c.Source == nil:
		return c, errors.New("agent: Config.Source is missing")
	case c.Dataplane == nil:
		return c, errors.New("agent: Config.Dataplane is missing")
	}
	if c.Machine == "" {
		var err error
		if c.Machine, err = machine(); err != nil {
			return c, fmt.Errorf("agent: tell this machine from others: %w", err)
		}
	}
	if c.Binary == "" {
		c.Binary = "l3kit-agent"
	}
	if c.Parallel == 0 {
		c.Parallel = 4 * runtime.GOMAXPROCS(0)
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&c.HeartbeatEvery, 30 * time.Second},
		{&c.CheckEvery, 5 * time.Minute},
		{&c.RetryMin, time.Second},
		{&c.RetryMax, time.Minute},
		{&c.RestoreAfter, 5 * time.Second},
		{&c.KeepPeers, 5 * time.Minute},
		{&c.Lease, time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, c.check()
}

// machine names the kernel that runs, by its boot ID (random(4)), and the network namespace in it.
// That is the calling thread's: the process's is its first thread's, which may be inside a router
// just now.
func machine() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	network, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + " " + network, nil
}

// check refuses times that make no sense together.
func (c Config) check() error {
	switch {
	case c.Parallel < 0:
		return fmt.Errorf("agent: Config.Parallel: %d is negative", c.Parallel)
	case c.HeartbeatEvery < 0:
		return fmt.Errorf("agent: Config.HeartbeatEvery: %s is negative", c.HeartbeatEvery)
	case c.RetryMin < 0:
		return fmt.Errorf("agent: Config.RetryMin: %s is negative", c.RetryMin)
	case c.RetryMax < c.RetryMin:
		return fmt.Errorf("agent: Config.RetryMax: %s is less than RetryMin, %s", c.RetryMax, c.RetryMin)
	case c.Lease < 0:
		return fmt.Errorf("agent: Config.Lease: %s is negative", c.Lease)
	case c.AgentDownTime < 0:
		return fmt.Errorf("agent: Config.AgentDownTime: %s is negative", c.AgentDownTime)
	case c.OnDisconnect != Keep && c.OnDisconnect != Fence:
		return fmt.Errorf("agent: Config.OnDisconnect: %d is neither Keep nor Fence", c.OnDisconnect)
	case c.OnDisconnect != Fence:
		return nil
	case c.Lease < 2*c.HeartbeatEvery:
		return fmt.Errorf("agent: a lease of %s is too short for a heartbeat every %s: one that is lost would fence the routers", c.Lease, c.HeartbeatEvery)
	case c.AgentDownTime > 0 && c.Lease+time.Second > c.AgentDownTime:
		return fmt.Errorf("agent: a lease of %s does not end a second before the control plane gives the routers to others, after %s",
			c.Lease, c.AgentDownTime)
	}
	return nil
}
