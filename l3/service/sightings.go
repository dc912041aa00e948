package service

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// maxSightings bounds the sightings on a network that come from one host: its workloads may use any
// address of the network's subnets.
const maxSightings = 100

// Sight takes what a host says of addresses in use there. A sighting moves an address to the host,
// unless a newer one has moved it elsewhere, or a port that is bound to a host has it; then nothing
// changes. It counts when the network has a workload on the host, and the router an edge.
func (s *Service) Sight(ctx context.Context, seen agent.Sightings) error {
	at := seen.At
	if at.IsZero() {
		at = s.config.Now()
	}
	var full []string // networks
	err := s.update(ctx, func(w *work) error {
		x := lookout{work: w, host: seen.Host, links: map[string]*sightedLink{}, latest: s.config.Now().Add(s.config.AgentDownTime / 2)}
		full = nil
		for _, a := range seen.Addrs {
			link, err := x.link(ctx, a.RouterID, a.PortID)
			if err != nil {
				return err
			}
			if link == nil || !link.subnets.reach(link.port, a.Addr) {
				continue
			}
			err = x.take(ctx, link, a.Addr, at.Add(-max(0, a.Age)).UTC())
			if errors.Is(err, errManySightings) {
				full = append(full, link.port.NetworkID)
			} else if err != nil {
				return err
			}
		}
		slices.Sort(x.routers)
		for _, id := range slices.Compact(x.routers) {
			if err := s.advanceByID(ctx, w, id); err != nil {
				return err
			}
		}
		return nil
	})
	for _, network := range full {
		if s.crowded.first(network + "@" + seen.Host) {
			s.log.Warn("too many addresses without a port are in use on a host: no more are routed there",
				"host", seen.Host, "network", network, "most", maxSightings)
		}
	}
	return err
}

var errManySightings = errors.New("too many sightings on a host")

// lookout is the work of taking what one host has seen.
type lookout struct {
	*work
	host    string
	links   map[string]*sightedLink // by port; nil: nothing that is seen there counts
	routers []string                // to be advanced
	// latest is when a sighting can have been at most, by clocks that differ as much as those of
	// servers may. One that is recorded with a later time is of before a clock was set back.
	latest time.Time
}

// sightedLink is a leg of an edge on the host.
type sightedLink struct {
	port    l3.Port
	legs    []l3.Port // of all distributed routers on the network
	subnets subnets   // of those
	count   *int      // of the network's sightings on the host
}

// subnets are subnets by ID.
type subnets map[string]l3.Subnet

// reach reports whether an address is one of a host in a subnet that a port is on.
func (s subnets) reach(p l3.Port, a netip.Addr) bool {
	return slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool {
		cidr := s[ip.SubnetID].CIDR
		return cidr.Contains(a) && hosts(cidr).Contains(a)
	})
}

// link finds the network of a router's port, if the host has an edge of the router, and the network
// a workload there.
func (x *lookout) link(ctx context.Context, routerID, portID string) (*sightedLink, error) {
	if l, known := x.links[portID]; known {
		return l, nil
	}
	l, err := x.findLink(ctx, routerID, portID)
	if errors.Is(err, l3.ErrAbsent) {
		l, err = nil, nil
	}
	x.links[portID] = l
	return l, err
}

func (x *lookout) findLink(ctx context.Context, routerID, portID string) (*sightedLink, error) {
	p, err := x.Ports().Get(ctx, portID)
	if err != nil || p.DeviceOwner != l3.OwnerDistributedInterface || p.DeviceID != routerID {
		return nil, err
	}
	if _, err := x.RouterStates().Get(ctx, l3.EdgeStateID(routerID, x.host)); err != nil {
		return nil, err
	}
	bound, err := workloadsOn(ctx, x, x.host)
	if err != nil || !slices.ContainsFunc(bound, func(b l3.Port) bool { return b.NetworkID == p.NetworkID }) {
		return nil, err
	}
	l := &sightedLink{port: p}
	if l.legs, l.subnets, err = legsOn(ctx, x, p.NetworkID); err != nil {
		return nil, err
	}
	for _, other := range x.links { // another router's leg on the network
		if other != nil && other.port.NetworkID == p.NetworkID {
			l.count = other.count
			return l, nil
		}
	}
	l.count = new(int)
	*l.count, err = x.Sightings().Count(ctx, oneOf("network_id", p.NetworkID), oneOf("host", x.host))
	return l, err
}

// legsOn lists the ports of distributed routers on a network, and their subnets by ID.
func legsOn(ctx context.Context, tx l3.Tx, networkID string) ([]l3.Port, subnets, error) {
	legs, err := listOf(ctx, tx.Ports(), "network_id", []string{networkID}, oneOf("device_owner", l3.OwnerDistributedInterface))
	if err != nil {
		return nil, nil, err
	}
	all := subnets{}
	for _, p := range legs {
		for _, ip := range p.FixedIPs {
			all[ip.SubnetID] = l3.Subnet{}
		}
	}
	return legs, all, fill(ctx, tx.Subnets(), all, func(s *l3.Subnet) string { return s.ID })
}

// take records that an address was in use on the host at a time.
func (x *lookout) take(ctx context.Context, l *sightedLink, a netip.Addr, at time.Time) error {
	now := l3.Sighting{ID: l3.SightingID(l.port.NetworkID, a), NetworkID: l.port.NetworkID, Addr: a, Host: x.host, SeenAt: at}
	before, err := x.Sightings().Get(ctx, now.ID)
	known := err == nil
	switch {
	case err != nil && !errors.Is(err, l3.ErrAbsent):
		return err
	case known && !at.After(before.SeenAt) && !before.SeenAt.After(x.latest):
		return nil
	case known && before.Host == x.host:
		return x.Sightings().Update(ctx, &now)
	case *l.count >= maxSightings:
		return errManySightings
	}
	owners, err := x.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", l.port.NetworkID), oneOf("fixed_ips.ip_address", a.String())}})
	if err != nil || slices.ContainsFunc(owners, located) {
		return err
	}
	*l.count++
	if known {
		err = x.Sightings().Update(ctx, &now)
	} else {
		err = x.Sightings().Insert(ctx, now)
	}
	for _, p := range l.legs {
		if l.subnets.reach(p, a) {
			x.routers = append(x.routers, p.DeviceID)
		}
	}
	return err
}

// located says that it is known where a port is: its addresses are not where they are seen.
func located(p l3.Port) bool { return !isWorkloadPort(&p) || p.Binding.HostID != "" }

// forgetSightings deletes the sightings on networks that count no more: the network has no workload
// on the host any more, or no router an edge there, or none a leg on the subnet, or a port has the
// address, or no host can have it. It returns whether there were any.
func (s *Service) forgetSightings(ctx context.Context, w *work, networks ...string) (any bool, err error) {
	seen, err := listOf(ctx, w.Sightings(), "network_id", networks)
	if err != nil {
		return false, err
	}
	byNetwork := map[string]func(l3.Sighting) bool{}
	for _, x := range seen {
		counts := byNetwork[x.NetworkID]
		if counts == nil {
			if counts, err = counting(ctx, w, x.NetworkID); err != nil {
				return any, err
			}
			byNetwork[x.NetworkID] = counts
		}
		if counts(x) {
			continue
		}
		any = true
		if err := w.Sightings().Delete(ctx, x.ID); err != nil {
			return any, err
		}
	}
	return any, nil
}

// counting returns which sightings on a network count.
func counting(ctx context.Context, tx l3.Tx, network string) (func(l3.Sighting) bool, error) {
	legs, subnets, err := legsOn(ctx, tx, network)
	if err != nil {
		return nil, err
	}
	states, err := statesOf(ctx, tx, routersOf(legs))
	if err != nil {
		return nil, err
	}
	edge := func(p l3.Port, host string) bool {
		return slices.ContainsFunc(states[p.DeviceID], func(st l3.RouterState) bool { return st.Edge && st.Host == host })
	}
	workloads, taken := map[string]bool{}, map[netip.Addr]bool{}
	ports, err := listOf(ctx, tx.Ports(), "network_id", []string{network})
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		if isWorkloadPort(&p) {
			workloads[p.Binding.HostID] = true
		}
		for _, ip := range p.FixedIPs {
			taken[ip.IPAddress] = taken[ip.IPAddress] || located(p)
		}
	}
	return func(x l3.Sighting) bool {
		seen := func(p l3.Port) bool { return edge(p, x.Host) && subnets.reach(p, x.Addr) }
		return workloads[x.Host] && !taken[x.Addr] && slices.ContainsFunc(legs, seen)
	}, nil
}

// once remembers what has happened before in this process.
type once struct {
	mu   sync.Mutex
	done map[string]bool
}

// first reports whether it is the first time.
func (o *once) first(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.done[what]
	if o.done == nil {
		o.done = map[string]bool{}
	}
	o.done[what] = true
	return !before
}
