package l3test

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// forwardingsOf are a floating IP's.
func (d *database) forwardingsOf(floatingIP string) []l3.PortForwarding {
	var list []l3.PortForwarding
	for _, pf := range d.forwardings {
		if pf.FloatingIPID == floatingIP {
			list = append(list, pf)
		}
	}
	return list
}

// ofPortForwardings: each is of a floating IP that is bound to no port, and leads to a port without
// a floating IP at a distributed router; its router reaches both sides; and it shares its ports with
// no other.
func (d *database) ofPortForwardings() {
	type place struct {
		where    string
		addr     netip.Addr
		protocol dataplane.Proto
	}
	seen := map[place][]l3.PortForwarding{}
	for _, pf := range d.forwardings {
		f, ok := d.floatingIPs[pf.FloatingIPID]
		if !ok || f.PortID != "" || f.RouterID != pf.RouterID || f.ProjectID != pf.ProjectID {
			d.report("port forwarding %s of router %q and project %q is of floating IP %q, which is of router %q and project %q, and bound to port %q",
				pf.ID, pf.RouterID, pf.ProjectID, pf.FloatingIPID, f.RouterID, f.ProjectID, f.PortID)
		}
		if p := d.ports[pf.PortID]; p.IsRouterInterface() || p.DeviceOwner == l3.OwnerRouterGateway || p.DeviceOwner == l3.OwnerFloatingIP {
			d.report("port forwarding %s leads to port %s, which is a %s", pf.ID, pf.PortID, p.DeviceOwner)
		}
		f.PortID, f.FixedIP, f.RouterID = pf.PortID, pf.FixedIP, pf.RouterID
		if f.ID = "of port forwarding " + pf.ID; ok {
			d.ofBound(f)
		}
		external, internal := pf.ExternalRange, pf.InternalRange
		if n := internal.Len(); n != 1 && n != external.Len() {
			d.report("port forwarding %s leads from ports %s to %s", pf.ID, external, internal)
		}
		again := pf
		again.SetRanges(external, internal)
		if again.ExternalPort != pf.ExternalPort || again.InternalPort != pf.InternalPort {
			d.report("port forwarding %s from ports %s to %s has the ports %d and %d", pf.ID, external, internal, pf.ExternalPort, pf.InternalPort)
		}
		outer, inner := place{pf.FloatingIPID, netip.Addr{}, pf.Protocol}, place{pf.PortID, pf.FixedIP, pf.Protocol}
		for _, o := range seen[outer] {
			if o.ExternalRange.Overlaps(external) {
				d.report("port forwardings %s and %s share ports of floating IP %s: %s, %s", pf.ID, o.ID, pf.FloatingIPID, external, o.ExternalRange)
			}
		}
		for _, o := range seen[inner] {
			if o.InternalRange.Overlaps(internal) {
				d.report("port forwardings %s and %s share ports of %s: %s, %s", pf.ID, o.ID, pf.FixedIP, internal, o.InternalRange)
			}
		}
		seen[outer], seen[inner] = append(seen[outer], pf), append(seen[inner], pf)
	}
}

// realised reports whether a floating IP stands for an address in one of the subnets, or forwards to
// one.
func (d *database) realised(f l3.FloatingIP, inside []netip.Prefix) bool {
	in := func(a netip.Addr) bool {
		return slices.ContainsFunc(inside, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return in(f.FixedIP) || slices.ContainsFunc(d.forwardingsOf(f.ID), func(pf l3.PortForwarding) bool { return in(pf.FixedIP) })
}
