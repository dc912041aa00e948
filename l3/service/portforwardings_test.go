package service_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// pf is a spec that forwards ports to a port of the API: "tcp 80 8080", or "udp 8000:8099 53".
func pf(port l3.Port, text string) l3.PortForwardingSpec {
	var proto, external, internal string
	if _, err := fmt.Sscan(text, &proto, &external, &internal); err != nil {
		panic(err)
	}
	from, err := l3.ParsePortRange(external)
	if err != nil {
		panic(err)
	}
	to, err := l3.ParsePortRange(internal)
	if err != nil {
		panic(err)
	}
	return l3.PortForwardingSpec{PortID: &port.ID, Protocol: new(dataplane.Proto(proto)), ExternalRange: &from, InternalRange: &to}
}

func (r *rig) forward(f l3.FloatingIP, port l3.Port, text string) l3.PortForwarding {
	r.Helper()
	return one(r.CreatePortForwardings(r.Context(), r.member, f.ID, pf(port, text)))(r)
}

func (r *rig) tryForward(f l3.FloatingIP, spec l3.PortForwardingSpec) error {
	_, err := r.CreatePortForwardings(r.Context(), r.member, f.ID, spec)
	return err
}

func (r *rig) seeFIP(id string) l3.FloatingIP {
	r.Helper()
	return ok(r.GetFloatingIP(r.Context(), r.admin, id))(r)
}

// site is a router with a subnet inside, on a host that forwards ports.
type forwardingSite struct {
	*rig
	ext    l3.Network
	in     l3.Subnet
	router l3.Router
}

func newForwardingSite(r *rig) forwardingSite {
	r.Helper()
	r.beat(agent.Heartbeat{Host: "h1", Capabilities: agent.Capabilities{PortForwarding: true}})
	s := forwardingSite{rig: r, ext: r.external("public", "203.0.113.0/24"), in: r.inside("10.0.1.0/24")}
	s.router = r.routerTo(s.ext, s.in)
	r.report(s.router.ID)
	return s
}

func (s forwardingSite) forwarded() (list []string) {
	s.Helper()
	for _, f := range ok(s.DesiredOf(s.Context(), s.router.ID))(s.rig).Router.PortForwardings {
		list = append(list, f.Object()+" "+f.Target())
	}
	slices.Sort(list)
	return list
}

func TestPortForwarding(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		p, q := r.port(r.member, s.in, "10.0.1.7", "10.0.1.8"), r.port(r.member, s.in, "10.0.1.9")
		f := r.fip(s.ext, "")
		addr := f.Address.String()

		web := r.forward(f, p, "tcp 80 8080")
		require.Equal(r, []string{addr + " tcp 80 → 10.0.1.7 8080"}, s.forwarded(), "the first IPv4 address of the port")
		seen := r.seeFIP(f.ID)
		require.Equal(r, s.router.ID, seen.RouterID)
		require.Empty(r, seen.PortID)
		require.False(r, seen.FixedIP.IsValid())
		require.Greater(r, seen.Revision, f.Revision)
		require.Equal(r, []l3.PortForwarding{web}, seen.PortForwardings)
		require.Equal(r, l3.StatusDown, seen.Status)
		r.report(s.router.ID)
		require.Equal(r, l3.StatusActive, r.seeFIP(f.ID).Status)

		many := r.forward(f, q, "udp 8000:8099 9000:9099")
		one := r.forward(f, q, "tcp 8000:8099 22")
		require.Equal(r, l3.StatusActive, r.seeFIP(f.ID).Status, "the first forwarding works as before")
		require.Equal(r, l3.StatusBuild, r.see(s.router.ID).Status)
		require.Equal(r, []string{addr + " tcp 80 → 10.0.1.7 8080", addr + " tcp 8000-8099 → 10.0.1.9 22", addr + " udp 8000-8099 → 10.0.1.9 9000-9099"}, s.forwarded())
		require.Equal(r, 3, ok(r.QuotaDetails(r.Context(), r.member, r.member.Project))(r)["port_forwarding"].Used)
		byPort := l3.Query{Filters: []l3.Filter{{Field: "external_port", Values: []any{80}}}}
		require.Equal(r, []l3.PortForwarding{web}, ok(r.ListPortForwardings(r.Context(), r.member, f.ID, byPort))(r))
		require.Len(r, ok(r.ListPortForwardings(r.Context(), r.member, f.ID, l3.Query{}))(r), 3)

		// It leads elsewhere: to another address, another port, other ports.
		update := func(pf l3.PortForwarding, spec l3.PortForwardingSpec) l3.PortForwarding {
			r.Helper()
			return ok(r.UpdatePortForwarding(r.Context(), r.member, f.ID, pf.ID, spec, l3.If{}))(r)
		}
		require.Equal(r, web, update(web, l3.PortForwardingSpec{PortID: &p.ID, ExternalPort: new(80)}), "it is so already")
		web = update(web, l3.PortForwardingSpec{FixedIP: new(netip.MustParseAddr("10.0.1.8")), Description: new("web")})
		require.Contains(r, s.forwarded(), addr+" tcp 80 → 10.0.1.8 8080")
		web = update(web, l3.PortForwardingSpec{PortID: &q.ID, InternalPort: new(81)})
		require.Contains(r, s.forwarded(), addr+" tcp 80 → 10.0.1.9 81")
		require.Equal(r, "web", web.Description)
		update(many, l3.PortForwardingSpec{ExternalRange: &l3.PortRange{First: 100, Last: 199}})
		require.Contains(r, s.forwarded(), addr+" udp 100-199 → 10.0.1.9 9000-9099")
		update(one, l3.PortForwardingSpec{ExternalPort: new(8000), Protocol: new(dataplane.SCTP)})
		require.Contains(r, s.forwarded(), addr+" sctp 8000 → 10.0.1.9 22")

		for _, pf := range []l3.PortForwarding{many, one} {
			require.NoError(r, r.DeletePortForwarding(r.Context(), r.member, f.ID, pf.ID, l3.If{}))
		}
		require.Equal(r, s.router.ID, r.seeFIP(f.ID).RouterID)
		require.NoError(r, r.DeletePortForwarding(r.Context(), r.member, f.ID, web.ID, l3.If{}))
		require.Empty(r, s.forwarded())
		left := r.seeFIP(f.ID)
		require.Empty(r, left.RouterID)
		require.Equal(r, l3.StatusDown, left.Status)
		require.NoError(r, r.DeleteFloatingIP(r.Context(), r.member, f.ID, l3.If{}))
	})
}

func TestPortForwardingIsRefused(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		p, bound := r.port(r.member, s.in, "10.0.1.7", "10.0.1.8"), r.port(r.member, s.in)
		far := r.port(r.member, r.inside("10.0.2.0/24"))
		f, other, taken := r.fip(s.ext, ""), r.fip(s.ext, ""), r.fip(s.ext, bound.ID)
		r.forward(f, p, "tcp 80 8080")
		r.forward(f, p, "tcp 100:199 9000:9099")

		refused := func(err error, kind error, name, text string) {
			r.Helper()
			r.refused(err, kind, name)
			require.ErrorContains(r, err, text)
		}
		bad := func(f l3.FloatingIP, p l3.Port, ports, text string) {
			r.Helper()
			refused(r.tryForward(f, pf(p, ports)), l3.ErrInvalid, "BadRequest", "Bad port_forwarding request: "+text)
		}
		bad(f, p, "tcp 80 1", "There is a port collision with the external_port_range. The following ranges collides: 80:80 and 80:80")
		bad(f, p, "tcp 150 1", "There is a port collision with the external_port_range. The following ranges collides: 100:199 and 150:150")
		bad(f, p, "tcp 1:100 1", "There is a port collision with the external_port_range")
		bad(other, p, "tcp 80 8080", "There is a port collision with the internal_port_range. The following ranges collides: 8080:8080 and 8080:8080")
		bad(other, p, "tcp 7000:7099 8981:9080", "There is a port collision with the internal_port_range")
		bad(other, p, "tcp 80:81 90:92", "Invalid ranges of internal and/or external ports. The relation between internal and external ports must be N-N or 1-N")
		bad(other, far, "tcp 80 80", "External network "+s.ext.ID+" is not reachable from subnet "+far.FixedIPs[0].SubnetID+
			". Cannot set Port forwarding for port "+far.ID+" with Floating IP "+other.ID)
		strange := pf(p, "tcp 81 81")
		strange.FixedIP = new(netip.MustParseAddr("10.0.1.99"))
		refused(r.tryForward(f, strange), l3.ErrInvalid, "BadRequest", "Requested internal IP address 10.0.1.99 is not suitable for internal neutron port "+p.ID)
		refused(r.tryForward(f, pf(bound, "tcp 81 81")), l3.ErrConflict, "PortHasBindingFloatingIP",
			"Cannot create port forwarding to floating IP "+taken.Address.String()+" ("+taken.ID+") with port "+bound.ID)
		refused(r.tryForward(taken, pf(p, "tcp 81 81")), l3.ErrConflict, "FloatingIPPortAlreadyAssociated", "Cannot associate floating IP "+taken.Address.String())
		refused(r.tryForward(l3.FloatingIP{Meta: l3.Meta{ID: "none"}}, pf(p, "tcp 81 81")), l3.ErrNotFound, "FloatingIPNotFound", "none")
		refused(r.tryForward(f, pf(l3.Port{Meta: l3.Meta{ID: "none"}}, "tcp 81 81")), l3.ErrNotFound, "PortNotFound", "none")
		for _, proto := range []dataplane.Proto{"icmp", "dccp", "", "TCP"} {
			spec := pf(p, "tcp 81 81")
			spec.Protocol = &proto
			refused(r.tryForward(f, spec), l3.ErrInvalid, "InvalidInput", "protocol")
		}
		for _, spec := range []l3.PortForwardingSpec{
			{ExternalPort: new(0), InternalPort: new(1)}, {ExternalPort: new(1), InternalPort: new(65536)},
			{ExternalRange: &l3.PortRange{}, InternalPort: new(1)}, {ExternalRange: &l3.PortRange{First: 2, Last: 1}, InternalPort: new(1)},
		} {
			spec.PortID, spec.Protocol = &p.ID, new(dataplane.TCP)
			refused(r.tryForward(f, spec), l3.ErrInvalid, "InvalidInput", "port")
		}
		both := pf(p, "tcp 81 81")
		both.ExternalPort = new(82)
		refused(r.tryForward(f, both), l3.ErrInvalid, "BadRequest", "do not match")
		refused(r.tryForward(f, l3.PortForwardingSpec{PortID: &p.ID, Protocol: new(dataplane.TCP), InternalPort: new(1)}), l3.ErrInvalid, "HTTPBadRequest", "external_port")
		refused(r.tryForward(f, l3.PortForwardingSpec{Protocol: new(dataplane.TCP), InternalPort: new(1), ExternalPort: new(1)}), l3.ErrNotFound, "PortNotFound", "")

		own := r.routerPorts(s.router.ID)[0]
		_, err := r.CreatePortForwardings(r.Context(), r.admin, f.ID, pf(own, "tcp 81 81"))
		refused(err, l3.ErrInvalid, "BadRequest", "")

		// Others do not see it, and what it leads to is the project's.
		_, err = r.CreatePortForwardings(r.Context(), r.other, f.ID, pf(p, "tcp 81 81"))
		r.refused(err, l3.ErrNotFound, "FloatingIPNotFound")
		_, err = r.ListPortForwardings(r.Context(), r.other, f.ID, l3.Query{})
		r.refused(err, l3.ErrNotFound, "FloatingIPNotFound")
		id := r.seeFIP(f.ID).PortForwardings[0].ID
		_, err = r.GetPortForwarding(r.Context(), r.other, f.ID, id)
		r.refused(err, l3.ErrNotFound, "PortForwardingNotFound")
		_, err = r.GetPortForwarding(r.Context(), r.member, other.ID, id)
		r.refused(err, l3.ErrNotFound, "PortForwardingNotFound")
		r.refused(r.DeletePortForwarding(r.Context(), r.member, other.ID, id, l3.If{}), l3.ErrNotFound, "PortForwardingNotFound")
		reader := l3.Caller{Project: r.member.Project, Roles: []string{l3.RoleReader}}
		ok(r.GetPortForwarding(r.Context(), reader, f.ID, id))(r)
		_, err = r.UpdatePortForwarding(r.Context(), reader, f.ID, id, l3.PortForwardingSpec{}, l3.If{})
		r.refused(err, l3.ErrForbidden, "PolicyNotAuthorized")
		ok(r.CreateRBACPolicies(r.Context(), r.member, l3.RBACPolicySpec{
			ObjectType: new("network"), ObjectID: &s.in.NetworkID, Action: new(l3.AccessAsShared), TargetProject: &r.other.Project,
		}))(r)
		theirs := one(r.CreatePorts(r.Context(), r.other, l3.PortSpec{NetworkID: &s.in.NetworkID}))(r)
		bad(f, theirs, "tcp 81 81", "Port "+theirs.ID+" is owned by a different project")

		// Updates are held to the same.
		_, err = r.UpdatePortForwarding(r.Context(), r.member, f.ID, id, l3.PortForwardingSpec{ExternalRange: &l3.PortRange{First: 1, Last: 65535}}, l3.If{})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		_, err = r.UpdatePortForwarding(r.Context(), r.member, f.ID, id, l3.PortForwardingSpec{FixedIP: strange.FixedIP}, l3.If{})
		refused(err, l3.ErrInvalid, "BadRequest", "The internal IP does not correspond to an address on the internal port, which has fixed_ips [{'subnet_id': '")
		_, err = r.UpdatePortForwarding(r.Context(), r.member, f.ID, id, l3.PortForwardingSpec{PortID: &bound.ID}, l3.If{})
		r.refused(err, l3.ErrConflict, "PortHasBindingFloatingIP")

		ok(r.SetQuota(r.Context(), r.admin, r.member.Project, map[string]int{"port_forwarding": 2}))(r)
		r.refused(r.tryForward(f, pf(p, "tcp 81 81")), l3.ErrOverQuota, "OverQuota")
	})
}

// TestPortForwardingHoldsItsFloatingIP: neither what it is of nor what it needs can go.
func TestPortForwardingHoldsItsFloatingIP(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		p, q := r.port(r.member, s.in, "10.0.1.7"), r.port(r.member, s.in, "10.0.1.9")
		f := r.fip(s.ext, "")
		r.forward(f, p, "tcp 80 8080")
		inUse := "Floating IP " + f.ID + " in use by Port Forwarding resources."
		err := r.tryBind(r.member, f, l3.FloatingIPSpec{PortID: &q.ID})
		r.refused(err, l3.ErrConflict, "FipInUseByPortForwarding")
		require.ErrorContains(r, err, inUse)
		r.refused(r.DeleteFloatingIP(r.Context(), r.member, f.ID, l3.If{}), l3.ErrConflict, "FipInUseByPortForwarding")
		_, err = r.remove(s.router.ID, l3.InterfaceSpec{SubnetID: s.in.ID})
		r.refused(err, l3.ErrConflict, "RouterInterfaceInUseByFloatingIP")
		_, err = r.UpdateRouter(r.Context(), r.member, s.router.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{}}, l3.If{})
		r.refused(err, l3.ErrConflict, "RouterExternalGatewayInUseByFloatingIp")
		_, err = r.add(r.router().ID, l3.InterfaceSpec{PortID: p.ID})
		r.refused(err, l3.ErrConflict, "PortInUse")

		// What is no change is none: it is bound to nothing.
		for _, spec := range []l3.FloatingIPSpec{{}, {PortID: new("")}, {Distributed: new(false)}} {
			require.Equal(r, s.router.ID, ok(r.UpdateFloatingIP(r.Context(), r.member, f.ID, spec, l3.If{}))(r).RouterID)
		}
		// A port of a central router can have both, as its connections meet in one place.
		both := r.fip(s.ext, p.ID)
		require.Len(r, s.forwarded(), 1)
		require.Len(r, ok(r.DesiredOf(r.Context(), s.router.ID))(r).Router.FloatingIPs, 1)
		require.NoError(r, r.DeleteFloatingIP(r.Context(), r.member, both.ID, l3.If{}))
	})
}

// TestPortForwardingEndsWithItsAddress, and with its port.
func TestPortForwardingEndsWithItsAddress(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		p, q := r.port(r.member, s.in, "10.0.1.7", "10.0.1.8"), r.port(r.member, s.in, "10.0.1.9")
		f, g := r.fip(s.ext, ""), r.fip(s.ext, "")
		r.forward(f, p, "tcp 80 8080")
		second := pf(p, "tcp 81 8081")
		second.FixedIP = new(netip.MustParseAddr("10.0.1.8"))
		one(r.CreatePortForwardings(r.Context(), r.member, f.ID, second))(r)
		r.forward(f, q, "tcp 82 8082")
		r.forward(g, p, "tcp 80 8090")
		require.Len(r, s.forwarded(), 4)

		ok(r.UpdatePort(r.Context(), r.member, p.ID, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{{SubnetID: s.in.ID, IPAddress: *second.FixedIP}}}, l3.If{}))(r)
		require.Len(r, s.forwarded(), 2)
		require.Empty(r, r.seeFIP(g.ID).RouterID, "it was the only one")
		require.NoError(r, r.DeletePort(r.Context(), r.member, p.ID, l3.If{}))
		require.Equal(r, []string{f.Address.String() + " tcp 82 → 10.0.1.9 8082"}, s.forwarded())
		require.NoError(r, r.DeletePort(r.Context(), r.member, q.ID, l3.If{}))
		require.Empty(r, s.forwarded())
		require.Empty(r, r.seeFIP(f.ID).RouterID)
	})
}

// TestStatusOfAFloatingIPWithForwardings: it works as long as one of them does.
func TestStatusOfAFloatingIPWithForwardings(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		second := r.inside("10.0.2.0/24")
		leg := r.attach(s.router, second)
		f := r.fip(s.ext, "")
		first := r.forward(f, r.port(r.member, s.in), "tcp 80 80")
		r.forward(f, r.port(r.member, second), "tcp 81 81")
		set := func(up bool) {
			r.Helper()
			ok(r.UpdatePort(r.Context(), r.admin, leg.PortID, l3.PortSpec{AdminStateUp: &up}, l3.If{}))(r)
			r.report(s.router.ID)
		}
		status := func() l3.Status { return r.seeFIP(f.ID).Status }
		r.report(s.router.ID)
		require.Equal(r, l3.StatusActive, status())
		set(false)
		require.Len(r, s.forwarded(), 1)
		require.Equal(r, l3.StatusActive, status(), "one works")
		require.NoError(r, r.DeletePortForwarding(r.Context(), r.member, f.ID, first.ID, l3.If{}))
		r.report(s.router.ID)
		require.Equal(r, l3.StatusDown, status())
		down := l3.Query{Filters: []l3.Filter{{Field: "status", Values: []any{"DOWN"}}}}
		require.Len(r, ok(r.ListFloatingIPs(r.Context(), r.admin, down))(r), 1, "as it is stored")
		set(true)
		require.Equal(r, l3.StatusActive, status())
	})
}

// TestPortForwardingsOfADistributedRouter are at the centre, also for an address that had a floating
// IP at an edge when the router was central.
func TestPortForwardingsOfADistributedRouter(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		r.beat(agent.Heartbeat{Host: "nn", Capabilities: agent.Capabilities{Mode: agent.ModeDVRSNAT, PhysicalNetworks: []string{"public"}, PortForwarding: true}})
		a := s.bound(s.web, "h1")
		f := r.fip(s.external, "")
		r.forward(f, a, "tcp 80 8080")
		require.Len(r, s.centre("nn").PortForwardings, 1)
		require.Empty(r, s.edge("h1").PortForwardings)
		require.Equal(r, []netip.Addr{a.FixedIPs[0].IPAddress}, s.edge("h1").Transit.Elsewhere, "what answers, answers by the centre")
		s.applied("h1", "")
		s.applied("nn", "")
		require.Equal(r, l3.StatusActive, r.seeFIP(f.ID).Status)
		err := r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &s.external.ID, PortID: &a.ID})
		r.refused(err, l3.ErrInvalid, "PortHasPortForwarding")
		require.ErrorContains(r, err, "Cannot associate floating IP to port "+a.ID+" because it already has a Port Forwarding binding.")

		turn := func(distributed bool) {
			r.Helper()
			for _, spec := range []l3.RouterSpec{{AdminStateUp: new(false)}, {Distributed: &distributed}, {AdminStateUp: new(true)}} {
				ok(r.UpdateRouter(r.Context(), r.admin, s.router.ID, spec, l3.If{}))(r)
			}
		}
		turn(false)
		both := r.fip(s.external, a.ID)
		turn(true)
		require.Equal(r, both.Address, s.centre("nn").FloatingIPs[0].Addr)
		require.Equal(r, l3.Holder{Host: "nn", Instance: dataplane.CentreID(s.router.ID)}, r.seeFIP(both.ID).Holder)
		require.Empty(r, s.edge("h1").FloatingIPs)
		require.Len(r, s.centre("nn").PortForwardings, 1)
	})
}

// TestAgentThatLeavesPortForwardingsOut is of an older version: it says that it has realised the
// router.
func TestAgentThatLeavesPortForwardingsOut(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		f := r.fip(s.ext, "")
		r.agent("h1") // as it was before
		first := r.forward(f, r.port(r.member, s.in), "tcp 80 8080")
		a := r.report(s.router.ID)
		failed := func() {
			r.Helper()
			seen := r.see(s.router.ID)
			require.Equal(r, l3.StatusError, seen.Status)
			require.Contains(r, seen.StatusReason, "h1 is of a version that does not know port forwardings")
			require.Equal(r, l3.StatusError, r.seeFIP(f.ID).Status)
		}
		failed()
		beat := agent.Heartbeat{Host: "h1", Instance: "i", Machine: "m", Inventory: &agent.Inventory{
			Seq: 1, Routers: []agent.RunningRouter{{ID: s.router.ID, Epoch: a.Epoch, Revision: a.Revision}},
		}}
		beat.Deployment = ok(r.Deployment(r.Context()))(r).ID
		r.beat(beat)
		failed()
		beat.Inventory.Seq, beat.Capabilities.PortForwarding = 2, true
		r.beat(beat)
		require.Equal(r, l3.StatusActive, r.see(s.router.ID).Status, "it was replaced")
		require.Equal(r, l3.StatusActive, r.seeFIP(f.ID).Status)

		// A router with forwardings moves to an agent that knows them, if there is one.
		for _, h := range []string{"h2", "h3", "h4"} {
			r.agent(h)
		}
		r.beat(agent.Heartbeat{Host: "h5", Capabilities: agent.Capabilities{PortForwarding: true}})
		ok(r.UpdateAgent(r.Context(), r.admin, ok(r.AgentsOfRouter(r.Context(), r.admin, s.router.ID))(r)[0].ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		require.Equal(r, "h5", r.hostOf(s.router.ID))

		require.NoError(r, r.DeletePortForwarding(r.Context(), r.member, f.ID, first.ID, l3.If{}))
	})
}

// TestRacePortForwardings: of those that want the same ports one gets them, and all see one router.
func TestRacePortForwardings(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		f := r.fip(s.ext, "")
		ports := make([]l3.Port, clients)
		for i := range ports {
			ports[i] = r.port(r.member, s.in)
		}
		same := func(i int) error {
			return r.tryForward(f, pf(ports[i], fmt.Sprintf("tcp %d:%d 80", 100+i, 100+clients)))
		}
		require.Equal(r, map[string]int{"": 1, "BadRequest": clients - 1}, r.atOnce(same), "all want the last port")
		apart := func(i int) error { return r.tryForward(f, pf(ports[i], fmt.Sprintf("udp %d 80", 100+i))) }
		require.Equal(r, map[string]int{"": clients}, r.atOnce(apart))
		require.Len(r, s.forwarded(), clients+1)

		all := ok(r.ListPortForwardings(r.Context(), r.member, f.ID, l3.Query{}))(r)
		gone := r.atOnce(func(i int) error { return r.DeletePortForwarding(r.Context(), r.member, f.ID, all[i].ID, l3.If{}) })
		require.Equal(r, map[string]int{"": clients}, gone)
		last := all[clients]
		got := r.atOnce(func(i int) error {
			if i%2 == 0 {
				return r.DeletePortForwarding(r.Context(), r.member, f.ID, last.ID, l3.If{})
			}
			return r.DeletePort(r.Context(), r.member, last.PortID, l3.If{})
		})
		require.Equal(r, clients-got[""], got["PortForwardingNotFound"]+got["PortNotFound"], "%v", got)
		require.LessOrEqual(r, got[""], 2, "the forwarding, and the port")
		require.Empty(r, r.seeFIP(f.ID).RouterID)
	})
}

// TestForwardedPortsOfARouterAreBounded, as hosts refuse more.
func TestForwardedPortsOfARouterAreBounded(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		p := r.port(r.member, s.in)
		for i, proto := range []string{"tcp", "udp"} {
			r.forward(r.fip(s.ext, ""), p, fmt.Sprintf("%s 1:65535 %d", proto, 80+i))
		}
		f := r.fip(s.ext, "")
		r.forward(f, p, "sctp 1 1")
		r.forward(f, p, "sctp 2 2")
		require.Len(r, s.forwarded(), 4, "131,072 ports")
		r.refused(r.tryForward(f, pf(p, "sctp 3 3")), l3.ErrExhausted, "RouterPortForwardingsExhausted")
	})
}
