package agent_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// TestHeldAddrs: what an agent knows that a router holds is what a host shows that it does. An
// instance of a distributed router also holds the segment of its transit.
func TestHeldAddrs(t *testing.T) {
	network := func(id string, segment uint32) dataplane.Network {
		return dataplane.Network{ID: id, Type: dataplane.NetworkVXLAN, Segment: segment}
	}
	port := func(id string, segment uint32, addrs ...netip.Prefix) dataplane.Port {
		return dataplane.Port{ID: id, Network: network("net-"+id, segment), MAC: dataplane.MAC{2, 5: byte(segment)}, MTU: 1500, Addrs: addrs}
	}
	fip := netip.MustParseAddr("203.0.113.10")
	r := dataplane.Router{
		ID: "r1", Ports: []dataplane.Port{port("in", 1, netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("2001:db8::1/64"))},
		Gateway:     &dataplane.Gateway{Port: port("out", 2), FloatingIPsOnly: true, Hairpin: netip.MustParseAddr("203.0.113.2")},
		FloatingIPs: []dataplane.FloatingIP{{ID: "f1", Addr: fip, Fixed: netip.MustParseAddr("10.0.0.5")}},
		Transit: &dataplane.Transit{
			Port: port("transit", 3, netip.MustParsePrefix("169.254.64.2/18")), Centre: []netip.Addr{netip.MustParseAddr("169.254.64.1")},
		},
	}
	r.Ports[0].Anycast = &dataplane.Anycast{Neighbours: []netip.Addr{r.FloatingIPs[0].Fixed}}
	host := dataplane.NewFake(nil)
	_, err := host.Apply(t.Context(), r)
	require.NoError(t, err)
	shown, err := host.Inspect(t.Context(), r.ID)
	require.NoError(t, err)
	var known []dataplane.HeldAddr
	for _, h := range agent.HeldAddrs(r) {
		known = append(known, dataplane.HeldAddr(h))
	}
	dataplane.SortHeld(known)
	require.Equal(t, shown.Held, known)
	require.Contains(t, known, dataplane.HeldAddr{Network: network("net-transit", 3), Addr: netip.MustParseAddr("169.254.64.2")})
}
