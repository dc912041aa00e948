package service_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func TestSubnetDefaults(t *testing.T) {
	tests := map[string]struct {
		gateway string
		pools   string
		change  func(*l3.SubnetSpec)
	}{
		"10.0.0.0/24":       {gateway: "10.0.0.1", pools: "10.0.0.2-10.0.0.254"},
		"10.0.0.0/30":       {gateway: "10.0.0.1", pools: "10.0.0.2-10.0.0.2"},
		"10.0.0.4/31":       {gateway: "10.0.0.4", pools: "10.0.0.5-10.0.0.5", change: func(s *l3.SubnetSpec) { s.EnableDHCP = new(false) }},
		"10.0.0.9/32":       {gateway: "10.0.0.9", pools: "", change: func(s *l3.SubnetSpec) { s.EnableDHCP = new(false) }},
		"2001:db8:1::/64":   {gateway: "2001:db8:1::1", pools: "2001:db8:1::2-2001:db8:1:0:ffff:ffff:ffff:ffff"},
		"2001:db8:2::8/126": {gateway: "2001:db8:2::9", pools: "2001:db8:2::a-2001:db8:2::b"},
		"10.1.0.0/24":       {gateway: "10.1.0.254", pools: "10.1.0.1-10.1.0.253", change: func(s *l3.SubnetSpec) { s.GatewayIP = new(addr("10.1.0.254")) }},
		"10.2.0.0/24":       {gateway: "10.2.0.7", pools: "10.2.0.1-10.2.0.6 10.2.0.8-10.2.0.254", change: func(s *l3.SubnetSpec) { s.GatewayIP = new(addr("10.2.0.7")) }},
		"10.3.0.0/24":       {gateway: "invalid IP", pools: "10.3.0.1-10.3.0.254", change: func(s *l3.SubnetSpec) { s.GatewayIP = new(netip.Addr{}) }},
		"10.4.0.0/24":       {gateway: "192.0.2.1", pools: "10.4.0.1-10.4.0.254", change: func(s *l3.SubnetSpec) { s.GatewayIP = new(addr("192.0.2.1")) }},
		"10.5.0.0/24": {gateway: "10.5.0.1", pools: "10.5.0.10-10.5.0.19 10.5.0.30-10.5.0.39", change: func(s *l3.SubnetSpec) {
			s.AllocationPools = &[]l3.AddressRange{pool("10.5.0.30", "10.5.0.39"), pool("10.5.0.10", "10.5.0.19")}
		}},
	}
	onStores(t, func(t *testing.T, c *cloud) {
		for cidr, want := range tests {
			t.Run(cidr, func(t *testing.T) {
				var changes []func(*l3.SubnetSpec)
				if want.change != nil {
					changes = append(changes, want.change)
				}
				sub := c.subnet(c.network(alice, l3.NetworkSpec{}), cidr, changes...)
				require.Equal(t, want.gateway, sub.GatewayIP.String())
				var pools []string
				for _, p := range sub.AllocationPools {
					pools = append(pools, p.String())
				}
				require.Equal(t, want.pools, strings.Join(pools, " "))
				require.Equal(t, []string{}, sub.DNSNameservers)
				got, err := c.GetSubnet(t.Context(), alice, sub.ID)
				require.NoError(t, err)
				require.Equal(t, sub, got)
			})
		}
	})
}

// subnetFaults are changes to the making of 10.0.0.0/24, unless they name another block.
var subnetFaults = []struct {
	name    string
	change  func(*l3.SubnetSpec)
	kind    error
	refusal string
}{
	{"no CIDR", func(s *l3.SubnetSpec) { s.CIDR = nil }, l3.ErrInvalid, "BadRequest"},
	{"host bits", cidr("10.0.0.1/24"), l3.ErrInvalid, "InvalidInput"},
	{"everything", cidr("0.0.0.0/0"), l3.ErrInvalid, "InvalidInput"},
	{"multicast", cidr("224.0.0.0/24"), l3.ErrInvalid, "InvalidInput"},
	{"reserved", cidr("240.0.0.0/24"), l3.ErrInvalid, "InvalidInput"},
	{"loopback", cidr("127.0.0.0/24"), l3.ErrInvalid, "InvalidInput"},
	{"link-local", cidr("fe80::/64"), l3.ErrInvalid, "InvalidInput"},
	{"unspecified", cidr("::/64"), l3.ErrInvalid, "InvalidInput"},
	{"IPv4 in IPv6", cidr("::ffff:10.0.0.0/120"), l3.ErrInvalid, "InvalidInput"},
	{"wrong ip_version", func(s *l3.SubnetSpec) { s.IPVersion = new(6) }, l3.ErrInvalid, "InvalidInput"},
	{"no room for DHCP", cidr("10.0.0.0/31"), l3.ErrInvalid, "InvalidInput"},
	{"gateway of the other family", gateway("2001:db8::1"), l3.ErrInvalid, "InvalidInput"},
	{"gateway is the network's address", gateway("10.0.0.0"), l3.ErrInvalid, "InvalidInput"},
	{"gateway is the broadcast address", gateway("10.0.0.255"), l3.ErrInvalid, "InvalidInput"},
	{"gateway is multicast", gateway("224.0.0.1"), l3.ErrInvalid, "InvalidInput"},
	{"pool outside", pools(pool("10.0.1.2", "10.0.1.9")), l3.ErrInvalid, "OutOfBoundsAllocationPool"},
	{"pool with the broadcast address", pools(pool("10.0.0.250", "10.0.0.255")), l3.ErrInvalid, "OutOfBoundsAllocationPool"},
	{"pool backwards", pools(pool("10.0.0.9", "10.0.0.8")), l3.ErrInvalid, "InvalidAllocationPool"},
	{"pool of the other family", pools(pool("2001:db8::1", "2001:db8::2")), l3.ErrInvalid, "InvalidAllocationPool"},
	{"pool of nothing", pools(l3.AddressRange{}), l3.ErrInvalid, "InvalidAllocationPool"},
	{"pools overlap", pools(pool("10.0.0.8", "10.0.0.19"), pool("10.0.0.2", "10.0.0.8")), l3.ErrConflict, "OverlappingAllocationPools"},
	{"gateway in a pool", pools(pool("10.0.0.1", "10.0.0.9")), l3.ErrConflict, "GatewayConflictWithAllocationPools"},
	{"six nameservers", nameservers("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"), l3.ErrInvalid, "DNSNameServersExhausted"},
	{"nameserver twice", nameservers("10.0.0.1", "10.0.0.1"), l3.ErrInvalid, "InvalidInput"},
	{"nameserver by name", nameservers("dns.example.org"), l3.ErrInvalid, "InvalidInput"},
	{"nameserver of the other family", nameservers("2001:db8::1"), l3.ErrInvalid, "InvalidInput"},
	{"21 host routes", func(s *l3.SubnetSpec) { s.HostRoutes = new(make([]l3.Route, 21)) }, l3.ErrInvalid, "HostRoutesExhausted"},
	{"host route to nowhere", func(s *l3.SubnetSpec) { s.HostRoutes = new(make([]l3.Route, 1)) }, l3.ErrInvalid, "InvalidInput"},
	{"host route twice", hostRoutes("192.0.2.0/24 10.0.0.9", "192.0.2.0/24 10.0.0.9"), l3.ErrInvalid, "InvalidInput"},
	{"host route of the other family", hostRoutes("2001:db8::/64 2001:db8::1"), l3.ErrInvalid, "InvalidInput"},
	{"service type of nobody", func(s *l3.SubnetSpec) { s.ServiceTypes = &[]string{"web"} }, l3.ErrInvalid, "InvalidSubnetServiceType"},
	{"service type twice", func(s *l3.SubnetSpec) { s.ServiceTypes = &[]string{"compute:a", "compute:a"} }, l3.ErrInvalid, "InvalidInput"},
	{"IPv6 mode of IPv4", modes("10.0.0.0/24", "slaac", ""), l3.ErrInvalid, "InvalidInput"},
	{"IPv6 modes disagree", modes("2001:db8::/64", "slaac", "dhcpv6-stateful"), l3.ErrInvalid, "InvalidInput"},
	{"unknown IPv6 mode", modes("2001:db8::/64", "magic", ""), l3.ErrInvalid, "InvalidInput"},
	{"SLAAC needs a /64", modes("2001:db8::/65", "", "slaac"), l3.ErrInvalid, "InvalidInput"},
	{"IPv6 mode without DHCP", func(s *l3.SubnetSpec) { modes("2001:db8::/64", "slaac", "slaac")(s); s.EnableDHCP = new(false) }, l3.ErrInvalid, "InvalidInput"},
	{"name too long", func(s *l3.SubnetSpec) { s.Name = new(strings.Repeat("x", 256)) }, l3.ErrInvalid, "InvalidInput"},
	{"overlap", cidr("10.9.0.0/16"), l3.ErrInvalid, "InvalidInput"},
	{"overlap within", cidr("10.9.1.128/25"), l3.ErrInvalid, "InvalidInput"},
	{"network of nobody", func(s *l3.SubnetSpec) { s.NetworkID = new("4f0c2b38-4a67-4b5c-a8a2-6a3b3f5ab0ff") }, l3.ErrNotFound, "NetworkNotFound"},
}

func cidr(s string) func(*l3.SubnetSpec) {
	return func(spec *l3.SubnetSpec) { spec.CIDR = new(netip.MustParsePrefix(s)) }
}

func gateway(s string) func(*l3.SubnetSpec) {
	return func(spec *l3.SubnetSpec) { spec.GatewayIP = new(addr(s)) }
}

func pools(p ...l3.AddressRange) func(*l3.SubnetSpec) {
	return func(spec *l3.SubnetSpec) { spec.AllocationPools = &p }
}

func nameservers(s ...string) func(*l3.SubnetSpec) {
	return func(spec *l3.SubnetSpec) { spec.DNSNameservers = &s }
}

func hostRoutes(list ...string) func(*l3.SubnetSpec) {
	var routes []l3.Route
	for _, s := range list {
		dest, via, _ := strings.Cut(s, " ")
		routes = append(routes, l3.Route{Destination: netip.MustParsePrefix(dest), NextHop: addr(via)})
	}
	return func(spec *l3.SubnetSpec) { spec.HostRoutes = &routes }
}

func modes(block string, ra, address l3.IPv6Mode) func(*l3.SubnetSpec) {
	return func(spec *l3.SubnetSpec) {
		cidr(block)(spec)
		spec.IPv6RAMode, spec.IPv6AddressMode = &ra, &address
	}
}

func slaac(spec *l3.SubnetSpec) {
	spec.IPv6RAMode, spec.IPv6AddressMode = new(l3.IPv6SLAAC), new(l3.IPv6SLAAC)
}

func TestSubnetFaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "10.9.1.0/24")
		for _, test := range subnetFaults {
			t.Run(test.name, func(t *testing.T) {
				_, err := c.trySubnet(n, "10.0.0.0/24", test.change)
				refused(t, err, test.kind, test.refusal)
			})
		}
		list, err := c.ListSubnets(t.Context(), alice, l3.Query{})
		require.NoError(t, err)
		require.Len(t, list, 1)
	})
}

// TestSubnetFaultsOfUpdates: what cannot be made cannot be had by a change either.
func TestSubnetFaultsOfUpdates(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		sub := c.subnet(n, "10.0.0.0/24")
		for _, test := range subnetFaults {
			t.Run(test.name, func(t *testing.T) {
				var spec l3.SubnetSpec
				test.change(&spec)
				if spec.CIDR != nil || spec.NetworkID != nil || spec.IPVersion != nil || test.name == "no CIDR" {
					t.Skip("does not change")
				}
				_, err := c.UpdateSubnet(t.Context(), admin, sub.ID, spec, l3.If{})
				refused(t, err, test.kind, test.refusal)
			})
		}
		got, err := c.GetSubnet(t.Context(), alice, sub.ID)
		require.NoError(t, err)
		require.Equal(t, sub, got)
	})
}

func TestSubnetUpdate(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		sub := c.subnet(n, "10.0.0.0/24")
		update := func(change ...func(*l3.SubnetSpec)) (l3.Subnet, error) {
			var spec l3.SubnetSpec
			for _, f := range change {
				f(&spec)
			}
			return c.UpdateSubnet(t.Context(), alice, sub.ID, spec, l3.If{})
		}
		same, err := update(gateway("10.0.0.1"), pools(sub.AllocationPools...), nameservers())
		require.NoError(t, err)
		require.Equal(t, sub, same)

		_, err = update(gateway("10.0.0.9"))
		refused(t, err, l3.ErrConflict, "GatewayConflictWithAllocationPools")
		moved, err := update(gateway("10.0.0.9"), pools(pool("10.0.0.20", "10.0.0.21")))
		require.NoError(t, err)
		require.Equal(t, 2, moved.Revision)
		require.Equal(t, []string{"10.0.0.20"}, addresses(c.port(alice, n)))

		none, err := update(func(s *l3.SubnetSpec) { s.GatewayIP = new(netip.Addr{}) }, nameservers("192.0.2.53"), hostRoutes("192.0.2.0/24 10.0.0.3"))
		require.NoError(t, err)
		require.False(t, none.GatewayIP.IsValid())
		require.Equal(t, []string{"192.0.2.53"}, none.DNSNameservers)
		require.Len(t, none.HostRoutes, 1)

		for _, change := range []func(*l3.SubnetSpec){
			func(s *l3.SubnetSpec) { s.IPv6RAMode = new(l3.IPv6SLAAC) }, cidr("10.7.0.0/24"),
			func(s *l3.SubnetSpec) { s.NetworkID = new("x") }, func(s *l3.SubnetSpec) { s.ProjectID = new("bob") },
		} {
			_, err = update(change)
			refused(t, err, l3.ErrInvalid, "HTTPBadRequest")
		}
		sub, err = update(func(s *l3.SubnetSpec) { s.ServiceTypes = &[]string{"compute:nova"} })
		require.NoError(t, err)
		require.Equal(t, []string{"compute:nova"}, sub.ServiceTypes)
		_, err = c.UpdateSubnet(t.Context(), bob, sub.ID, l3.SubnetSpec{}, l3.If{})
		refused(t, err, l3.ErrNotFound, "SubnetNotFound")
		_, err = c.UpdateSubnet(t.Context(), alice, sub.ID, l3.SubnetSpec{}, l3.If{Revision: new(1)})
		refused(t, err, l3.ErrRevision, "RevisionNumberConstraintFailed")
	})
}

func TestSubnetGatewayIpInUse(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		sub := c.subnet(c.network(alice, l3.NetworkSpec{}), "10.0.0.0/24")
		r, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{})
		require.NoError(t, err)
		_, err = c.AddRouterInterface(t.Context(), alice, r[0].ID, l3.InterfaceSpec{SubnetID: sub.ID})
		require.NoError(t, err)
		_, err = c.UpdateSubnet(t.Context(), alice, sub.ID, l3.SubnetSpec{GatewayIP: new(netip.Addr{})}, l3.If{})
		refused(t, err, l3.ErrConflict, "GatewayIpInUse")
		refused(t, c.DeleteSubnet(t.Context(), alice, sub.ID, l3.If{}), l3.ErrConflict, "SubnetInUse")
	})
}

func TestSubnetInUse(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		sub := c.subnet(n, "10.0.0.0/24")
		dhcp := c.port(admin, n, owner("network:dhcp"))
		p := c.port(alice, n)
		unseen(t, c.DeleteSubnet(t.Context(), bob, sub.ID, l3.If{}))
		refused(t, c.DeleteSubnet(t.Context(), alice, sub.ID, l3.If{}), l3.ErrConflict, "SubnetInUse")
		require.NoError(t, c.DeletePort(t.Context(), alice, p.ID, l3.If{}))
		refused(t, c.DeleteSubnet(t.Context(), alice, sub.ID, l3.If{Revision: new(2)}), l3.ErrRevision, "RevisionNumberConstraintFailed")
		require.NoError(t, c.DeleteSubnet(t.Context(), alice, sub.ID, l3.If{}), "DHCP's port is no reason to stay")
		dhcp, err := c.GetPort(t.Context(), admin, dhcp.ID)
		require.NoError(t, err)
		require.Empty(t, dhcp.FixedIPs)
	})
}

// TestSubnetOfMachinesThatMakeTheirAddresses: a SLAAC subnet gives its addresses to the ports that
// are there, and does not mind them when it goes.
func TestSubnetOfMachinesThatMakeTheirAddresses(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "10.0.0.0/24")
		p := c.port(alice, n, func(s *l3.PortSpec) { s.MAC = new(mac("fa:16:3e:12:34:56")) })
		sub := c.subnet(n, "2001:db8::/64", slaac)
		p, err := c.GetPort(t.Context(), alice, p.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"10.0.0.2", "2001:db8::f816:3eff:fe12:3456"}, addresses(p))
		require.Equal(t, 2, p.Revision)

		_, err = c.UpdateSubnet(t.Context(), alice, sub.ID, l3.SubnetSpec{EnableDHCP: new(false)}, l3.If{})
		bad(t, err)
		require.NoError(t, c.DeleteSubnet(t.Context(), alice, sub.ID, l3.If{}))
		p, err = c.GetPort(t.Context(), alice, p.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"10.0.0.2"}, addresses(p))
	})
}
