package natsbus_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestUnusablePeersAreSkipped: one host's bad tunnel address keeps no other host from being a peer,
// whether it comes in a heartbeat or is on the bus already. The heartbeat itself counts.
func TestUnusablePeersAreSkipped(t *testing.T) {
	r := newRig(t)
	h := &hosting{}
	background(t, natsbus.NewConsumer(h, r.bus).Run)
	r.publish(newWorld("h1", "h2", "bad"))
	one, two, bad := r.source("h1"), r.source("h2"), r.source("bad")
	seen := watch(t, one)
	beat := func(s *natsbus.Source, address any) {
		t.Helper()
		require.NoError(t, s.Heartbeat(t.Context(), agent.Heartbeat{Capabilities: agent.Capabilities{Other: map[string]any{"tunneling_ip": address}}}))
	}
	_, err := r.jetstream().Publish(t.Context(), "$KV.peers.old", []byte(`{"host":"old","address":"127.0.0.1"}`))
	require.NoError(t, err)
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	beat(one, "192.0.2.1")
	for i, address := range []any{
		"224.0.0.1", "127.0.0.1", "::1", "0.0.0.0", "::", "255.255.255.255", "240.0.0.1", "0.1.2.3", "ff02::1", "fe80::1", "fe80::1%eth0", "2001:db8::1%eth0",
		"::ffff:192.0.2.9", "nonsense", "192.0.2.0/24", 7,
	} {
		beat(bad, address)
		next := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})
		beat(two, next.String())
		seen.until("the peer after "+next.String(), func() bool { return len(seen.peers) == 2 && seen.peers[1] == next })
		require.Equal(t, append(want, next), seen.peers)
	}
	h.mu.Lock()
	require.Contains(t, h.beats, "bad")
	h.mu.Unlock()
	// A wiring that makes tunnels over IPv6 can use these; one that does not skips them.
	beat(bad, "2001:db8::1")
	seen.until("IPv6", func() bool { return len(seen.peers) == 3 && seen.peers[2] == netip.MustParseAddr("2001:db8::1") })
}
