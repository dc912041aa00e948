package differential

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// TestOwnLinkLocalSourcesOnTheTransit sends by the transit from link-local addresses that the
// instance has itself.
func TestOwnLinkLocalSourcesOnTheTransit(t *testing.T) {
	edge := floatingEdge()
	edge.Metadata = true
	centre := floatingEdge()
	centre.Ports[0].Anycast, centre.Ports[0].Outside = nil, true
	centre.FloatingIPs, centre.Metadata = nil, true
	centre.Gateway = &dataplane.Gateway{
		Port: dataplane.Port{
			ID: gatewayID, Network: dataplane.Network{ID: externalNet}, MAC: portMAC(maxPorts), MTU: mtu,
			Addrs: []netip.Prefix{prefix("203.0.113.2/24"), prefix("2001:db8:fe::2/64")},
		},
		SNAT: true,
	}
	centre.Transit = drawTransit(theCentre)
	centre.Transit.Routes = []dataplane.Route{via(prefix("2001:db8::7/128"), "", thisEdge6)}

	var trials []trial
	for _, src := range []netip.Addr{
		linkLocal(portMAC(0)), linkLocal(portMAC(maxPorts)), linkLocal(portMAC(maxPorts + 1)), metadata6, addr("2001:db8::1"), addr(otherEdge6),
	} {
		for _, dst := range []netip.Addr{
			addr("2001:db8::1"), addr("2001:db8::7"), addr("2001:db8:e::9"), metadata6, addr("fe80::7"),
		} {
			for _, kind := range []kind{first, stray} {
				trials = append(trials, trial{Kind: kind, Packet: dataplane.Packet{In: transitID, Src: src, Dst: dst, Proto: dataplane.ICMP, SrcPort: 7}})
			}
			trials = append(trials, trial{Kind: first, Packet: dataplane.Packet{In: transitID, Src: src, Dst: dst, Proto: dataplane.UDP, SrcPort: 7, DstPort: 9}})
		}
	}
	eachBackend(t, func(t *testing.T, s *site) {
		for name, r := range map[string]dataplane.Router{"edge": edge, "centre": centre} {
			require.NoError(t, r.Validate())
			require.NoError(t, s.apply(r))
			for _, p := range trials {
				e := expect(r, p)
				a := s.try(p)
				require.Empty(t, e.judge(a), "%s: %s\n%s\n%s", name, p, e.text(), a)
			}
		}
	})
}
