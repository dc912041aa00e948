package l3test

import (
	"github.com/l3kit/l3kit/l3"
)

// ofStatus: the status that is stored with routers, their ports and floating IPs, so that lists can
// be filtered by it, is the one that follows from what the hosts have reported. A former version
// has left routers and floating IPs without one.
func (d *database) ofStatus() {
	for _, r := range d.routers {
		st := d.whole(r.ID)
		host := ""
		if r.AdminStateUp && st.Wanted {
			host = st.Host
		}
		if want := routerStatus(r, st); r.Status != "" && (r.Status != want || r.Host != host) {
			d.report("router %s is stored as %s on host %q, and is %s on %q", r.ID, r.Status, r.Host, want, host)
		}
		if r.Status == "" {
			continue
		}
		for _, p := range d.portsOf(r.ID, l3.OwnerRouterInterface, l3.OwnerDistributedInterface, l3.OwnerRouterGateway) {
			want := l3.StatusDown
			if host != "" && p.AdminStateUp && p.StateRevision > 0 && p.StateRevision <= st.Applied {
				want = l3.StatusActive
			}
			bound := host
			if p.DeviceOwner == l3.OwnerDistributedInterface {
				bound = ""
			}
			if p.Status != want || p.Binding.HostID != bound || host != "" == (p.Binding.VIFType == "unbound") {
				d.report("port %s of router %s is stored as %s on host %q (%s), and is %s on %q",
					p.ID, r.ID, p.Status, p.Binding.HostID, p.Binding.VIFType, want, host)
			}
			if up := r.AdminStateUp && p.AdminStateUp; up != (p.StateRevision > 0) || p.StateRevision > st.Revision {
				d.report("port %s of router %s, which is of revision %d, was plugged in with revision %d", p.ID, r.ID, st.Revision, p.StateRevision)
			}
		}
	}
	for _, f := range d.floatingIPs {
		st, r := d.whole(f.RouterID), d.routers[f.RouterID]
		host := ""
		want := d.floatingIPStatus(f, st)
		if r.AdminStateUp && st.Wanted && want != l3.StatusDown {
			host = st.Host
		}
		if f.Status != "" && (f.Status != want || f.Host != host) {
			d.report("floating IP %s is stored as %s on host %q, and is %s on %q", f.ID, f.Status, f.Host, want, host)
		}
	}
	for _, p := range d.ports {
		if p.DeviceOwner == l3.OwnerFloatingIP && (p.Status != l3.StatusNone || p.Binding.HostID != "") {
			d.report("port %s of a floating IP is %s on host %q", p.ID, p.Status, p.Binding.HostID)
		}
		d.ofWorkload(p)
	}
}

// ofWorkload: only an agent has said that a workload's port is attached.
func (d *database) ofWorkload(p l3.Port) {
	if p.Status != l3.StatusActive || p.IsRouterInterface() || p.DeviceOwner == l3.OwnerRouterGateway {
		return
	}
	served := false
	for _, a := range d.agents {
		served = served || a.Host == p.Binding.HostID
	}
	if !p.AdminStateUp || !served {
		d.report("port %s of a workload is ACTIVE, and no agent serves host %q, or the port is administratively down", p.ID, p.Binding.HostID)
	}
}

func routerStatus(r l3.Router, st l3.RouterState) l3.Status {
	if !r.AdminStateUp {
		return l3.StatusDown
	}
	if !st.Wanted {
		return l3.StatusActive
	}
	if st.AgentID == "" {
		if st.Unhosted != "" || st.Removed {
			return l3.StatusDown
		}
		return l3.StatusBuild
	}
	if st.Reported < st.Revision {
		return l3.StatusBuild
	}
	if st.Error != "" {
		return l3.StatusError
	}
	return l3.StatusActive
}

func (d *database) floatingIPStatus(f l3.FloatingIP, st l3.RouterState) l3.Status {
	switch {
	case f.RouterID == "" || !d.realised(f, st.Inside) || f.StateRevision == 0:
		return l3.StatusDown
	case f.StateRevision <= st.Applied:
		return l3.StatusActive
	case st.Error != "" && f.StateRevision <= st.Reported:
		return l3.StatusError
	}
	return l3.StatusDown
}
