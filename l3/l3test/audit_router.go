package l3test

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// portsOf are a router's, by what owns them.
func (d *database) portsOf(routerID string, owners ...string) []l3.Port {
	var list []l3.Port
	for _, p := range d.ports {
		if p.DeviceID == routerID && slices.Contains(owners, p.DeviceOwner) {
			list = append(list, p)
		}
	}
	return list
}

// ofRouters: their ports are theirs, on subnets that are apart, and their gateways are on external
// networks.
func (d *database) ofRouters() {
	for _, p := range d.ports {
		if !p.IsRouterInterface() && p.DeviceOwner != l3.OwnerRouterGateway {
			continue
		}
		r, ok := d.routers[p.DeviceID]
		if !ok {
			d.report("port %s, %s, is of router %s, which does not exist", p.ID, p.DeviceOwner, p.DeviceID)
		} else if p.DeviceOwner == l3.OwnerRouterGateway && (r.Gateway == nil || r.Gateway.PortID != p.ID) {
			d.report("port %s is a gateway of router %s, which does not have it", p.ID, r.ID)
		}
	}
	for _, r := range d.routers {
		d.ofGateway(r)
		d.ofInterfaces(r)
	}
}

func (d *database) ofGateway(r l3.Router) {
	if r.Gateway == nil {
		return
	}
	if n := d.networks[r.Gateway.NetworkID]; !n.External {
		d.report("router %s has its gateway on network %s, which is not external", r.ID, r.Gateway.NetworkID)
	}
	p, ok := d.ports[r.Gateway.PortID]
	if !ok || p.DeviceOwner != l3.OwnerRouterGateway || p.DeviceID != r.ID || p.NetworkID != r.Gateway.NetworkID || p.ProjectID != "" {
		d.report("router %s: its gateway port %s is not one", r.ID, r.Gateway.PortID)
	}
	if ok && !slices.Equal(p.FixedIPs, r.Gateway.FixedIPs) {
		d.report("router %s has the gateway addresses %v, its port %v", r.ID, r.Gateway.FixedIPs, p.FixedIPs)
	}
}

func (d *database) ofInterfaces(r l3.Router) {
	ports := d.portsOf(r.ID, l3.OwnerRouterInterface, l3.OwnerDistributedInterface, l3.OwnerRouterGateway)
	for i, p := range ports {
		v4 := 0
		for _, ip := range p.FixedIPs {
			if ip.IPAddress.Is4() {
				v4++
			}
		}
		if p.IsRouterInterface() && (v4 > 1 || len(p.FixedIPs) == 0) {
			d.report("router %s: its port %s has %d addresses, %d of them IPv4", r.ID, p.ID, len(p.FixedIPs), v4)
		}
		for _, o := range ports[:i] {
			d.apart(r, p, o)
		}
	}
}

// apart: two ports of a router have no address in common that a packet could be for.
func (d *database) apart(r l3.Router, p, o l3.Port) {
	for _, a := range p.FixedIPs {
		for _, b := range o.FixedIPs {
			if one, two := d.subnets[a.SubnetID], d.subnets[b.SubnetID]; one.CIDR.IsValid() && two.CIDR.IsValid() && one.CIDR.Overlaps(two.CIDR) {
				d.report("router %s: subnets %s and %s of its ports %s and %s overlap: %s, %s", r.ID, one.ID, two.ID, p.ID, o.ID, one.CIDR, two.CIDR)
			}
		}
	}
}

// ofRoutes: their next hops are on subnets of the router's ports, and not the router itself.
func (d *database) ofRoutes() {
	for _, r := range d.routers {
		var own []netip.Addr
		var connected []netip.Prefix
		for _, p := range d.portsOf(r.ID, l3.OwnerRouterInterface, l3.OwnerDistributedInterface, l3.OwnerRouterGateway) {
			for _, ip := range p.FixedIPs {
				own = append(own, ip.IPAddress)
				connected = append(connected, d.subnets[ip.SubnetID].CIDR)
			}
		}
		for i, route := range r.Routes {
			if !slices.ContainsFunc(connected, func(p netip.Prefix) bool { return p.Contains(route.NextHop) }) {
				d.report("router %s: the next hop of %s via %s is not on a subnet of its ports", r.ID, route.Destination, route.NextHop)
			}
			if slices.Contains(own, route.NextHop) {
				d.report("router %s: the next hop of %s via %s is itself", r.ID, route.Destination, route.NextHop)
			}
			if slices.Contains(r.Routes[:i], route) {
				d.report("router %s has the route to %s via %s twice", r.ID, route.Destination, route.NextHop)
			}
		}
	}
}

// ofFloatingIPs: each has its address by a port of its own, and is bound to what exists, through a
// router that reaches both sides.
func (d *database) ofFloatingIPs() {
	type bound struct {
		port    string
		fixed   netip.Addr
		network string
	}
	seen, owns := map[bound]string{}, map[string]string{}
	for _, f := range d.floatingIPs {
		p, ok := d.ports[f.OwnPort]
		if !ok || p.DeviceOwner != l3.OwnerFloatingIP || p.DeviceID != f.ID || p.NetworkID != f.NetworkID || p.ProjectID != "" ||
			!slices.Contains(p.FixedIPs, l3.FixedIP{SubnetID: f.SubnetID, IPAddress: f.Address}) {
			d.report("floating IP %s, %s: its port %s does not hold its address", f.ID, f.Address, f.OwnPort)
		}
		owns[f.OwnPort] = f.ID
		if f.Holder != (l3.Holder{}) {
			if st, known := d.stateOn(f.Holder.Host, f.Holder.Instance); !known || st.RouterID != f.RouterID || st.Edge && !f.Distributed {
				d.report("floating IP %s of router %q has the holder %s on host %s", f.ID, f.RouterID, f.Holder.Instance, f.Holder.Host)
			}
		}
		if f.PortID != "" && !d.networks[f.NetworkID].External {
			d.report("floating IP %s is of network %s, which is not external", f.ID, f.NetworkID)
		}
		if f.PortID == "" {
			if f.RouterID != "" != (len(d.forwardingsOf(f.ID)) > 0) || f.FixedIP.IsValid() {
				d.report("floating IP %s is not bound, but has router %q and the fixed address %s", f.ID, f.RouterID, f.FixedIP)
			}
			continue
		}
		b := bound{f.PortID, f.FixedIP, f.NetworkID}
		if other, twice := seen[b]; twice {
			d.report("floating IPs %s and %s are both bound to %s of port %s", f.ID, other, f.FixedIP, f.PortID)
		}
		seen[b] = f.ID
		d.ofBound(f)
	}
	for _, p := range d.ports {
		if p.DeviceOwner == l3.OwnerFloatingIP && owns[p.ID] == "" {
			d.report("port %s holds the address of a floating IP that does not exist, %s", p.ID, p.DeviceID)
		}
	}
}

func (d *database) ofBound(f l3.FloatingIP) {
	p, ok := d.ports[f.PortID]
	if !ok {
		d.report("floating IP %s is bound to port %s, which does not exist", f.ID, f.PortID)
		return
	}
	i := slices.IndexFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return ip.IPAddress == f.FixedIP })
	if i < 0 {
		d.report("floating IP %s is bound to %s, which port %s does not have", f.ID, f.FixedIP, p.ID)
		return
	}
	r, ok := d.routers[f.RouterID]
	if !ok || r.Gateway == nil || r.Gateway.NetworkID != f.NetworkID {
		d.report("floating IP %s is bound through router %q, which has no gateway on network %s", f.ID, f.RouterID, f.NetworkID)
		return
	}
	inside := slices.ContainsFunc(d.portsOf(r.ID, l3.OwnerRouterInterface, l3.OwnerDistributedInterface), func(q l3.Port) bool {
		return slices.ContainsFunc(q.FixedIPs, func(ip l3.FixedIP) bool { return ip.SubnetID == p.FixedIPs[i].SubnetID })
	})
	if !inside {
		d.report("floating IP %s is bound through router %s, which has no interface on subnet %s", f.ID, r.ID, p.FixedIPs[i].SubnetID)
	}
}

// ofHosting: a router has one host at most, which exists, and its state says the same as its
// binding.
func (d *database) ofHosting() {
	hosts := map[string]string{}
	for _, a := range d.agents {
		if other, twice := hosts[a.Host]; twice {
			d.report("agents %s and %s are both on host %s", a.ID, other, a.Host)
		}
		hosts[a.Host] = a.ID
	}
	counts := map[string]int{}
	for _, st := range d.states {
		if _, ok := d.routers[st.Router()]; !ok {
			d.report("there is a state of router %s, which does not exist", st.ID)
		}
		if st.AgentID != "" {
			counts[st.AgentID]++
		}
		if st.Host != d.agents[st.AgentID].Host || st.AgentID != "" && (st.Host == "" || st.Epoch == 0) || st.Epoch > d.deployment.Epoch {
			d.report("router %s is on agent %q and host %q in epoch %d, which cannot be; the database has given %d at most",
				st.ID, st.AgentID, st.Host, st.Epoch, d.deployment.Epoch)
		}
		if st.Wanted && st.Revision == 0 || st.Reported > st.Revision {
			d.report("router %s is of revision %d, wanted: %t, and revision %d was reported", st.ID, st.Revision, st.Wanted, st.Reported)
		}
	}
	if !maps.Equal(counts, d.hosted) {
		d.report("agents host %v; %v are counted", counts, d.hosted)
	}
	for _, gone := range d.departures {
		if st, _ := d.stateOn(gone.Host, gone.RouterID); st.Wanted && st.Host == gone.Host {
			d.report("router %s has left host %s, and belongs there", gone.RouterID, gone.Host)
		}
	}
	for _, o := range d.orphans {
		if _, known := d.routerOf(o.RouterID); known {
			d.report("router %s is an orphan on host %s, and the database knows it", o.RouterID, o.Host)
		}
	}
	for _, f := range d.floatingIPs {
		if st := d.whole(f.RouterID); f.RouterID != "" && f.StateRevision > st.Revision {
			d.report("floating IP %s was bound with revision %d of router %s, which is of revision %d", f.ID, f.StateRevision, f.RouterID, st.Revision)
		}
	}
}

// ofOutbox: notices are in order, and of no epoch that is yet to come.
func (d *database) ofOutbox() {
	for i, n := range d.notices {
		if i > 0 && n.Seq <= d.notices[i-1].Seq {
			d.report("notice %d comes behind notice %d", n.Seq, d.notices[i-1].Seq)
		}
		if _, ok := d.routerOf(n.RouterID); !ok && !n.Gone {
			// The router was deleted after this notice, so there is another.
			if !slices.ContainsFunc(d.notices[i:], func(o l3.Notice) bool { return o.RouterID == n.RouterID && o.Gone }) {
				d.report("notice %d says that router %s is on host %s, but it does not exist", n.Seq, n.RouterID, n.Host)
			}
			continue
		}
		st, ok := d.stateOn(n.Host, n.RouterID)
		if n.Gone { // a departure from where the router does not belong is later than all that the host was told
			st.Epoch = max(st.Epoch, d.deployment.Epoch)
		}
		if ok && n.Epoch > st.Epoch {
			d.report("notice %d is of epoch %d of router %s, which is in epoch %d", n.Seq, n.Epoch, n.RouterID, st.Epoch)
		}
	}
}
