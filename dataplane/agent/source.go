package agent

import (
	"context"
	"errors"
	"net/netip"
)

// Source is where a host's routers come from, and where word of them goes. Its methods may be
// called concurrently.
type Source interface {
	// Watch first opens the host's session: it is [ErrRefused] while an agent on another machine
	// has it. Then it yields the host's routers: all of them, then Synced, then each change, until
	// ctx ends or the source cannot go on; then it closes the channel, within a second of ctx. The
	// agent watches again, with a delay. Within one Watch messages may be doubled, late and out of
	// order; one from before it, that the agent never had, must not come after its Synced, for
	// nothing would tell it from a router that is new.
	Watch(ctx context.Context, session Session) (<-chan Event, error)

	// Report, Sight and Heartbeat return when the message is safe with the control plane, or why it
	// is not.
	Report(ctx context.Context, r Report) error
	Sight(ctx context.Context, s Sightings) error
	Heartbeat(ctx context.Context, h Heartbeat) error
}

// Session is an agent's request to serve a host.
type Session struct {
	Host       string `json:"host"`
	Instance   string `json:"instance"`             // random, of the agent's process
	Machine    string `json:"machine"`              // the same for every process on one machine until it reboots
	Deployment string `json:"deployment,omitempty"` // that the agent served before; empty: none
}

// ErrRefused is returned by [Source.Watch] when the control plane refuses this agent, because
// another machine uses its host name. The agent then applies nothing, not even from its cache, and
// tries again.
var ErrRefused = errors.New("the control plane refuses this agent")

// Event is one message of a [Source]: a [Put], [Gone], [Synced] or [Peers].
type Event interface{ event() }

type (
	// Put says that the host is to realise a router, in this version. One without a version, which
	// tells nothing from a change, is ignored.
	Put struct{ Assignment }

	// Gone says that the host is to take a router away, as of its last version here. A Put of that
	// one or of an earlier one that comes later is late; a newer one brings the router back.
	Gone struct {
		RouterID        string
		Deployment      string // that has recorded it; empty: the router's own
		Epoch, Revision uint64
		Request         string // ID of the API request because of which it left, for logs
		Orphan          bool   // it is to be taken away even if it belongs to another deployment
	}

	// Synced says that every router that the deployment has recorded for the host has been named
	// since the Watch began. What runs beside those is an orphan, and stays.
	Synced struct {
		Deployment string
		Incomplete error // what the source could not read; [Agent.Once] and [Agent.Plan] return it
	}

	// Peers are the tunnel addresses of all hosts, this one's may be among them.
	Peers struct{ Addrs []netip.Addr }
)

func (Put) event()    {}
func (Gone) event()   {}
func (Synced) event() {}
func (Peers) event()  {}
