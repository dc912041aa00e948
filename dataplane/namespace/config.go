package namespace

import (
	"io"
	"log/slog"
	"net/http"

	"github.com/l3kit/l3kit/internal/conntrack"
	"github.com/l3kit/l3kit/internal/netns"
)

// Config is what a [Dataplane] is made of.
type Config struct {
	Wiring   InterfaceDriver // attaches devices to networks; the Dataplane closes it
	Firewall Firewall        // set by the backends' own New
	// Replaces are firewalls that may have written into routers' namespaces before. Once Firewall's
	// rules are in force, theirs are cleared; connections go on, because translation belongs to the
	// connection and not to the rule that began it.
	Replaces []Firewall

	// ClampMSS makes every router clamp, whether or not it asks for that; see
	// [dataplane.Router.ClampMSS].
	ClampMSS bool

	// HostNS is the path of the network namespace that is the host's side; empty: that of the
	// calling thread.
	HostNS string
	// Dir is where routers' namespaces get their names; empty: /run/netns, where ip-netns(8) sees
	// them.
	Dir string
	// Metadata answers workloads that ask a router with [dataplane.Router.Metadata] for their
	// metadata. It is called as a server's handler is, in this process, for all routers. Two
	// headers of a request, which the client cannot set, say who asks: X-Forwarded-For is the
	// client's address, and X-Neutron-Router-ID the router's ID. A client's address may be
	// link-local, of its MAC as a rule, if it asked by IPv6. Requests end with their context, after
	// a minute at most. Nil: such routers are [dataplane.ErrUnsupported].
	Metadata http.Handler
	// Logger gets what happens in the background; nil: nothing is logged.
	Logger *slog.Logger

	tracking *conntrack.Kernel
	owning   *owning

	metadataConns chan struct{} // a place for each connection of all routers
}

func (c Config) withDefaults() Config {
	if c.Dir == "" {
		c.Dir = netns.Dir
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	c.tracking = new(conntrack.Kernel)
	c.metadataConns = make(chan struct{}, maxMetadataConnsTotal)
	c.owning = &owning{log: c.Logger}
	return c
}
