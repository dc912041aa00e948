package namespace

import (
	"io"
	"log/slog"

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
	// Logger gets what happens in the background; nil: nothing is logged.
	Logger *slog.Logger

	tracking *conntrack.Kernel
	owning   *owning
}

func (c Config) withDefaults() Config {
	if c.Dir == "" {
		c.Dir = netns.Dir
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	c.tracking = new(conntrack.Kernel)
	c.owning = &owning{log: c.Logger}
	return c
}
