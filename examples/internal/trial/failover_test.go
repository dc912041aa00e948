package trial_test

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

const downTime = 3 * time.Second // as short as it can be

// quick has agents that are taken for dead soon.
func quick(hosts int) deployment.Config {
	return deployment.Config{Hosts: hosts, AgentDownTime: downTime, Heartbeat: 500 * time.Millisecond}
}

// dwellers are the tenants with a router on a host. Their workloads go on other hosts.
func (s *site) dwellers(h *deployment.Host, tenants []*deployment.Tenant) (here []*deployment.Tenant) {
	s.Helper()
	homes := s.homes(s.api(), tenants)
	others := slices.DeleteFunc(slices.Clone(s.Hosts), func(o *deployment.Host) bool { return o == h })
	for _, t := range tenants {
		if homes[t.Router] == h.Name {
			s.serve(others[len(here)%len(others)], t)
			here = append(here, t)
		}
	}
	require.NotEmpty(s, here)
	return here
}

// moved waits until none of the tenants' routers is on a host by the database, and all are ACTIVE
// elsewhere.
func (s *site) moved(from *deployment.Host, tenants []*deployment.Tenant) {
	s.Helper()
	require.Eventually(s, func() bool {
		for _, home := range s.homes(s.api(), tenants) {
			if home == "" || home == from.Name {
				return false
			}
		}
		return true
	}, lab.Patience(30*time.Second), 20*time.Millisecond)
	s.active(s.api(), tenants...)
}

// left waits until a host has none of the tenants' routers.
func (s *site) left(h *deployment.Host, tenants []*deployment.Tenant) {
	s.Helper()
	require.Eventually(s, func() bool {
		routers, err := h.Routers()
		require.NoError(s, err)
		return !slices.ContainsFunc(tenants, func(t *deployment.Tenant) bool {
			_, there := routers[t.Router]
			return there
		})
	}, lab.Patience(20*time.Second), 10*time.Millisecond, "%s lets go", h.Name)
}

// failover does something after which a host is lost, and measures for each tenant how long nothing
// came back. It returns the longest.
func (s *site) failover(tenants []*deployment.Tenant, lose func()) (longest time.Duration) {
	s.Helper()
	streams := s.streams(tenants)
	lost := time.Now()
	lose()
	time.Sleep(100 * time.Millisecond) // what is on its way is there
	ctx := within(s.T, 40*time.Second)
	var mu sync.Mutex
	var all sync.WaitGroup
	for t, stream := range streams {
		all.Go(func() {
			if err := stream.Pause(ctx, 1); err != nil {
				s.Errorf("%s: %v", t.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			longest = time.Since(lost)
			s.Logf("%s passes packets again after %s", t.Name, longest.Round(time.Millisecond))
		})
	}
	all.Wait()
	for _, stream := range streams {
		stream.Stop(within(s.T, 0))
	}
	if s.Failed() {
		s.FailNow()
	}
	return longest
}

// TestLostHostIsReplaced kills a host's agent and cuts all its cables. Its routers are elsewhere
// soon. When it returns, it lets go.
func TestLostHostIsReplaced(t *testing.T) {
	s := start(t, quick(3))
	tenants := s.tenants("t", 12)
	s.active(s.api(), tenants...)
	victim := s.Hosts[0]
	here := s.dwellers(victim, tenants)

	lose := func() {
		require.NoError(t, victim.Agent.Kill())
		require.NoError(t, victim.Unplug(true))
	}
	took := s.failover(here, lose)
	t.Logf("failover of %d routers: %s from the loss of the host to the last that passes packets; agent_down_time is %s", len(here), took, downTime)
	require.Less(t, took, lab.Patience(4*(downTime+2*time.Second)), "agent_down_time + 2 s is for make bench; this is for what never happens")
	s.moved(victim, here)

	t.Run("it returns with its routers still in the kernel", func(t *testing.T) {
		// Its agent runs before the other cables are mended: an agent cannot take back what a
		// kernel says without it.
		before := len(victim.Agent.Said())
		s.lossless("return", here, func() {
			require.NoError(t, victim.Isolate(false))
			require.NoError(t, victim.Agent.Start())
			require.NoError(t, victim.Ready(within(t, 30*time.Second)))
			s.left(victim, here)
			require.NoError(t, victim.Unplug(false))
			time.Sleep(time.Second)
		})
		said := victim.Agent.Said()[before:]
		for _, tenant := range here {
			require.Contains(t, said, `msg="router removed" router=`+tenant.Router)
		}
		require.NotContains(t, said, `msg="router applied"`, "it lets go before it does anything else")
	})

	// It is lost again, with routers of its own.
	more := s.tenants("more", 6)
	s.active(s.api(), more...)
	here = s.dwellers(victim, more)
	t.Logf("failover of %d routers: %s", len(here), s.failover(here, lose))
	s.moved(victim, here)

	t.Run("its routers are on the network before its agent", func(t *testing.T) {
		streams := s.streams(here)
		time.Sleep(3 * time.Second) // the announcements after the move are over
		require.NoError(t, victim.Unplug(false))
		for _, tenant := range here { // the switches hear the routers' MAC addresses from here last
			inside, err := victim.Inside(tenant.Router)
			require.NoError(t, err)
			require.NoError(t, inside.Do(func() error {
				c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(deployment.OutsideAddr, echoPort)))
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("here"))
				return err
			}))
		}
		require.NoError(t, victim.Agent.Start())
		s.left(victim, here)
		ctx := within(s.T, 20*time.Second)
		for tenant, stream := range streams {
			require.NoError(t, stream.Pause(ctx, 1), "%s: the switches are told where the router is", tenant.Name)
			stream.Stop(within(s.T, 0))
		}
	})

	// And a third time: its memory is lost too, so that it has them in the agent's cache only.
	most := s.tenants("most", 6)
	s.active(s.api(), most...)
	here = s.dwellers(victim, most)
	t.Logf("failover of %d routers: %s", len(here), s.failover(here, lose))
	s.moved(victim, here)

	t.Run("it returns after a reboot", func(t *testing.T) {
		require.NoError(t, victim.Reboot(within(t, 20*time.Second)))
		s.lossless("return", here, func() {
			require.NoError(t, victim.Unplug(false))
			require.NoError(t, victim.Agent.Start())
			deadline := time.Now().Add(3 * time.Second)
			for ready := false; !ready || time.Now().Before(deadline); {
				routers, err := victim.Routers()
				require.NoError(t, err)
				for _, tenant := range here {
					require.NotContains(t, routers, tenant.Router, "a router that moved was made anew from the cache")
				}
				if !ready {
					ready = victim.Ready(within(t, 10*time.Millisecond)) == nil
				}
			}
		})
	})
}
