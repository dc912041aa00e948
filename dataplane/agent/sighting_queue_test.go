package agent_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// sightingSite is a site whose host has an edge, with the port "web" on 10.0.0.0/16.
func sightingSite(t *testing.T) *site {
	s := newSite(t)
	s.config.Dataplane = dataplane.NewFake(s.host)
	s.plane.put(sightingEdge())
	s.start()
	after(time.Second)
	return s
}

func sightingEdge() agent.Assignment {
	return agent.Assignment{Host: "host1", Epoch: 1, Revision: 1, Router: dataplane.Router{
		ID: "r",
		Ports: []dataplane.Port{{
			ID: "web", Network: dataplane.Network{ID: "n"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/16")}, Anycast: &dataplane.Anycast{},
		}},
		Transit: &dataplane.Transit{
			Port: dataplane.Port{
				ID: "tr", Network: dataplane.Network{ID: "nt"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 9}, MTU: 1500,
				Addrs: []netip.Prefix{netip.MustParsePrefix("169.254.64.1/18")},
			},
			Centre: []netip.Addr{netip.MustParseAddr("169.254.64.9")},
		},
	}}
}

// address is the nth of 10.0.1.0 and following.
func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(1 + n/256), byte(n)}) }

func (c *controlPlane) sighted() (all []agent.Sightings) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(all, c.sightings...)
}

func TestSightingsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sightingSite(t)
		defer s.end()
		require.True(t, s.host.Show("r", "web", address(7)))
		synctest.Wait()
		require.Equal(t, []agent.Sightings{{Addrs: []agent.Sighting{{RouterID: "r", PortID: "web", Addr: address(7)}}}}, s.plane.sighted())
	})
}

// TestSightingsWait: while the control plane is away the newest sighting of each address is kept,
// and says how old it is.
func TestSightingsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sightingSite(t)
		defer s.end()
		s.plane.cut()
		for range 50 {
			s.host.Show("r", "web", address(7))
			after(time.Second)
		}
		s.host.Show("r", "web", address(8))
		after(10 * time.Second)
		s.plane.mend()
		after(2 * time.Minute)
		got := map[netip.Addr]time.Duration{}
		for _, m := range s.plane.sighted() {
			for _, seen := range m.Addrs {
				require.NotContains(t, got, seen.Addr, "the newest only")
				got[seen.Addr] = seen.Age
			}
		}
		require.Len(t, got, 2)
		require.GreaterOrEqual(t, got[address(8)], 10*time.Second)
		require.Equal(t, got[address(8)]+time.Second, got[address(7)])
	})
}

// TestSightingsAreBounded: a workload that invents addresses causes few messages, and what waits
// does not grow.
func TestSightingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sightingSite(t)
		defer s.end()
		for i := range 5000 {
			s.host.Show("r", "web", address(i))
			after(time.Millisecond)
		}
		require.Less(t, len(s.plane.sighted()), 53, "10 messages a second")
		s.plane.cut()
		after(5 * time.Second)
		before := len(s.plane.sighted())
		for i := range 5000 {
			s.host.Show("r", "web", address(i))
		}
		s.plane.mend()
		after(2 * time.Minute)
		got := map[netip.Addr]bool{}
		for _, m := range s.plane.sighted()[before:] {
			require.LessOrEqual(t, len(m.Addrs), 100)
			for _, seen := range m.Addrs {
				got[seen.Addr] = true
			}
		}
		require.LessOrEqual(t, len(got), 1100)
		require.True(t, got[address(4999)], "the newest stay")
	})
}
