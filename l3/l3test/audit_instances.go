package l3test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// stateOn is the state of what a host knows by an ID.
func (d *database) stateOn(host, instance string) (l3.RouterState, bool) {
	if st, edge := d.states[l3.EdgeStateID(instance, host)]; edge {
		return st, true
	}
	st, known := d.states[instance]
	return st, known
}

// routerOf is the router of what a host knows by an ID.
func (d *database) routerOf(instance string) (l3.Router, bool) {
	r, known := d.routers[strings.TrimPrefix(instance, dataplane.CentreID(""))]
	return r, known
}

// whole is the state of a router on all of its hosts: what the last of them has, and the first
// error.
func (d *database) whole(routerID string) l3.RouterState {
	sum, distributed := d.states[dataplane.CentreID(routerID)]
	if !distributed {
		return d.states[routerID]
	}
	instances := []l3.RouterState{sum}
	for _, id := range slices.Sorted(maps.Keys(d.states)) {
		if st := d.states[id]; st.Edge && st.RouterID == routerID {
			instances = append(instances, st)
		}
	}
	sum.Error = ""
	for _, st := range instances {
		sum.Revision = max(sum.Revision, st.Revision)
	}
	sum.Reported, sum.Applied = sum.Revision, sum.Revision
	for _, st := range instances {
		if st.Reported != st.Revision {
			sum.Reported = min(sum.Reported, st.Reported)
		}
		if st.Applied != st.Revision {
			sum.Applied = min(sum.Applied, st.Applied)
		}
		if st.Error != "" && sum.Error == "" {
			sum.Error = fmt.Sprintf("host %s: %s", st.Host, st.Error)
		}
	}
	return sum
}

// ofInstances: a distributed router, and no other, has a centre; its instances have numbers and MAC
// addresses of their own; and it has an edge on every host of an able agent that a workload of its
// networks is bound to, or moves to, and on no other.
func (d *database) ofInstances() {
	type key struct {
		router string
		what   any
	}
	seen := map[key]string{}
	edges := map[key]bool{}
	for _, st := range d.states {
		r := d.routers[st.Router()]
		if r.Distributed != (st.RouterID != "") {
			d.report("router %s is distributed: %t, and has the state %s", r.ID, r.Distributed, st.ID)
		}
		if st.RouterID == "" {
			continue
		}
		if st.Edge {
			edges[key{st.RouterID, st.Host}] = true
		}
		for _, k := range []key{{st.RouterID, st.Number}, {st.RouterID, st.MAC}} {
			if other, twice := seen[k]; twice {
				d.report("instances %s and %s both have %v", st.ID, other, k.what)
			}
			seen[k] = st.ID
		}
		if st.Number == 0 || st.MAC == (dataplane.MAC{}) {
			d.report("instance %s has no number, or no MAC address", st.ID)
		}
	}
	for _, r := range d.routers {
		if !r.Distributed || !d.whole(r.ID).Wanted {
			continue
		}
		for _, leg := range d.portsOf(r.ID, l3.OwnerDistributedInterface) {
			for _, p := range d.ports {
				workload := !p.IsRouterInterface() && p.DeviceOwner != l3.OwnerRouterGateway && p.DeviceOwner != l3.OwnerFloatingIP
				if p.NetworkID != leg.NetworkID || !workload || p.Binding.HostID == "" {
					continue
				}
				var profile map[string]any
				_ = json.Unmarshal(p.Binding.Profile, &profile)
				to, _ := profile["migrating_to"].(string)
				for _, host := range []string{p.Binding.HostID, to} {
					if !d.able(host) {
						continue
					}
					k := key{r.ID, host}
					if _, is := edges[k]; !is {
						d.report("router %s has no edge on host %s, where port %s is, or is to be", r.ID, host, p.ID)
					}
					edges[k] = false
				}
			}
		}
	}
	for k, spare := range edges {
		if spare {
			d.report("router %s has an edge on host %v, where it has no workloads", k.router, k.what)
		}
	}
}

// ofSightings: what was sighted on a host lies in a subnet of a distributed router that has an edge
// there; the network has a workload there too, and no port has the address that is bound to a host,
// or a router's.
func (d *database) ofSightings() {
	crowd := map[string]int{}
	for _, x := range d.sightings {
		if x.ID != l3.SightingID(x.NetworkID, x.Addr) || x.SeenAt.IsZero() {
			d.report("sighting %s of %s on network %s has another ID, or no time", x.ID, x.Addr, x.NetworkID)
		}
		var workload, edge bool
		for _, p := range d.ports {
			if p.NetworkID != x.NetworkID {
				continue
			}
			has := slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return ip.IPAddress == x.Addr })
			switch {
			case p.DeviceOwner == l3.OwnerDistributedInterface:
				_, there := d.states[l3.EdgeStateID(p.DeviceID, x.Host)]
				edge = edge || there && slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return d.subnets[ip.SubnetID].CIDR.Contains(x.Addr) })
			case !p.IsRouterInterface() && p.DeviceOwner != l3.OwnerRouterGateway && p.DeviceOwner != l3.OwnerFloatingIP:
				workload = workload || p.Binding.HostID == x.Host
				has = has && p.Binding.HostID != ""
			}
			if has {
				d.report("sighting %s is of an address that port %s has", x.ID, p.ID)
			}
		}
		if !workload || !edge {
			d.report("sighting %s is on host %s, where the network has no workload, or its router no edge", x.ID, x.Host)
		}
		if crowd[x.NetworkID+"@"+x.Host]++; crowd[x.NetworkID+"@"+x.Host] == 101 {
			d.report("network %s has more than 100 sightings on host %s", x.NetworkID, x.Host)
		}
	}
}

// able says that the agent of a host can have edges.
func (d *database) able(host string) bool {
	for _, a := range d.agents {
		if a.Host == host && strings.HasPrefix(a.Capabilities.Mode, "dvr") {
			return true
		}
	}
	return false
}
