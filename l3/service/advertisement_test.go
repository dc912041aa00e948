package service_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// TestResolversReachHosts: the host is told when what a router advertises changes, and only then.
func TestResolversReachHosts(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		resolver := netip.MustParseAddr("2001:db8::53")
		made := ok(r.CreateRouters(r.Context(), r.admin, l3.RouterSpec{}))(r)[0]
		join := func(cidr string, change func(*l3.SubnetSpec)) l3.Subnet {
			s := r.subnetBy(r.network(r.admin), cidr, change)
			ok(r.AddRouterInterface(r.Context(), r.admin, made.ID, l3.InterfaceSpec{SubnetID: s.ID}))(r)
			return s
		}
		asks := join("2001:db8:1::/64", func(s *l3.SubnetSpec) { s.IPv6RAMode = new(l3.IPv6SLAAC) })
		silent := join("2001:db8:2::/64", func(*l3.SubnetSpec) {})
		r.report(made.ID)
		r.notices(nil)

		names := l3.SubnetSpec{DNSNameservers: &[]string{resolver.String()}}
		ok(r.UpdateSubnet(r.Context(), r.admin, silent.ID, names, l3.If{}))(r)
		require.Empty(r, r.notices(nil))
		ok(r.UpdateSubnet(r.Context(), r.admin, asks.ID, names, l3.If{}))(r)
		require.Len(r, r.notices(nil), 1)
		advertised := 0
		for _, p := range r.report(made.ID).Router.Ports {
			if p.Advertisement != nil {
				require.Equal(r, []netip.Addr{resolver}, p.Advertisement.DNS)
				require.Equal(r, asks.CIDR, p.Advertisement.Prefixes[0].Prefix)
				advertised++
			}
		}
		require.Equal(r, 1, advertised)
	})
}
