package service_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

// spreadOut is a distributed router on two subnets, with a gateway; the centre can be on nn, and
// h1 and h2 have edges, of which h1 reaches the external network. h4 routes nothing.
type spreadOut struct {
	*rig
	external l3.Network
	web, app l3.Subnet
	router   l3.Router
}

func (r *rig) dvr(host, mode string, physical ...string) {
	r.Helper()
	r.beat(agent.Heartbeat{Host: host, Capabilities: agent.Capabilities{Mode: mode, PhysicalNetworks: append([]string{}, physical...)}})
}

func newSpreadOut(r *rig) *spreadOut {
	s := &spreadOut{rig: r, external: r.external("public", "203.0.113.0/24"), web: r.inside("10.0.0.0/24"), app: r.inside("10.0.1.0/24")}
	r.dvr("nn", agent.ModeDVRSNAT, "public")
	r.dvr("h1", agent.ModeDVR, "public")
	r.dvr("h2", agent.ModeDVRNoExternal)
	r.dvr("h4", agent.ModeLegacy)
	s.router = one(r.CreateRouters(r.Context(), r.admin, l3.RouterSpec{
		ProjectID: &r.member.Project, Distributed: new(true), Gateway: &l3.GatewaySpec{NetworkID: s.external.ID},
	}))(r)
	r.attach(s.router, s.web)
	r.attach(s.router, s.app)
	return s
}

// bound makes a port of a workload on a host.
func (s *spreadOut) bound(on l3.Subnet, host string) l3.Port {
	s.Helper()
	return one(s.CreatePorts(s.Context(), s.admin, l3.PortSpec{
		ProjectID: &s.member.Project, NetworkID: &on.NetworkID, FixedIPs: &[]l3.FixedIPSpec{{SubnetID: on.ID}}, HostID: &host,
	}))(s.rig)
}

func (s *spreadOut) move(p l3.Port, host string) {
	s.Helper()
	ok(s.UpdatePort(s.Context(), s.admin, p.ID, l3.PortSpec{HostID: &host}, l3.If{}))(s.rig)
}

// hosts are those that have the router, or a part of it.
func (s *spreadOut) hosts() string {
	s.Helper()
	var hosts []string
	for _, a := range ok(s.AgentsOfRouter(s.Context(), s.admin, s.router.ID))(s.rig) {
		hosts = append(hosts, a.Host)
	}
	slices.Sort(hosts)
	return strings.Join(hosts, " ")
}

// on is what a host must realise of the router; false: nothing.
func (s *spreadOut) on(host, instance string) (dataplane.Router, bool) {
	s.Helper()
	for _, a := range ok(s.DesiredOn(s.Context(), host))(s.rig) {
		if a.Router.ID == instance {
			return a.Router, true
		}
	}
	return dataplane.Router{}, false
}

func (s *spreadOut) edge(host string) dataplane.Router {
	s.Helper()
	r, is := s.on(host, s.router.ID)
	require.True(s, is, "no edge on %s", host)
	return r
}

func (s *spreadOut) centre(host string) dataplane.Router {
	s.Helper()
	r, is := s.on(host, dataplane.CentreID(s.router.ID))
	require.True(s, is, "no centre on %s", host)
	return r
}

// applied has a host report of all that it must realise.
func (s *spreadOut) applied(host, failure string) {
	s.Helper()
	for _, a := range ok(s.DesiredOn(s.Context(), host))(s.rig) {
		require.NoError(s, s.Report(s.Context(), agent.Report{Host: host, RouterID: a.Router.ID, Epoch: a.Epoch, Revision: a.Revision, Error: failure}))
	}
}

func (s *spreadOut) told() []string {
	s.Helper()
	list := s.notices(map[string]string{s.router.ID: "edge", dataplane.CentreID(s.router.ID): "centre"})
	for i, n := range list {
		fields := strings.Fields(n) // an edge's epochs are of all hosts
		list[i] = strings.Join(append(fields[:2], fields[3:]...), " ")
	}
	slices.Sort(list)
	return list
}

func neighboursOn(r dataplane.Router) (all []string) {
	for _, p := range r.Ports {
		for _, a := range p.Anycast.Neighbours {
			all = append(all, a.String())
		}
	}
	return all
}

func routed(r dataplane.Router) map[string]string {
	all := map[string]string{}
	for _, x := range r.Transit.Routes {
		all[x.Dest.String()] = x.NextHop.String()
	}
	return all
}

func TestEdgesFollowWorkloads(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		require.Equal(r, "nn", s.hosts(), "without workloads there is the centre")
		s.told()

		a, b := s.bound(s.web, "h1"), s.bound(s.app, "h2")
		s.bound(s.app, "h4")
		require.Equal(r, "h1 h2 nn", s.hosts(), "h4 routes nothing")
		require.Equal(r, []string{"h1 edge", "h1 edge", "h2 edge", "nn centre", "nn centre"}, s.told())

		e1, e2, c := s.edge("h1"), s.edge("h2"), s.centre("nn")
		require.Equal(r, []string{a.FixedIPs[0].IPAddress.String()}, neighboursOn(e1))
		require.Equal(r, []string{b.FixedIPs[0].IPAddress.String()}, neighboursOn(e2))
		onE2 := e2.Transit.Addrs[0].Addr().String()
		require.Equal(r, onE2, routed(e1)[b.FixedIPs[0].IPAddress.String()+"/32"])
		require.Equal(r, onE2, routed(c)[b.FixedIPs[0].IPAddress.String()+"/32"])
		require.Equal(r, e1.Transit.Network, c.Transit.Network)
		require.NotZero(r, c.Transit.Network.Segment)
		require.NotEqual(r, e1.Transit.MAC, e2.Transit.MAC)
		require.Equal(r, e1.Ports[0].MAC, s.routerPorts(s.router.ID)[slices.IndexFunc(s.routerPorts(s.router.ID), func(p l3.Port) bool { return p.ID == e1.Ports[0].ID })].MAC,
			"an edge's leg has the MAC of the API's port")

		s.move(a, "h2")
		require.Equal(r, "h2 nn", s.hosts())
		require.Equal(r, []string{"h1 edge gone", "h2 edge", "nn centre"}, s.told())
		require.Len(r, neighboursOn(s.edge("h2")), 2)
		_, is := s.on("h1", s.router.ID)
		require.False(r, is)

		require.NoError(r, s.DeletePort(s.Context(), s.admin, a.ID, l3.If{}))
		require.NoError(r, s.DeletePort(s.Context(), s.admin, b.ID, l3.If{}))
		require.Equal(r, "nn", s.hosts(), "the last workload has left")
		s.told()

		ok(s.UpdatePort(s.Context(), s.admin, s.bound(s.web, "").ID, l3.PortSpec{Name: new("x")}, l3.If{}))(r)
		require.Empty(r, s.told(), "a port without a host is nobody's concern")
	})
}

// TestEdgeWaitsForAWorkloadThatMigrates: it is there when the workload arrives, and sends what is
// for it to where it still runs.
func TestEdgeWaitsForAWorkloadThatMigrates(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		a := s.bound(s.web, "h1")
		addr := a.FixedIPs[0].IPAddress.String()
		profile := func(text string) {
			r.Helper()
			ok(s.UpdatePort(s.Context(), s.admin, a.ID, l3.PortSpec{Profile: new(json.RawMessage(text))}, l3.If{}))(r)
		}
		s.told()
		profile(`{"migrating_to": 7}`)
		profile(`{"migrating_to": "h4"}`)
		require.Equal(r, "h1 nn", s.hosts(), "h4 routes nothing")
		require.Empty(r, s.told())
		profile(`{"migrating_to": "h2"}`)
		require.Equal(r, "h1 h2 nn", s.hosts())
		e1, e2 := s.edge("h1"), s.edge("h2")
		require.Equal(r, []string{addr}, neighboursOn(e1))
		require.Empty(r, neighboursOn(e2))
		require.Len(r, e2.Ports, 1, "the leg that it needs")
		require.Equal(r, e1.Transit.Addrs[0].Addr().String(), routed(e2)[addr+"/32"])

		s.move(a, "h2")
		require.Equal(r, "h2 nn", s.hosts())
		require.Equal(r, []string{addr}, neighboursOn(s.edge("h2")))
		require.Equal(r, e2.Transit.MAC, s.edge("h2").Transit.MAC, "it is the same edge")
		profile(`{}`)
		require.Equal(r, "h2 nn", s.hosts())

		profile(`{"migrating_to": "h1"}`)
		require.Equal(r, "h1 h2 nn", s.hosts())
		profile(`{}`)
		require.Equal(r, "h2 nn", s.hosts(), "it was given up")
	})
}

func TestFloatingIPsOfEdges(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		a, b := s.bound(s.web, "h1"), s.bound(s.app, "h2")
		fa, fb := s.fip(s.external, a.ID), s.fip(s.external, b.ID)

		e1, e2, c := s.edge("h1"), s.edge("h2"), s.centre("nn")
		require.Len(r, e1.FloatingIPs, 1)
		require.Equal(r, fa.Address, e1.FloatingIPs[0].Addr)
		require.True(r, e1.Gateway.FloatingIPsOnly)
		require.Equal(r, c.Gateway.SNATAddr(), e1.Gateway.Hairpin)
		require.Nil(r, e2.Gateway, "h2 does not reach the external network")
		require.Len(r, c.FloatingIPs, 1)
		require.Equal(r, fb.Address, c.FloatingIPs[0].Addr)
		require.Equal(r, a.FixedIPs[0].IPAddress, c.Transit.Elsewhere[0])
		require.Equal(r, b.FixedIPs[0].IPAddress, e2.Transit.Elsewhere[0])

		s.dvr("h2", agent.ModeDVR, "public")
		require.Equal(r, fb.Address, s.edge("h2").FloatingIPs[0].Addr, "it reaches the external network by now")
		require.Empty(r, s.centre("nn").FloatingIPs)
	})
}

// TestFloatingIPKeptAtTheCentre: it moves when that is changed, and only then anybody is told.
func TestFloatingIPKeptAtTheCentre(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		a := s.bound(s.web, "h1")
		f := one(s.CreateFloatingIPs(s.Context(), s.member, l3.FloatingIPSpec{NetworkID: &s.external.ID, PortID: &a.ID, Distributed: new(false)}))(r)
		require.False(r, f.Distributed)
		require.Nil(r, s.edge("h1").Gateway)
		require.Equal(r, []netip.Addr{f.FixedIP}, s.edge("h1").Transit.Elsewhere, "the edge sends what it has from there to the centre")
		require.Equal(r, f.Address, s.centre("nn").FloatingIPs[0].Addr)
		s.applied("nn", "")
		s.applied("h1", "")
		s.told()

		set := func(spec l3.FloatingIPSpec) l3.FloatingIP {
			return ok(s.UpdateFloatingIP(s.Context(), s.member, f.ID, spec, l3.If{}))(r)
		}
		moved := set(l3.FloatingIPSpec{Distributed: new(true)})
		require.True(r, moved.Distributed)
		require.Equal(r, a.ID, moved.PortID, "it stays bound")
		require.NotEqual(r, l3.StatusActive, moved.Status, "until both hosts have applied it")
		require.Equal(r, []string{"h1 edge", "nn centre"}, s.told())
		require.Equal(r, f.Address, s.edge("h1").FloatingIPs[0].Addr)
		require.Empty(r, s.centre("nn").FloatingIPs)

		require.Equal(r, moved.Revision, set(l3.FloatingIPSpec{Distributed: new(true)}).Revision)
		require.Empty(r, s.told())
		set(l3.FloatingIPSpec{PortID: new("")})
		s.told()
		require.False(r, set(l3.FloatingIPSpec{Distributed: new(false)}).Distributed)
		require.Empty(r, s.told(), "it is not bound")
		set(l3.FloatingIPSpec{PortID: &a.ID})
		require.Equal(r, f.Address, s.centre("nn").FloatingIPs[0].Addr)
	})
}

// announces says whether a host is told to announce what it has of a router anew.
func (s *spreadOut) announces(host, instance string) bool {
	s.Helper()
	for _, a := range ok(s.DesiredOn(s.Context(), host))(s.rig) {
		if a.Router.ID == instance {
			return a.Announce == a.Revision
		}
	}
	return false
}

// TestFloatingIPIsAnnouncedOnceTheOtherHostHasLetGo: a host that is late answers for a floating IP
// beside the one that has it by now, and neighbours may have heard it last.
func TestFloatingIPIsAnnouncedOnceTheOtherHostHasLetGo(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.dvr("h2", agent.ModeDVR, "public")
		s.dvr("h3", agent.ModeDVR, "public")
		centre := dataplane.CentreID(s.router.ID)
		for _, h := range []string{"h1", "h2", "h3"} {
			s.bound(s.web, h)
		}
		a := s.bound(s.web, "h1")
		f := s.fip(s.external, a.ID)
		all := func(but ...string) {
			for _, h := range []string{"h1", "h2", "h3", "nn"} {
				if !slices.Contains(but, h) {
					s.applied(h, "")
				}
			}
		}
		nobody := func() {
			r.Helper()
			for _, h := range []string{"h1", "h2", "h3"} {
				require.False(r, s.announces(h, s.router.ID), h)
			}
			require.False(r, s.announces("nn", centre))
		}
		all()
		nobody()

		s.move(a, "h2")
		all("h1")
		nobody()
		s.applied("h1", "no")
		nobody()
		s.applied("h1", "")
		require.True(r, s.announces("h2", s.router.ID))
		require.False(r, s.announces("h1", s.router.ID))
		require.False(r, s.announces("nn", centre))
		require.Equal(r, l3.StatusActive, ok(s.GetFloatingIP(s.Context(), s.admin, f.ID))(r).Status, "it passes packets as before")
		s.told()
		all()
		require.Empty(r, s.told(), "once")

		// It moves on before the first host has let go.
		s.move(a, "h1")
		s.move(a, "h3")
		all("h2")
		s.told()
		s.applied("h2", "")
		require.Equal(r, []string{"h3 edge"}, s.told())
		require.True(r, s.announces("h3", s.router.ID))

		// To the centre, and back.
		set := func(spec l3.FloatingIPSpec) {
			r.Helper()
			ok(s.UpdateFloatingIP(s.Context(), s.member, f.ID, spec, l3.If{}))(r)
		}
		set(l3.FloatingIPSpec{Distributed: new(false)})
		all("h3")
		require.False(r, s.announces("nn", centre))
		s.applied("h3", "")
		require.True(r, s.announces("nn", centre))
		set(l3.FloatingIPSpec{Distributed: new(true)})
		all("nn")
		require.False(r, s.announces("h3", s.router.ID))
		s.applied("nn", "")
		require.True(r, s.announces("h3", s.router.ID))

		// Another workload gets the address after it was given back.
		b := s.bound(s.web, "h2")
		require.NoError(r, s.DeleteFloatingIP(s.Context(), s.member, f.ID, l3.If{}))
		again := one(s.CreateFloatingIPs(s.Context(), s.admin, l3.FloatingIPSpec{ProjectID: &s.member.Project, NetworkID: &s.external.ID, PortID: &b.ID, Address: &f.Address}))(r)
		require.Equal(r, f.Address, again.Address)
		all("h3")
		require.False(r, s.announces("h2", s.router.ID))
		s.applied("h3", "")
		require.True(r, s.announces("h2", s.router.ID))
	})
}

// TestFloatingIPIsAnnouncedOnceAnEdgeIsGone: the workload that had it was the last one on its host.
func TestFloatingIPIsAnnouncedOnceAnEdgeIsGone(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.dvr("h2", agent.ModeDVR, "public")
		a := s.bound(s.web, "h1")
		s.fip(s.external, a.ID)
		s.applied("h1", "")
		s.move(a, "h2")
		s.applied("h2", "")
		s.applied("nn", "")
		left := ok(s.PlacementOf(s.Context(), "h1", s.router.ID))(r)
		require.False(r, s.announces("h2", s.router.ID))
		require.NoError(r, s.Report(s.Context(), agent.Report{Host: "h1", RouterID: s.router.ID, Epoch: left.Epoch, Revision: left.Revision, Gone: true}))
		require.True(r, s.announces("h2", s.router.ID))
	})
}

// TestFloatingIPOfAnotherRouterIsAnnounced: both are on hosts of their own.
func TestFloatingIPOfAnotherRouterIsAnnounced(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1", "public")
		ext, in := r.external("public", "203.0.113.0/24"), []l3.Subnet{r.inside("10.0.0.0/24"), r.inside("10.0.1.0/24")}
		routers := []l3.Router{r.routerTo(ext), r.routerTo(ext)}
		ports := make([]l3.Port, 2)
		for i := range routers {
			r.attach(routers[i], in[i])
			ports[i] = r.port(r.member, in[i])
		}
		f := r.fip(ext, ports[0].ID)
		r.report(routers[0].ID)
		ok(r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{PortID: &ports[1].ID}, l3.If{}))(r)
		r.report(routers[1].ID)
		require.Zero(r, ok(r.DesiredOf(r.Context(), routers[1].ID))(r).Announce)
		r.report(routers[0].ID)
		now := ok(r.DesiredOf(r.Context(), routers[1].ID))(r)
		require.Equal(r, now.Revision, now.Announce)
	})
}

func TestStatusAcrossHosts(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		a := s.bound(s.web, "h1")
		f := s.fip(s.external, a.ID)
		fip := func() l3.Status { return ok(s.GetFloatingIP(s.Context(), s.admin, f.ID))(r).Status }
		require.Equal(r, l3.StatusBuild, s.see(s.router.ID).Status)
		s.applied("nn", "")
		require.Equal(r, l3.StatusBuild, s.see(s.router.ID).Status, "h1 has not applied it")
		require.Equal(r, l3.StatusDown, fip())
		s.applied("h1", "")
		require.Equal(r, l3.StatusActive, s.see(s.router.ID).Status)
		require.Equal(r, l3.StatusActive, fip())
		for _, p := range s.routerPorts(s.router.ID) {
			require.Equal(r, l3.StatusActive, p.Status)
			if p.IsRouterInterface() {
				require.Equal(r, l3.OwnerDistributedInterface, p.DeviceOwner)
				require.Equal(r, "distributed", p.Binding.VIFType)
			} else {
				require.Equal(r, "nn", p.Binding.HostID)
			}
		}
		s.bound(s.app, "h2")
		require.Equal(r, l3.StatusBuild, s.see(s.router.ID).Status)
		s.applied("nn", "")
		s.applied("h1", "")
		s.applied("h2", "no such device")
		seen := s.see(s.router.ID)
		require.Equal(r, l3.StatusError, seen.Status)
		require.Equal(r, "host h2: no such device", seen.StatusReason)
		s.applied("h2", "")
		require.Equal(r, l3.StatusActive, s.see(s.router.ID).Status)
	})
}

// TestStatusNamesAHostThatIsNotHeard: a router in BUILD waits for it.
func TestStatusNamesAHostThatIsNotHeard(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		s.applied("nn", "")
		s.applied("h1", "")
		s.clock.sleep(time.Minute)
		s.dvr("nn", agent.ModeDVRSNAT, "public")
		s.clock.sleep(time.Minute)
		require.Equal(r, l3.StatusActive, s.see(s.router.ID).Status)
		s.bound(s.app, "h2")
		s.dvr("nn", agent.ModeDVRSNAT, "public")
		s.dvr("h2", agent.ModeDVRNoExternal)
		s.applied("nn", "")
		s.applied("h2", "")
		const reason = "An agent that has a part of the router has not applied its last change, and is not heard"
		seen := ok(s.GetRouter(s.Context(), s.member, s.router.ID))(r)
		require.Equal(r, []string{string(l3.StatusBuild), reason}, []string{string(seen.Status), seen.StatusReason}, "hosts are not a member's concern")
		seen = ok(s.GetRouter(s.Context(), s.admin, s.router.ID))(r)
		require.Equal(r, reason+": host h1, last heard at 2030-01-02T03:04:05Z", seen.StatusReason)
		s.dvr("h1", agent.ModeDVR, "public")
		seen = ok(s.GetRouter(s.Context(), s.admin, s.router.ID))(r)
		require.Equal(r, []string{string(l3.StatusBuild), ""}, []string{string(seen.Status), seen.StatusReason}, "it has come back, and will apply it")
	})
}

// When the centre's host dies, the centre moves, and nobody else hears of it.
func TestCentreMovesAlone(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		before := s.edge("h1")
		centre := s.centre("nn")
		s.told()
		r.clock.sleep(time.Minute)
		s.dvr("h1", agent.ModeDVR, "public")
		s.dvr("h2", agent.ModeDVRNoExternal)
		s.dvr("nn2", agent.ModeDVRSNAT, "public")
		r.clock.sleep(30 * time.Second)
		moved, err := s.Reschedule(s.Context(), 10)
		require.NoError(r, err)
		require.Equal(r, 1, moved)
		require.Equal(r, "h1 nn2", s.hosts())
		require.Equal(r, []string{"nn centre gone", "nn2 centre"}, s.told())
		require.Equal(r, centre, s.centre("nn2"))
		require.Equal(r, before, s.edge("h1"))

		r.clock.sleep(30 * time.Second)
		s.dvr("nn2", agent.ModeDVRSNAT, "public")
		r.clock.sleep(50 * time.Second)
		s.dvr("nn2", agent.ModeDVRSNAT, "public")
		_, err = s.Reschedule(s.Context(), 10)
		require.NoError(r, err)
		require.Equal(r, "h1 nn2", s.hosts(), "the edge on h1, which is not heard, stays: its workloads are there")
	})
}

// TestCentreLeavesAnAgentThatMayNotHaveIt: an agent that starts anew in another mode may host less.
func TestCentreLeavesAnAgentThatMayNotHaveIt(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		central := r.routerTo(s.external)
		require.Equal(r, "nn", r.hostOf(central.ID))
		for _, mode := range []string{agent.ModeDVR, agent.ModeLegacy} {
			s.dvr("nn", mode, "public")
			require.Equal(r, "h1 nn", s.hosts(), "no other can have it")
			s.dvr("nn", agent.ModeDVRSNAT, "public")
		}
		s.dvr("nn2", agent.ModeDVRSNAT, "public")
		require.Equal(r, "h1 nn", s.hosts())
		s.dvr("nn", agent.ModeLegacy, "public")
		require.Equal(r, "h1 nn2", s.hosts())
		require.Equal(r, "nn", r.hostOf(central.ID), "it may have a central router")
		s.dvr("nn", agent.ModeDVR, "public")
		require.Equal(r, "nn2", r.hostOf(central.ID))

		s.dvr("nn2", agent.ModeDVR, "public") // and no other can have them
		s.dvr("nn", agent.ModeDVRSNAT, "public")
		require.Equal(r, "h1 nn2", s.hosts())
		s.bound(s.web, "h1")
		require.Equal(r, "h1 nn", s.hosts(), "with the next change")
	})
}

func TestConversion(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		change := func(spec l3.RouterSpec) error {
			_, err := s.UpdateRouter(s.Context(), s.admin, s.router.ID, spec, l3.If{})
			return err
		}
		refused(r.T, change(l3.RouterSpec{Distributed: new(false)}), l3.ErrInvalid, "BadRequest")
		_, err := s.UpdateRouter(s.Context(), s.member, s.router.ID, l3.RouterSpec{Distributed: new(false)}, l3.If{})
		require.ErrorIs(r, err, l3.ErrForbidden)

		require.NoError(r, change(l3.RouterSpec{AdminStateUp: new(false)}))
		s.told()
		require.NoError(r, change(l3.RouterSpec{Distributed: new(false)}))
		require.NoError(r, change(l3.RouterSpec{AdminStateUp: new(true)}))
		require.Equal(r, "nn", s.hosts())
		central, is := s.on("nn", s.router.ID)
		require.True(r, is)
		require.Nil(r, central.Transit)
		require.Nil(r, central.Ports[0].Anycast)
		for _, p := range s.routerPorts(s.router.ID) {
			require.NotEqual(r, l3.OwnerDistributedInterface, p.DeviceOwner)
		}
		s.bound(s.web, "h2")
		require.Equal(r, "nn", s.hosts(), "a central router does not follow workloads")

		require.NoError(r, change(l3.RouterSpec{AdminStateUp: new(false)}))
		require.NoError(r, change(l3.RouterSpec{Distributed: new(true)}))
		require.NoError(r, change(l3.RouterSpec{AdminStateUp: new(true)}))
		require.Equal(r, "h1 h2 nn", s.hosts())
		s.centre("nn")
		_, is = s.on("nn", s.router.ID)
		require.False(r, is, "the central router is gone")
	})
}

func TestAgentsOfEdges(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		s.bound(s.web, "h3")
		require.Equal(r, "h1 nn", s.hosts(), "h3 has no agent")
		s.dvr("h3", agent.ModeDVR, "public")
		require.Equal(r, "h1 h3 nn", s.hosts(), "its agent has come up")

		agents := ok(s.ListAgents(s.Context(), s.admin, l3.Query{}))(r)
		id := func(host string) string {
			return agents[slices.IndexFunc(agents, func(a l3.Agent) bool { return a.Host == host })].ID
		}
		require.Len(r, ok(s.RoutersOnAgent(s.Context(), s.admin, id("h1")))(r), 1)
		require.NoError(r, s.DeleteAgent(s.Context(), s.admin, id("h1")))
		require.Equal(r, "h3 nn", s.hosts())
		require.NotContains(r, routed(s.edge("h3")), s.web.CIDR.Addr().String())

		disabled, err := s.UpdateAgent(s.Context(), s.admin, id("h3"), l3.AgentSpec{AdminStateUp: new(false)})
		require.NoError(r, err)
		require.False(r, disabled.AdminStateUp)
		require.Equal(r, "h3 nn", s.hosts(), "an edge stays with its workloads")

		refused(r.T, s.RemoveRouterFromAgent(s.Context(), s.admin, id("h3"), s.router.ID), l3.ErrConflict, "DVRL3CannotRemoveFromDvrAgent")
		require.NoError(r, s.RemoveRouterFromAgent(s.Context(), s.admin, id("nn"), s.router.ID))
		require.Equal(r, "h3", s.hosts())
		require.NoError(r, s.AddRouterToAgent(s.Context(), s.admin, id("nn"), s.router.ID))
		require.Equal(r, "h3 nn", s.hosts())
	})
}

// Inventories correct what is known of edges and of the centre, each on its host.
func TestInventoryOfInstances(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "nn")
		s.bound(s.web, "h1")
		d := ok(s.Deployment(s.Context()))(r)
		require.Equal(r, "h1 nn", s.hosts())
		running := func(host string, seq uint64) agent.Heartbeat {
			mode := map[string]string{"nn": agent.ModeDVRSNAT, "h1": agent.ModeDVR, "h2": agent.ModeDVRNoExternal}[host]
			h := agent.Heartbeat{Host: host, Instance: "i-" + host, Deployment: d.ID, Capabilities: agent.Capabilities{Mode: mode, PhysicalNetworks: []string{"public"}},
				Inventory: &agent.Inventory{Seq: seq}}
			for _, a := range ok(s.DesiredOn(s.Context(), host))(s.rig) {
				h.Inventory.Routers = append(h.Inventory.Routers, agent.RunningRouter{ID: a.Router.ID, Deployment: d.ID, Epoch: a.Epoch, Revision: a.Revision})
			}
			return h
		}
		nn, h1 := running("nn", 1), running("h1", 1)
		require.Len(r, nn.Inventory.Routers, 2, "an edge and the centre")
		s.beat(nn)
		s.beat(h1)
		require.Equal(r, l3.StatusActive, s.see(s.router.ID).Status, "what runs as wanted is ACTIVE, also when reports were lost")
		s.told()

		stray := running("h2", 1)
		stray.Inventory.Routers = h1.Inventory.Routers
		s.beat(stray)
		require.Equal(r, []string{"h2 edge gone"}, s.told(), "an edge where there are no workloads leaves")

		h1.Inventory.Seq, h1.Inventory.Routers = 2, nil
		s.beat(h1)
		require.Equal(r, l3.StatusBuild, s.see(s.router.ID).Status)
		require.Equal(r, []string{"h1 edge"}, s.told())

		later := running("h1", 3)
		later.Inventory.Routers[0].Epoch += 100
		s.beat(later)
		require.Greater(r, ok(s.DesiredOn(s.Context(), "h1"))(r)[0].Epoch, later.Inventory.Routers[0].Epoch, "the database was restored")
		require.Equal(r, "h1 nn", s.hosts())
	})
}

// TestEdgeOfAHostThatIsRenamed: it stays while the workloads' ports are bound to the former name,
// and when they are bound to the new one; also when the host takes its former name back.
func TestEdgeOfAHostThatIsRenamed(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		d := ok(s.Deployment(s.Context()))(r)
		beat := func(host, process string, running ...agent.RunningRouter) {
			r.Helper()
			s.clock.sleep(time.Second)
			session := agent.Session{Host: host, Instance: process, Machine: "the machine"}
			require.NoError(r, s.Attach(s.Context(), session))
			h := agent.Heartbeat{
				Host: host, Instance: process, Machine: session.Machine, Deployment: d.ID, StartedAt: s.clock.Now(),
				Capabilities: agent.Capabilities{Mode: agent.ModeDVR}, Inventory: &agent.Inventory{Seq: 1, Routers: running},
			}
			for _, x := range running {
				h.Inventory.MaxEpoch = max(h.Inventory.MaxEpoch, x.Epoch)
			}
			s.beat(h)
		}
		runs := func(host string) agent.RunningRouter {
			r.Helper()
			all := ok(s.DesiredOn(s.Context(), host))(r)
			require.Len(r, all, 1)
			return run(all[0])
		}
		beat("a", "first")
		p := s.bound(s.web, "a")
		here := runs("a")
		beat("a", "first", here)
		for i, names := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "b"}} {
			from, to, process := names[0], names[1], strings.Repeat("x", i+1)
			s.told()
			for range 2 {
				beat(to, process, here)
				require.Equal(r, "nothing", r.placement(to, s.router.ID), "it is not told to leave")
			}
			require.Equal(r, "here", r.placement(from, s.router.ID))
			require.Empty(r, s.told())
			s.move(p, to)
			require.Equal(r, "nothing", r.placement(from, s.router.ID), "the machine is not to remove it when it takes that name again")
			here = runs(to)
			beat(to, process, here)
		}
		s.move(p, "h1")
		require.Equal(r, "left", r.placement("b", s.router.ID))
		beat("a", "second")
		s.move(p, "a")
		here = runs("a")
		beat("b", "third", here)
		require.Equal(r, "nothing", r.placement("b", s.router.ID), "it had left under that name, and has come under another")

		another := here
		another.Epoch--
		s.beat(agent.Heartbeat{
			Host: "c", Instance: "c", Machine: "another", Deployment: d.ID, Capabilities: agent.Capabilities{Mode: agent.ModeDVR},
			Inventory: &agent.Inventory{Seq: 1, Routers: []agent.RunningRouter{another}},
		})
		require.Equal(r, "left", r.placement("c", s.router.ID), "it is nobody else's")
	})
}

func TestDeleteDistributedRouter(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		s.told()
		for _, subnet := range []l3.Subnet{s.web, s.app} {
			ok(s.RemoveRouterInterface(s.Context(), s.member, s.router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}))(r)
		}
		require.Equal(r, "nn", s.hosts())
		require.NoError(r, s.DeleteRouter(s.Context(), s.member, s.router.ID, l3.If{}))
		told := s.told()
		require.Contains(r, told, "h1 edge gone")
		require.Contains(r, told, "nn centre gone")
		require.NoError(r, r.store.View(r.Context(), func(tx l3.Tx) error {
			states, err := tx.RouterStates().List(r.Context(), l3.Query{})
			require.Empty(r, states)
			used, err2 := tx.Segments().All(r.Context())
			require.Len(r, used, 3, "the transit's segment is free again: %v", used)
			require.NoError(r, err2)
			return err
		}))
	})
}

// The transit is a tunnel where there are any, a VLAN where there are none, and there is no
// distributed router where nothing joins the hosts.
func TestTransitJoinsHosts(t *testing.T) {
	local := service.SegmentRange{Type: dataplane.NetworkLocal}
	vlan := service.SegmentRange{Type: dataplane.NetworkVLAN, Physical: "public", First: 100, Last: 200}
	geneve := service.SegmentRange{Type: dataplane.NetworkGeneve, First: 7, Last: 9}
	for name, c := range map[string]struct {
		ranges []service.SegmentRange
		want   dataplane.NetworkType
	}{
		"tunnels":       {[]service.SegmentRange{local, vlan, geneve}, dataplane.NetworkGeneve},
		"no tunnels":    {[]service.SegmentRange{local, vlan}, dataplane.NetworkVLAN},
		"nothing joins": {[]service.SegmentRange{local}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			onStoresWith(t, service.Config{SegmentRanges: c.ranges}, func(t *testing.T, cl *cloud) {
				_, err := cl.Heartbeat(t.Context(), agent.Heartbeat{Host: "nn", Capabilities: agent.Capabilities{Mode: agent.ModeDVRSNAT}})
				require.NoError(t, err)
				who := l3.Caller{Project: "p", Admin: true}
				sub := cl.subnet(cl.network(who, l3.NetworkSpec{}), "10.0.0.0/24")
				routers, err := cl.CreateRouters(t.Context(), who, l3.RouterSpec{Distributed: new(true)})
				require.NoError(t, err)
				_, err = cl.AddRouterInterface(t.Context(), who, routers[0].ID, l3.InterfaceSpec{SubnetID: sub.ID})
				if c.want == "" {
					refused(t, err, l3.ErrExhausted, "NoNetworkAvailable")
					return
				}
				require.NoError(t, err)
				on, err := cl.DesiredOn(t.Context(), "nn")
				require.NoError(t, err)
				require.Equal(t, c.want, on[0].Router.Transit.Network.Type)
			})
		})
	}
}

// TestNumbersOfInstancesThatHaveLeft: the host that an edge has left may not have heard of it, and
// answers for the edge's address on the transit, which nobody else has meanwhile.
func TestNumbersOfInstancesThatHaveLeft(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		r.dvr("h3", agent.ModeDVR)
		p, seen := s.bound(s.web, "h1"), map[netip.Addr]bool{}
		for _, host := range []string{"h2", "h3", "h1", "", "h2"} {
			s.move(p, host)
			if host == "" {
				continue
			}
			a := s.edge(host).Transit.Addrs[0].Addr()
			require.False(r, seen[a], "%s was on another host a moment ago", a)
			seen[a] = true
			require.NotEqual(r, s.centre("nn").Transit.Addrs[0].Addr(), a)
		}
	})
}

// TestTransitOverlapsNothing: subnets of a distributed router that overlap its transit are refused,
// and one that is added to its external network is left out of it.
func TestTransitOverlapsNothing(t *testing.T) {
	const cidr = "169.254.64.0/24"
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		local := s.inside(cidr)
		_, err := s.AddRouterInterface(s.Context(), s.admin, s.router.ID, l3.InterfaceSpec{SubnetID: local.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, err, "the network between the hosts of a distributed router: 169.254.64.0/18 overlaps 169.254.64.0/24 of port")

		outside := r.external("", cidr)
		_, err = s.UpdateRouter(s.Context(), s.admin, s.router.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: outside.ID}}, l3.If{})
		r.refused(err, l3.ErrInvalid, "BadRequest")

		central := one(s.CreateRouters(s.Context(), s.member, l3.RouterSpec{AdminStateUp: new(false)}))(r)
		ok(s.AddRouterInterface(s.Context(), s.member, central.ID, l3.InterfaceSpec{SubnetID: local.ID}))(r)
		_, err = s.UpdateRouter(s.Context(), s.admin, central.ID, l3.RouterSpec{Distributed: new(true)}, l3.If{})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		require.False(r, s.see(central.ID).Distributed)

		r.subnet(r.admin, s.external, "169.254.100.0/24")
		require.Equal(r, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, s.centre("nn").Gateway.OnLink)
		s.edge("h1")
	})
}

// TestOverlappingSubnetOfANetwork: a subnet that the router is not on, of a network that it is on,
// may have the addresses of another one that it is on.
func TestOverlappingSubnetOfANetwork(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		n := r.network(r.member)
		twin, v6 := r.subnet(r.member, n, "10.0.0.0/24"), r.subnet(r.member, n, "2001:db8::/64")
		r.attach(s.router, v6)
		a := s.bound(s.web, "h1")
		b := one(s.CreatePorts(s.Context(), s.admin, l3.PortSpec{
			ProjectID: &s.member.Project, NetworkID: &n.ID, HostID: new("h2"),
			FixedIPs: &[]l3.FixedIPSpec{{SubnetID: twin.ID, IPAddress: a.FixedIPs[0].IPAddress}, {SubnetID: v6.ID}},
		}))(r)
		same := a.FixedIPs[0].IPAddress.String()
		require.Equal(r, []string{same}, neighboursOn(s.edge("h1")))
		require.Equal(r, []string{b.FixedIPs[1].IPAddress.String()}, neighboursOn(s.edge("h2")))
		require.Equal(r, s.edge("h1").Transit.Addrs[0].Addr().String(), routed(s.edge("h2"))[same+"/32"])

		s.move(b, "h1")
		require.ElementsMatch(r, []string{same, b.FixedIPs[1].IPAddress.String()}, neighboursOn(s.edge("h1")))
	})
}
