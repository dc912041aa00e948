package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// way is how packets go from a workload on one host to one on another.
type way struct {
	name     string
	from, to *deployment.Tenant
	hop      netip.Addr // next hop of the sender
	flow     *establishedFlow
	rates    []float64
}

// eastWest measures packets a second of one established connection between two hosts: through two
// edges of a distributed router, through a central router on a network node, and through a tunnel
// alone. What each host does is done by the same processors here, so this is what a packet costs
// altogether, and not what a network node is in the way of.
func eastWest(ctx context.Context) ([]row, error) {
	const packets = 50_000
	return withRegion(ctx, 2, func(r *region) ([]row, error) {
		central, err := deployment.NewCentralTiers(ctx, r.api, r.external, "central", 2)
		if err != nil {
			return nil, err
		}
		flat, err := deployment.NewNetwork(ctx, r.api, "flat")
		if err != nil {
			return nil, err
		}
		peer, err := flat.More(ctx, r.api, "peer")
		if err != nil {
			return nil, err
		}
		ways := []*way{
			{name: "edges", from: r.web, to: r.app, hop: r.web.Net.Addr().Next()},
			{name: "network node", from: central.Tiers[0], to: central.Tiers[1], hop: r.web.Net.Addr().Next()},
			{name: "tunnel", from: flat, to: peer, hop: peer.Fixed},
		}
		for _, w := range ways {
			if err := r.establish(ctx, w); err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			defer w.flow.close()
		}
		time.Sleep(3 * time.Second) // announcements are over
		var ratios []float64
		for i := range rounds + 1 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			for _, w := range ways {
				rate, err := r.rate(w, packets)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", w.name, err)
				}
				if i > 0 { // after a warm-up
					w.rates = append(w.rates, rate)
				}
			}
			if i > 0 {
				ratios = append(ratios, ways[0].rates[i-1]/ways[1].rates[i-1])
			}
		}
		return []row{
			atLeast(1.3, row{Name: "dvr/forward", Value: median(ratios), Unit: "x network node",
				Note: fmt.Sprintf("packets/s: two edges %.0f, network node %.0f, tunnel alone %.0f; all on one machine",
					median(ways[0].rates), median(ways[1].rates), median(ways[2].rates))}),
		}, nil
	})
}

// establish puts the two workloads on the two hosts, and has them exchange datagrams.
func (r *region) establish(ctx context.Context, w *way) error {
	from, err := r.hosts[0].PlaceAndAttach(ctx, r.api, w.from)
	if err != nil {
		return err
	}
	to, err := r.hosts[1].PlaceAndAttach(ctx, r.api, w.to)
	if err != nil {
		return err
	}
	service, err := to.Serve(echoPort)
	if err != nil {
		return err
	}
	defer service.Close()
	if err := firstReply(ctx, from, w.to.Fixed); err != nil {
		return err
	}
	if err := r.settled(ctx); err != nil {
		return err
	}
	if w.flow, err = establish(from, to, w.to.Fixed); err != nil {
		return err
	}
	hop, err := neighbour(from, w.hop)
	if err != nil {
		return err
	}
	w.flow.frame = udpFrame(w.from.MAC, hop, w.flow.client, w.flow.server)
	return nil
}

// rate measures one way once. It makes sure that what it measures passes the network node if that
// is the way, and only then.
func (r *region) rate(w *way, packets int) (float64, error) {
	before, err := r.passed()
	if err != nil {
		return 0, err
	}
	rate, err := w.flow.rate(packets)
	if err != nil {
		return 0, err
	}
	after, err := r.passed()
	if err != nil {
		return 0, err
	}
	passed := int(after - before)
	if through := passed > packets/2; through != (w.name == "network node") {
		return 0, fmt.Errorf("%d of %d packets have passed the network node", passed, packets)
	}
	return rate, nil
}

// passed counts what the network node has received by tunnels.
func (r *region) passed() (uint64, error) {
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(r.Tunnels.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer nl.Close()
	l, err := nl.LinkByName(r.node.TunnelPort())
	if err != nil {
		return 0, err
	}
	return l.Attrs().Statistics.TxPackets, nil
}

// neighbour is the MAC address by which a host sends to a neighbour.
func neighbour(h *lab.Host, a netip.Addr) (m dataplane.MAC, err error) {
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(h.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return m, err
	}
	defer nl.Close()
	list, err := nl.NeighList(0, unix.AF_INET)
	if err != nil {
		return m, err
	}
	for _, n := range list {
		if n.IP.Equal(a.AsSlice()) && len(n.HardwareAddr) == len(m) {
			return dataplane.MAC(n.HardwareAddr), nil
		}
	}
	return m, fmt.Errorf("%s has no neighbour %s", h.Name, a)
}
