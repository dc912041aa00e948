package ovs

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
)

// peers is the list of hosts that there are tunnels to.
type peers struct {
	sync.Mutex
	want []netip.Addr
}

func (p *peers) get() []netip.Addr {
	p.Lock()
	defer p.Unlock()
	return p.want
}

func (p *peers) set(want []netip.Addr) {
	p.Lock()
	defer p.Unlock()
	p.want = want
}

// SetPeers replaces the list of the other hosts' tunnel addresses, for networks that are plugged
// and for those to come: in one transaction, and then in the flows. An address that cannot be a
// peer is skipped, and the others are set; then the error is [dataplane.ErrInvalid] and names it.
// After any other error, the next Plug into such a network tries again. All processes that plug
// ports on a host must be given the same list.
func (d *Driver) SetPeers(ctx context.Context, list []netip.Addr) error {
	want, skipped := wiring.Peers(d.config.Tunnel.Local, list)
	d.peers.set(want)
	err := d.followPeers(ctx)
	if err == nil {
		err = skipped
	}
	return opError("set tunnel peers", "", err)
}

// followPeers makes the tunnels that are on the host follow the list.
func (d *Driver) followPeers(ctx context.Context) error {
	if !d.config.Tunnel.Local.IsValid() {
		return nil // no network needs tunnels
	}
	c, err := d.commit(ctx, func(s *session) (*change, error) {
		c := newChange(s)
		b := s.bridge(d.config.Tunnel.Bridge)
		if b == nil {
			return c, nil
		}
		for _, kind := range s.tunnelTypes() {
			if err := d.surveyTunnels(c, kind, end{b.Name, b.UUID}, d.peers.get()); err != nil {
				return nil, err
			}
		}
		return c, nil
	})
	if err == nil && c.transacts() {
		if err = d.settled(ctx, c); err == nil {
			err = d.flows.replace(ctx, c.s, d.config.Tunnel.Bridge)
		}
	}
	return err
}

// tunnelTypes lists the types for which there are tunnels, or networks that need them.
func (s *session) tunnelTypes() []dataplane.NetworkType {
	kinds := map[dataplane.NetworkType]bool{}
	s.view.read(func() {
		for _, p := range s.view.roles[tunnelRole] {
			kinds[p.mark.network.Type] = true
		}
		for _, n := range s.view.networks {
			switch n.network.Type {
			case dataplane.NetworkVXLAN, dataplane.NetworkGeneve, dataplane.NetworkGRE:
				kinds[n.network.Type] = true
			}
		}
	})
	return slices.Sorted(maps.Keys(kinds))
}

// SetEntries replaces what this host is told about workloads on others. Entries are kept in this
// process, and nowhere else. Whoever starts it again has to set them again: until then they stay in
// force, but the first Plug into a tunnelled network removes them, and the host floods, and learns.
// All processes that plug into such networks on a host must be given the same entries.
func (d *Driver) SetEntries(ctx context.Context, entries []Entry) error {
	for _, e := range entries {
		if e.Network == "" || e.MAC == (dataplane.MAC{}) || !e.Peer.IsValid() {
			return opError("set entries", "", fmt.Errorf("%w: entry %v lacks its network, MAC or peer", dataplane.ErrInvalid, e))
		}
	}
	s, err := d.db.synced(ctx)
	if err == nil {
		d.flows.setEntries(slices.Clone(entries))
		if s.bridge(d.config.Tunnel.Bridge) != nil {
			err = d.flows.replace(ctx, s, d.config.Tunnel.Bridge)
		}
	}
	return opError("set entries", "", err)
}

// port is a tunnel port to a peer. Flows choose the tunnel ID of what leaves, and see that of what
// arrives.
func (t Tunnel) port(kind dataplane.NetworkType, peer netip.Addr) newPort {
	p := newPort{name: tunnelName(kind, peer), kind: string(kind), options: map[string]string{
		"remote_ip": peer.String(), "local_ip": t.Local.String(), "key": "flow",
	}}
	if kind == dataplane.NetworkVXLAN {
		p.options["dst_port"] = strconv.Itoa(int(t.Port))
	}
	if t.Checksum {
		p.options["csum"] = "true"
	}
	return p
}

// tunnelName is Neutron's: the type, and the address as a number.
func tunnelName(kind dataplane.NetworkType, peer netip.Addr) string {
	return fmt.Sprintf("%s-%x", kind, peer.AsSlice())
}
