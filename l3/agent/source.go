package agent

import (
	"context"
	"net/netip"

	"github.com/l3kit/l3kit/l3"
)

// Source is where a host's routers come from, and where word of them goes. Its methods may be called concurrently.
type Source interface {
	// Watch yields the host's routers: all of them, then Synced, then each change, until ctx ends or the source cannot go on; then it
	// closes the channel. The agent watches again, with a delay. Within one Watch messages may be doubled, late and out of order; one from before
	// it, that the agent never had, must not come after its Synced, for nothing would tell it from a router that is new.
	Watch(ctx context.Context) (<-chan Event, error)

	// Report and Heartbeat return when the message is safe with the control plane, or why it is not.
	Report(ctx context.Context, r l3.Report) error
	Heartbeat(ctx context.Context, h l3.Heartbeat) error
}

// Event is one message of a [Source]: Put, Gone, Synced or Peers.
type Event any

type (
	// Put says that the host is to realise a router, in this version.
	Put struct{ l3.Assignment }

	// Gone says that the host is to take a router away, as of its last version here. A Put of that one or of an earlier one that comes later is
	// late; a newer one brings the router back.
	Gone struct {
		RouterID        string
		Epoch, Revision uint64
	}

	// Synced says that every router of the host has been named since the Watch began.
	Synced struct{}

	// Peers are the tunnel addresses of all hosts, this one's may be among them.
	Peers struct{ Addrs []netip.Addr }
)
