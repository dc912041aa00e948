package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

// Host is the dataplane of a host, with its wiring.
type Host struct {
	*namespace.Dataplane
	Wiring *Wiring

	config Config
	mode   string
}

var _ dataplane.Watcher = (*Host)(nil)

// rehearsal is the ID of what is planned to find out whether it could be made.
const rehearsal = "l3kit-rehearsal"

// Open opens a host, and writes nothing. It fails, and leaves nothing open, if no router could be
// realised here: for want of privileges, of a part of the kernel, of a program or of ovsdb-server;
// or if the host cannot do what Config.Mode says. A field that is wrong is a [ConfigError]. ctx
// bounds opening only.
//
// What the host may get later, such as the interface of a physical network, is not looked at; see
// [Wiring.CheckConfig].
func Open(ctx context.Context, c Config) (*Host, error) {
	c = c.withDefaults()
	if c.Backend == "iptables" {
		if err := installed("Backend", "iptables", "iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"); err != nil {
			return nil, err
		}
	}
	w, err := OpenWiring(ctx, c)
	if err != nil {
		return nil, err
	}
	config := namespace.Config{Wiring: w.driver, HostNS: c.HostNS, Dir: c.Dir, Metadata: c.Metadata, ClampMSS: c.ClampMSS, Logger: c.Logger}
	other := namespace.Firewall(&iptables.Firewall{Variant: c.IPTables})
	config.Firewall = nftables.Firewall{}
	if c.Backend == "iptables" {
		config.Firewall, other = other, config.Firewall
	}
	if !c.NoTakeOver {
		config.Replaces = []namespace.Firewall{other}
	}
	d, err := namespace.New(config)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	h := &Host{Dataplane: d, Wiring: w, config: c}
	// Planning takes a namespace of its own, and so the privileges, and the parts of the kernel,
	// that a router takes.
	if _, err := d.Plan(ctx, dataplane.Router{ID: rehearsal}); err != nil {
		return nil, errors.Join(fmt.Errorf("open host: routers cannot be realised here: %w", err), h.Close())
	}
	if h.mode, err = w.mode(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Close releases what this process holds, the wiring included. Routers and workloads stay, and
// traffic continues. A second Close is fine.
func (h *Host) Close() error { return errors.Join(h.Dataplane.Close(), h.Wiring.Close()) }

// Capabilities describes the host for heartbeats; see [agent.Config]. Other has facts about the
// kernel.
func (h *Host) Capabilities() agent.Capabilities {
	return agent.Capabilities{
		Mode: h.mode, Dataplane: h.config.Backend, Wiring: h.config.Wiring, PhysicalNetworks: h.physicalNetworks(),
		TunnelTypes: h.tunnelTypes(), TunnelAddress: h.config.Tunnel.Local, Other: kernel(),
	}
}

// physicalNetworks is never nil: a host without a list is taken to reach all physical networks.
func (h *Host) physicalNetworks() []string {
	return append([]string{}, slices.Sorted(maps.Keys(h.config.Physical))...)
}

func (h *Host) tunnelTypes() []dataplane.NetworkType {
	switch {
	case !h.config.Tunnel.Local.IsValid():
		return []dataplane.NetworkType{}
	case h.config.Wiring == "ovs":
		return []dataplane.NetworkType{dataplane.NetworkVXLAN, dataplane.NetworkGeneve, dataplane.NetworkGRE}
	default:
		return []dataplane.NetworkType{dataplane.NetworkVXLAN}
	}
}
