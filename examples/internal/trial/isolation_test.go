package trial_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// TestHostThatWasCutOff cuts a host off the bus, and nothing else, for longer than agent_down_time.
// Its routers move, and change; one floating IP goes to another tenant. When the host is back, no
// packet goes through it that should not.
func TestHostThatWasCutOff(t *testing.T) {
	s := start(t, quick(3))
	tenants := s.tenants("t", 9)
	s.active(s.api(), tenants...)
	victim := s.Hosts[0]
	here := s.dwellers(victim, tenants)
	s.lossless("before", here, func() {})

	require.NoError(t, victim.Isolate(true))
	s.moved(victim, here)
	routers, err := victim.Routers()
	require.NoError(t, err)
	require.Contains(t, routers, here[0].Router, "cut off, it keeps what it has")
	for _, tenant := range here { // each gets another floating IP
		require.NoError(t, tenant.Unbind(within(t, 20*time.Second), s.api()))
	}
	gone := here[0].Floating
	for _, tenant := range here {
		require.NoError(t, tenant.Bind(within(t, 20*time.Second), s.api(), s.external))
	}
	s.active(s.api(), here...)
	time.Sleep(downTime)

	require.NoError(t, victim.Isolate(false))
	back := time.Now()
	s.left(victim, here)
	t.Logf("it let go of %d routers %s after it was connected again", len(here), time.Since(back))

	capture, err := s.External.CaptureAll(victim.ExternalPort())
	require.NoError(t, err)
	defer capture.Close()
	s.lossless("after", here, func() { time.Sleep(time.Second) })
	packets, err := capture.Packets()
	require.NoError(t, err)
	for _, p := range packets {
		for _, tenant := range here {
			for _, a := range []netip.Addr{tenant.Floating, gone} {
				require.False(t, !p.Sent && p.Src.Addr() == a, "%s came out of the host that does not have it: %v", a, p)
			}
		}
	}
}

// TestFencedHostStopsInTime has hosts that give up when they are cut off. At no time two hosts have
// a router's ports.
func TestFencedHostStopsInTime(t *testing.T) {
	const lease = 1500 * time.Millisecond
	c := quick(3)
	c.AgentFlags = func(*deployment.Host) []string {
		return []string{"--on-disconnect=fence", "--lease=" + lease.String(), "--agent-down-time=" + downTime.String()}
	}
	s := start(t, c)
	tenants := s.tenants("t", 9)
	s.active(s.api(), tenants...)
	victim := s.Hosts[0]
	here := s.dwellers(victim, tenants)

	cut := time.Now()
	require.NoError(t, victim.Isolate(true))
	var fenced, taken time.Duration
	for deadline := time.Now().Add(lab.Patience(30 * time.Second)); taken == 0; time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "nobody takes the routers")
		elsewhere := 0
		for _, h := range s.Hosts[1:] { // first those: who has let go meanwhile is no worse
			elsewhere += s.connected(h, here)
		}
		switch still := s.connected(victim, here); {
		case still > 0 && elsewhere > 0:
			require.Failf(t, "two hosts forward", "after %s the host that is cut off has %d routers with ports, and the others %d of the same",
				time.Since(cut), still, elsewhere)
		case still == 0 && fenced == 0:
			fenced = time.Since(cut)
		}
		if elsewhere == len(here) {
			taken = time.Since(cut)
		}
	}
	t.Logf("%d routers: fenced %s after the host was cut off, all of them elsewhere after %s", len(here), fenced, taken)
	s.moved(victim, here)
	s.lossless("fenced", here, func() {
		require.NoError(t, victim.Isolate(false))
		s.left(victim, here)
		require.NoError(t, victim.Ready(within(t, 30*time.Second)))
	})
}

// connected counts the tenants' routers that have a port on a host.
func (s *site) connected(h *deployment.Host, tenants []*deployment.Tenant) (n int) {
	s.Helper()
	ports, err := h.Ports()
	require.NoError(s, err)
	for _, t := range tenants {
		if ports[t.Router] > 0 {
			n++
		}
	}
	return n
}
