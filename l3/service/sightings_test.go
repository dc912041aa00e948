package service_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

// leg is the router's port on a subnet.
func (s *spreadOut) leg(on l3.Subnet) string {
	s.Helper()
	ports := s.routerPorts(s.router.ID)
	i := slices.IndexFunc(ports, func(p l3.Port) bool { return p.NetworkID == on.NetworkID })
	require.GreaterOrEqual(s, i, 0)
	return ports[i].ID
}

// sight has a host see addresses that were in use so long ago.
func (s *spreadOut) sight(host string, on l3.Subnet, age time.Duration, addrs ...string) {
	s.Helper()
	m := agent.Sightings{Host: host, At: s.clock.Now()}
	for _, a := range addrs {
		m.Addrs = append(m.Addrs, agent.Sighting{RouterID: s.router.ID, PortID: s.leg(on), Addr: netip.MustParseAddr(a), Age: age})
	}
	require.NoError(s, s.Sight(s.Context(), m))
}

// sighted lists what is recorded, as "address host".
func (s *spreadOut) sighted() string {
	s.Helper()
	var all []string
	require.NoError(s, s.store.View(s.Context(), func(tx l3.Tx) error {
		list, err := tx.Sightings().List(s.Context(), l3.Query{})
		for _, x := range list {
			all = append(all, x.Addr.String()+" "+x.Host)
		}
		return err
	}))
	slices.Sort(all)
	return strings.Join(all, ", ")
}

const virtual = "10.0.0.200"

// TestSightingsAreRouted: where an address was seen last, everybody sends what is for it.
func TestSightingsAreRouted(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		s.bound(s.web, "h2")
		s.told()
		s.sight("h1", s.web, 0, virtual)
		require.Equal(r, []string{"h1 edge", "h2 edge", "nn centre"}, s.told())
		e1, e2 := s.edge("h1"), s.edge("h2")
		require.Contains(r, neighboursOn(e1), virtual)
		on := func(e string) string { return s.edge(e).Transit.Addrs[0].Addr().String() }
		require.Equal(r, on("h1"), routed(e2)[virtual+"/32"])
		require.Equal(r, on("h1"), routed(s.centre("nn"))[virtual+"/32"])

		s.clock.sleep(time.Second)
		s.sight("h1", s.web, 0, virtual)
		require.Empty(r, s.told(), "it is still there")
		s.clock.sleep(time.Second)
		s.sight("h2", s.web, 0, virtual)
		require.Equal(r, []string{"h1 edge", "h2 edge", "nn centre"}, s.told())
		require.NotContains(r, neighboursOn(s.edge("h1")), virtual)
		require.Equal(r, on("h2"), routed(s.edge("h1"))[virtual+"/32"])

		s.clock.sleep(10 * time.Second)
		s.sight("h1", s.web, 11*time.Second, virtual)
		require.Empty(r, s.told(), "it was seen on h2 after that")
		s.sight("h1", s.web, 9*time.Second, virtual)
		require.Equal(r, virtual+" h1", s.sighted(), "and there before this")
		require.NotEmpty(r, s.told())

		s.sight("h2", s.web, 0, "10.0.1.200", "192.0.2.1", "10.0.0.1")
		s.sight("h2", s.web, 0, "10.0.0.0", "10.0.0.255") // which no host can have
		s.sight("h2", s.app, 0, "10.0.1.200")             // which has no workload there
		s.sight("h4", s.web, 0, "10.0.0.201")
		require.NoError(r, s.Sight(r.Context(), agent.Sightings{Host: "h1", Addrs: []agent.Sighting{
			{RouterID: "nonsense", PortID: s.leg(s.web), Addr: netip.MustParseAddr("10.0.0.202")}, {RouterID: s.router.ID, PortID: "nonsense"}, {},
		}}))
		require.Equal(r, virtual+" h1", s.sighted(), "nothing of that counts")
		require.Empty(r, s.told())
	})
}

// TestSightingsAfterTheClockWasSetBack: what is recorded seems to be of the future, and counts for
// nothing more than what is seen now.
func TestSightingsAfterTheClockWasSetBack(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		s.bound(s.web, "h2")
		s.clock.sleep(time.Hour)
		s.sight("h1", s.web, 0, virtual)
		s.clock.sleep(-time.Second)
		s.sight("h2", s.web, 0, virtual)
		require.Equal(r, virtual+" h1", s.sighted(), "clocks of servers may differ so much")
		s.clock.sleep(-time.Hour)
		s.sight("h2", s.web, 0, virtual)
		require.Equal(r, virtual+" h2", s.sighted())
		require.Contains(r, neighboursOn(s.edge("h2")), virtual)
	})
}

// TestSightingsOfBoundPorts: it is known where they are. A port without a host may be anywhere.
func TestSightingsOfBoundPorts(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		a, nowhere := s.bound(s.web, "h1"), s.bound(s.web, "")
		s.bound(s.web, "h2")
		address := func(p l3.Port) string { return p.FixedIPs[0].IPAddress.String() }
		s.told()
		s.sight("h2", s.web, 0, address(a))
		require.Empty(r, s.sighted())
		s.sight("h2", s.web, 0, address(nowhere))
		require.Equal(r, address(nowhere)+" h2", s.sighted())
		require.Contains(r, neighboursOn(s.edge("h2")), address(nowhere))
		s.told()

		s.move(nowhere, "h4") // without an agent that could have an edge
		require.Empty(r, s.sighted())
		require.NotContains(r, neighboursOn(s.edge("h2")), address(nowhere))
		require.Equal(r, []string{"h1 edge", "h2 edge", "nn centre"}, s.told())

		s.move(nowhere, "")
		s.clock.sleep(time.Second)
		s.sight("h2", s.web, 0, address(nowhere))
		require.NoError(r, s.DeletePort(r.Context(), r.admin, nowhere.ID, l3.If{}))
		require.Equal(r, address(nowhere)+" h2", s.sighted(), "somebody uses it still")
	})
}

// TestFloatingIPFollowsSightings: that of a virtual address is on the host where the address was
// seen last, if that host reaches the external network.
func TestFloatingIPFollowsSightings(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		r.dvr("h3", agent.ModeDVR, "public")
		for _, host := range []string{"h1", "h2", "h3"} {
			s.bound(s.web, host)
		}
		vip := s.bound(s.web, "")
		f := s.fip(s.external, vip.ID)
		has := func() (hosts []string) {
			for _, host := range []string{"h1", "h2", "h3"} {
				if len(s.edge(host).FloatingIPs) > 0 {
					require.Equal(r, f.Address, s.edge(host).FloatingIPs[0].Addr)
					hosts = append(hosts, host)
				}
			}
			if len(s.centre("nn").FloatingIPs) > 0 {
				hosts = append(hosts, "nn")
			}
			return hosts
		}
		require.Equal(r, []string{"nn"}, has(), "nobody knows where it is")
		for _, step := range []struct{ seen, has string }{{"h1", "h1"}, {"h3", "h3"}, {"h2", "nn"}, {"h1", "h1"}} {
			r.clock.sleep(time.Second)
			s.sight(step.seen, s.web, 0, vip.FixedIPs[0].IPAddress.String())
			require.Equal(r, []string{step.has}, has(), "seen on %s", step.seen)
		}
	})
}

// TestSightingsEnd: they go with what they were of.
func TestSightingsEnd(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		b := s.bound(s.web, "h2")
		s.bound(s.app, "h2")
		seen := func() {
			r.Helper()
			r.clock.sleep(time.Second)
			s.sight("h2", s.web, 0, virtual)
			require.Equal(r, virtual+" h2", s.sighted())
		}
		up := func(is bool) {
			ok(s.UpdateRouter(r.Context(), r.admin, s.router.ID, l3.RouterSpec{AdminStateUp: &is}, l3.If{}))(r)
		}
		for name, end := range map[string]struct{ gone, back func() }{
			"the network's last workload leaves": {func() { s.move(b, "h1") }, func() { s.move(b, "h2") }},
			"the router is down":                 {func() { up(false) }, func() { up(true) }},
			"the agent can have no edges any more": {
				func() { r.dvr("h2", agent.ModeLegacy) }, func() { r.dvr("h2", agent.ModeDVRNoExternal) },
			},
			"the agent is deleted": {func() {
				for _, a := range ok(s.ListAgents(r.Context(), r.admin, l3.Query{}))(r) {
					if a.Host == "h2" {
						require.NoError(r, s.DeleteAgent(r.Context(), r.admin, a.ID))
					}
				}
			}, func() { r.dvr("h2", agent.ModeDVRNoExternal) }},
			"the router leaves the subnet": {func() {
				ok(s.RemoveRouterInterface(r.Context(), r.admin, s.router.ID, l3.InterfaceSpec{SubnetID: s.web.ID}))(r)
			}, func() { r.attach(s.router, s.web) }},
			"another router has the address": {func() {
				p := one(s.CreatePorts(r.Context(), r.admin, l3.PortSpec{
					ProjectID: &r.member.Project, NetworkID: &s.web.NetworkID,
					FixedIPs: &[]l3.FixedIPSpec{{SubnetID: s.web.ID, IPAddress: netip.MustParseAddr(virtual)}},
				}))(r)
				other := one(s.CreateRouters(r.Context(), r.admin, l3.RouterSpec{ProjectID: &r.member.Project}))(r)
				ok(s.AddRouterInterface(r.Context(), r.admin, other.ID, l3.InterfaceSpec{PortID: p.ID}))(r)
				require.Empty(r, s.sighted())
				require.NotContains(r, neighboursOn(s.edge("h2")), virtual)
				require.Contains(r, s.told(), "h2 edge")
				ok(s.RemoveRouterInterface(r.Context(), r.admin, other.ID, l3.InterfaceSpec{PortID: p.ID}))(r)
			}, func() {}},
		} {
			seen()
			s.told()
			end.gone()
			require.Empty(r, s.sighted(), name)
			require.NoError(r, l3test.Audit(r.Context(), r.store), name)
			end.back()
			require.Empty(r, s.sighted(), name)
		}
		seen()
		up(false)
		ok(s.UpdateRouter(r.Context(), r.admin, s.router.ID, l3.RouterSpec{Distributed: new(false)}, l3.If{}))(r)
		require.Empty(r, s.sighted())
	})
}

// TestSightingsAreLimited: a workload that invents addresses does not fill the database, and the
// log has one line of it.
func TestSightingsAreLimited(t *testing.T) {
	t.Parallel()
	l3test.Stores(t, func(t *testing.T, store l3.Store) {
		r := newRig(t, store)
		var log bytes.Buffer
		svc, err := service.New(service.Config{Store: store, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		r.Service = svc
		s := newSpreadOut(r)
		s.bound(s.web, "h1")
		s.bound(s.app, "h1")
		s.bound(s.web, "h2")
		var invented []string
		for i := range 150 {
			invented = append(invented, netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)}).String())
		}
		s.sight("h1", s.web, 0, invented[:70]...)
		s.sight("h1", s.web, 0, invented[70:]...)
		s.sight("h1", s.web, 0, invented[120:]...)
		require.Len(t, strings.Split(s.sighted(), ", "), 100)
		require.Equal(t, 1, strings.Count(log.String(), "too many addresses"), log.String())
		s.sight("h2", s.web, 0, invented[140])
		s.sight("h1", s.app, 0, "10.0.1.200")
		require.Len(t, strings.Split(s.sighted(), ", "), 102, "another host, and another network")
	})
}
