package dataplane_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// One row per rule: what is done to a valid router, and the one fault that must follow.
var invalid = []struct {
	name   string
	damage func(*dataplane.Router)
	fault  string
}{
	{"ID empty", func(r *dataplane.Router) { r.ID = "" }, `ID: is empty`},
	{"ID too long", func(r *dataplane.Router) { r.ID = strings.Repeat("x", 65) }, `ID: "` + strings.Repeat("x", 65) + `" is longer than 64 characters`},
	{"ID with control characters", func(r *dataplane.Router) { r.ID = "a\x1b[2J" }, `ID: "a\x1b[2J" has other characters than A–Z a–z 0–9 . _ -, or begins with . or -`},
	{"ID a path", func(r *dataplane.Router) { r.ID = "../r" }, `ID: "../r" has other characters than A–Z a–z 0–9 . _ -, or begins with . or -`},
	{"ID an option", func(r *dataplane.Router) { r.ID = "-r" }, `ID: "-r" has other characters than A–Z a–z 0–9 . _ -, or begins with . or -`},

	{"port ID empty", func(r *dataplane.Router) { r.Ports[1].ID = "" }, `Ports[1].ID: is empty`},
	{"port ID twice", func(r *dataplane.Router) { r.Ports[1].ID = "web" }, `Ports[1].ID: "web" is also Ports[0].ID`},
	{"port ID is the gateway's", func(r *dataplane.Router) { r.Gateway.ID = "web" }, `Gateway.ID: "web" is also Ports[0].ID`},
	{"device name twice", func(r *dataplane.Router) { r.Ports[0].ID, r.Ports[1].ID = "0123456789ab", "0123456789ac" },
		`Ports[1].ID: "0123456789ac" would name its device qr-0123456789a, as does Ports[0].ID`},

	{"MAC missing", func(r *dataplane.Router) { r.Ports[0].MAC = dataplane.MAC{} }, `Ports[0].MAC: is missing`},
	{"MAC multicast", func(r *dataplane.Router) { r.Ports[0].MAC[0] = 0x33 }, `Ports[0].MAC: 33:16:3e:00:00:01 is a multicast address`},
	{"MAC twice on a network", func(r *dataplane.Router) { r.Ports[1].MAC, r.Ports[1].Network = r.Ports[0].MAC, r.Ports[0].Network },
		`Ports[1].MAC: fa:16:3e:00:00:01 is also Ports[0].MAC, on the same network`},
	{"MTU zero", func(r *dataplane.Router) { r.Ports[0].MTU = 0 }, `Ports[0].MTU: 0 is not between 68 and 65535`},
	{"MTU too large", func(r *dataplane.Router) { r.Gateway.MTU = 65536 }, `Gateway.MTU: 65536 is not between 68 and 65535`},
	{"MTU too small for IPv6", func(r *dataplane.Router) { r.Ports[0].MTU = 1279 }, `Ports[0].MTU: 1279 is less than 1280, which IPv6 needs`},

	{"no address", func(r *dataplane.Router) {
		r.Ports = append(r.Ports, dataplane.Port{ID: "x", Network: network("x"), MAC: mac(9), MTU: 68})
	},
		`Ports[2].Addrs: an internal port needs an address`},
	{"address missing", addPort("zero"), `Ports[2].Addrs[0]: is missing`},
	{"address unspecified", addPort("0.0.0.0/24"), `Ports[2].Addrs[0]: 0.0.0.0 is no host's address`},
	{"address in this network", addPort("0.1.2.3/24"), `Ports[2].Addrs[0]: 0.1.2.3 is no host's address`},
	{"address loopback", addPort("127.0.0.1/24"), `Ports[2].Addrs[0]: 127.0.0.1 is a loopback address`},
	{"address multicast", addPort("ff02::5/64"), `Ports[2].Addrs[0]: ff02::5 is a multicast address`},
	{"address link-local", addPort("fe80::1/64"), `Ports[2].Addrs[0]: fe80::1 is a link-local address, which the kernel gives by itself`},
	{"address mapped", addPort("::ffff:10.5.0.1/120"), `Ports[2].Addrs[0]: ::ffff:10.5.0.1 is an IPv4-mapped IPv6 address`},
	{"address everyone's", addPort("255.255.255.255/32"), `Ports[2].Addrs[0]: 255.255.255.255 is the broadcast address`},
	{"address without subnet", addPort("10.5.0.1/0"), `Ports[2].Addrs[0]: 10.5.0.1 needs the length of its subnet, 1 to 32`},
	{"address of the network", addPort("10.5.0.0/24"), `Ports[2].Addrs[0]: 10.5.0.0 is the network address of 10.5.0.0/24`},
	{"address for broadcasts", addPort("10.5.0.3/30"), `Ports[2].Addrs[0]: 10.5.0.3 is the broadcast address of 10.5.0.0/30`},
	{"address twice", addPort("10.0.0.1/24"), `Ports[2].Addrs[0]: 10.0.0.1 is also Ports[0].Addrs[0]`},
	{"subnets overlap", addPort("10.0.0.129/25"), `Ports[2].Addrs[0]: 10.0.0.128/25 overlaps 10.0.0.0/24 of Ports[0].Addrs[0]`},
	{"subnets overlap, the later one larger", addPort("2001:db8:0:2::2/63"), `Ports[2].Addrs[0]: 2001:db8:0:2::/63 overlaps 2001:db8:0:2::/64 of Ports[1].Addrs[1]`},
	{"subnet overlaps the gateway's", func(r *dataplane.Router) { r.Gateway.Addrs = append(r.Gateway.Addrs, prefix("10.0.1.2/24")) },
		`Gateway.Addrs[2]: 10.0.1.0/24 overlaps 10.0.1.0/24 of Ports[1].Addrs[0]`},
	{"two addresses in one subnet", func(r *dataplane.Router) { r.Ports[0].Addrs = append(r.Ports[0].Addrs, prefix("10.0.0.2/24")) },
		`Ports[0].Addrs[2]: 10.0.0.2 is in the same subnet as 10.0.0.1 of this port`},
	{"two addresses in one subnet, the second by itself", func(r *dataplane.Router) { r.Ports[0].Addrs = append(r.Ports[0].Addrs, prefix("10.0.0.2/32")) },
		`Ports[0].Addrs[2]: 10.0.0.2/32 overlaps 10.0.0.0/24 of Ports[0].Addrs[0]`},
	{"two addresses of the gateway in one subnet", func(r *dataplane.Router) { r.Gateway.Addrs = append(r.Gateway.Addrs, prefix("203.0.113.9/24")) },
		`Gateway.Addrs[2]: 203.0.113.9 is in the same subnet as 203.0.113.2 of this port`},
	{"a floating IP that is a further address of the gateway", func(r *dataplane.Router) {
		r.Gateway.Addrs = append(r.Gateway.Addrs, prefix("203.0.113.9/32"))
		fip("203.0.113.9", "10.0.0.7")(r)
	}, `FloatingIPs[2].Addr: 203.0.113.9 is also Gateway.Addrs[2]`},

	{"network ID", func(r *dataplane.Router) { r.Ports[0].Network.ID = "a/b" }, `Ports[0].Network.ID: "a/b" has other characters than A–Z a–z 0–9 . _ -, or begins with . or -`},
	{"network type", netOf("token-ring", "", 0), `Ports[0].Network.Type: "token-ring" is none of local, flat, vlan, vxlan, geneve, gre`},
	{"local with segment", netOf("", "", 7), `Ports[0].Network.Segment: 7 on a network that has none`},
	{"flat with segment", netOf("flat", "", 7), `Ports[0].Network.Segment: 7 on a network that has none`},
	{"vlan without segment", netOf("vlan", "phys", 0), `Ports[0].Network.Segment: 0 is not between 1 and 4094`},
	{"vlan reserved", netOf("vlan", "phys", 4095), `Ports[0].Network.Segment: 4095 is not between 1 and 4094`},
	{"vxlan too large", netOf("vxlan", "", 1<<24), `Ports[0].Network.Segment: 16777216 is not between 1 and 16777215`},
	{"geneve without segment", netOf("geneve", "", 0), `Ports[0].Network.Segment: 0 is not between 1 and 16777215`},
	{"vlan of nothing", netOf("vlan", "", 1), `Ports[0].Network.Physical: is missing, and a VLAN needs one`},
	{"physical of a tunnel", netOf("gre", "phys", 1), `Ports[0].Network.Physical: "phys" on a network that is neither flat nor vlan`},
	{"physical not printable", netOf("flat", "a\nb", 0), `Ports[0].Network.Physical: "a\nb" has characters that cannot be printed`},
	{"physical not text", netOf("flat", "\xff", 0), `Ports[0].Network.Physical: "\xff" has characters that cannot be printed`},
	{"physical too long", netOf("flat", strings.Repeat("x", 65), 0), `Ports[0].Network.Physical: "` + strings.Repeat("x", 65) + `" is longer than 64 characters`},
	{"network with two contents", func(r *dataplane.Router) { r.Ports[1].Network = dataplane.Network{ID: "net-web", Type: "flat"} },
		`Ports[1].Network: differs from Ports[0].Network, which has the same ID`},
	{"gateway on an internal network", func(r *dataplane.Router) { r.Gateway.Network = r.Ports[0].Network },
		`Gateway.Network: "net-web" is also the network of Ports[0].Network: the gateway needs one of its own`},

	{"two next hops of a family", nextHops("203.0.113.1", "203.0.113.9"), `Gateway.NextHops[1]: 203.0.113.9 is a second one of its family, after Gateway.NextHops[0]`},
	{"address for metadata", func(r *dataplane.Router) {
		r.Metadata = true
		addPort("169.254.169.254/24")(r)
	}, `Ports[2].Addrs[0]: 169.254.169.254 is also Metadata`},
	{"next hop for metadata", func(r *dataplane.Router) {
		r.Metadata = true
		addPort("169.254.169.1/24")(r)
		r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("169.254.169.254")})
	}, `Routes[1].NextHop: 169.254.169.254 is the router's own address, Metadata`},
	{"floating IP for metadata", func(r *dataplane.Router) {
		r.Metadata = true
		fip("169.254.169.254", "10.0.0.7")(r)
	}, `FloatingIPs[2].Addr: 169.254.169.254 is also Metadata`},
	{"next hop missing", func(r *dataplane.Router) { r.Gateway.NextHops = make([]netip.Addr, 1) }, `Gateway.NextHops[0]: is missing`},
	{"next hop with a zone", nextHops("fe80::1%eth0"), `Gateway.NextHops[0]: "fe80::1%eth0" has a zone`},
	{"next hop is own", nextHops("203.0.113.2"), `Gateway.NextHops[0]: 203.0.113.2 is the router's own address, Gateway.Addrs[0]`},
	{"next hop for broadcasts", nextHops("203.0.113.255"), `Gateway.NextHops[0]: 203.0.113.255 is the broadcast address of 203.0.113.0/24`},
	{"next hop inside", nextHops("10.0.0.9"), `Gateway.NextHops[0]: 10.0.0.9 is in 10.0.0.0/24 of Ports[0].Addrs[0], not on the external network`},
	{"on-link subnet missing", onLink("zero"), `Gateway.OnLink[0]: is missing`},
	{"on-link subnet with host bits", onLink("203.0.114.1/24"), `Gateway.OnLink[0]: 203.0.114.1/24 has host bits: did you mean 203.0.114.0/24?`},
	{"on-link subnet of multicast", onLink("ff00::/8"), `Gateway.OnLink[0]: ff00::/8 is of multicast addresses`},
	{"on-link subnet link-local", onLink("fe80::/64"), `Gateway.OnLink[0]: fe80::/64 is of link-local addresses, which are never forwarded`},
	{"on-link subnet of everything", onLink("::/0"), `Gateway.OnLink[0]: ::/0 is every address`},
	{"on-link subnet twice", onLink("203.0.114.0/24", "203.0.114.0/24"), `Gateway.OnLink[1]: 203.0.114.0/24 is also Gateway.OnLink[0]`},
	{"on-link subnet inside", onLink("10.0.0.128/25"), `Gateway.OnLink[0]: 10.0.0.128/25 overlaps 10.0.0.0/24 of Ports[0].Addrs[0]`},
	{"on-link IPv4 without address", func(r *dataplane.Router) {
		r.Gateway.Addrs, r.Gateway.NextHops, r.FloatingIPs = r.Gateway.Addrs[1:], nil, nil
		onLink("203.0.114.0/24")(r)
	}, `Gateway.OnLink[0]: 203.0.114.0/24: the gateway has no address of this family`},
	{"on-link IPv6 on a small MTU", func(r *dataplane.Router) {
		r.Gateway.Addrs, r.Gateway.MTU = r.Gateway.Addrs[:1], 1279
		onLink("2001:db8:1::/64")(r)
	}, `Gateway.OnLink[0]: 2001:db8:1::/64 needs an MTU of 1280, and the gateway has 1279`},
	{"fixed address in an on-link subnet", func(r *dataplane.Router) {
		onLink("203.0.114.0/24")(r)
		fip("203.0.113.9", "203.0.114.9")(r)
	}, `FloatingIPs[2].Fixed: 203.0.114.9 is in 203.0.114.0/24 of the gateway, not of an internal port`},
	{"next hop without address", func(r *dataplane.Router) {
		r.Gateway.Addrs, r.Gateway.NextHops = r.Gateway.Addrs[:1], []netip.Addr{addr("2001:db8:e::1")}
	},
		`Gateway.NextHops[0]: 2001:db8:e::1: the gateway has no address of this family`},

	{"floating IPs without gateway", func(r *dataplane.Router) { r.Gateway = nil }, `FloatingIPs: need a gateway with an IPv4 address`},
	{"floating IPs without IPv4 gateway", func(r *dataplane.Router) { r.Gateway.Addrs, r.Gateway.NextHops = r.Gateway.Addrs[1:], nil },
		`FloatingIPs: need a gateway with an IPv4 address`},
	{"floating IP ID twice", func(r *dataplane.Router) { r.FloatingIPs[1].ID = "fip-5" }, `FloatingIPs[1].ID: "fip-5" is also FloatingIPs[0].ID`},
	{"floating IP ID", func(r *dataplane.Router) { r.FloatingIPs[1].ID = " " }, `FloatingIPs[1].ID: " " has other characters than A–Z a–z 0–9 . _ -, or begins with . or -`},
	{"floating IP of IPv6", fip("2001:db8:0:f::5", "10.0.0.7"), `FloatingIPs[2].Addr: 2001:db8:0:f::5 is not an IPv4 address`},
	{"floating IP missing", func(r *dataplane.Router) { r.FloatingIPs[1].Addr = netip.Addr{} }, `FloatingIPs[1].Addr: is missing`},
	{"floating IP twice", fip("203.0.113.5", "10.0.0.7"), `FloatingIPs[2].Addr: 203.0.113.5 is also FloatingIPs[0].Addr`},
	{"floating IP is the gateway's", fip("203.0.113.2", "10.0.0.7"), `FloatingIPs[2].Addr: 203.0.113.2 is also Gateway.Addrs[0]`},
	{"floating IP is the next hop", fip("203.0.113.1", "10.0.0.7"), `FloatingIPs[2].Addr: 203.0.113.1 is also Gateway.NextHops[0]`},
	{"floating IP inside", fip("10.0.0.8", "10.0.0.7"), `FloatingIPs[2].Addr: 10.0.0.8 is in 10.0.0.0/24 of Ports[0].Addrs[0], not on the external network`},
	{"floating IP for broadcasts", fip("203.0.113.255", "10.0.0.7"), `FloatingIPs[2].Addr: 203.0.113.255 is the broadcast address of 203.0.113.0/24`},
	{"fixed nowhere", fip("203.0.113.7", "10.0.9.7"), `FloatingIPs[2].Fixed: 10.0.9.7 is in no subnet of the router`},
	{"fixed outside", fip("203.0.113.7", "203.0.113.8"), `FloatingIPs[2].Fixed: 203.0.113.8 is in 203.0.113.0/24 of the gateway, not of an internal port`},
	{"fixed is own", fip("203.0.113.7", "10.0.0.1"), `FloatingIPs[2].Fixed: 10.0.0.1 is the router's own address, Ports[0].Addrs[0]`},
	{"fixed twice", fip("203.0.113.7", "10.0.0.5"), `FloatingIPs[2].Fixed: 10.0.0.5 has a floating IP already, FloatingIPs[0]`},
	{"fixed for broadcasts", fip("203.0.113.7", "10.0.0.255"), `FloatingIPs[2].Fixed: 10.0.0.255 is the broadcast address of 10.0.0.0/24`},
	{"fixed of IPv6", fip("203.0.113.7", "2001:db8:0:1::7"), `FloatingIPs[2].Fixed: 2001:db8:0:1::7 is not an IPv4 address`},

	{"too many routes", func(r *dataplane.Router) { r.Routes = manyRoutes(10_001) }, `Routes: 10001 routes, and 10000 at most are allowed`},
	{"route twice", route("10.9.0.0/16", "10.0.1.9"), `Routes[1]: is the same as Routes[0]`},
	{"route with host bits", route("10.8.0.1/16", "10.0.1.9"), `Routes[1].Dest: 10.8.0.1/16 has host bits: did you mean 10.8.0.0/16?`},
	{"route without destination", func(r *dataplane.Router) { r.Routes[0].Dest = netip.Prefix{} }, `Routes[0].Dest: is missing`},
	{"route to multicast", route("224.0.0.0/4", "10.0.1.9"), `Routes[1].Dest: 224.0.0.0/4 is of multicast addresses`},
	{"route to loopback", route("127.0.0.0/8", "10.0.1.9"), `Routes[1].Dest: 127.0.0.0/8 is of loopback addresses`},
	{"route to link-local", route("fe80::/64", "2001:db8:0:1::9"), `Routes[1].Dest: fe80::/64 is of link-local addresses, which are never forwarded`},
	{"route to mapped", route("::ffff:10.0.0.0/104", "2001:db8:0:1::9"), `Routes[1].Dest: ::ffff:10.0.0.0/104 is of IPv4-mapped IPv6 addresses`},
	{"route to everyone", route("255.255.255.255/32", "10.0.1.9"), `Routes[1].Dest: 255.255.255.255 is the broadcast address`},
	{"route via nothing", func(r *dataplane.Router) { r.Routes[0].NextHop = netip.Addr{} }, `Routes[0].NextHop: is missing`},
	{"route via the other family", route("10.8.0.0/16", "2001:db8:0:1::9"), `Routes[1].NextHop: 2001:db8:0:1::9 is not of the family of 10.8.0.0/16`},
	{"route via link-local", route("2001:db8:8::/48", "fe80::9"), `Routes[1].NextHop: fe80::9 is a link-local address, and could be on any port`},
	{"route via nowhere", route("10.8.0.0/16", "10.0.9.9"), `Routes[1].NextHop: 10.0.9.9 is in no subnet of the router`},
	{"route via own", route("10.8.0.0/16", "10.0.1.1"), `Routes[1].NextHop: 10.0.1.1 is the router's own address, Ports[1].Addrs[0]`},
	{"route via floating IP", route("10.8.0.0/16", "203.0.113.6"), `FloatingIPs[1].Addr: 203.0.113.6 is also Routes[1].NextHop`},
	{"route via broadcast", route("10.8.0.0/16", "10.0.1.255"), `Routes[1].NextHop: 10.0.1.255 is the broadcast address of 10.0.1.0/24`},
	{"route away from another's next hop", func(r *dataplane.Router) {
		route("2001:db8:8::/48", "2001:db8:0:2::9")(r)
		route("2001:db8:0:2::8/125", "2001:db8:0:1::9")(r)
	}, `Routes[2].Dest: 2001:db8:0:2::8/125 holds 2001:db8:0:2::9, which is Routes[1].NextHop on Ports[1], and leads out by another port`},
	{"route away from its own next hop", func(r *dataplane.Router) {
		route("2001:db8:0:2::9/128", "2001:db8:0:2::9")(r)
		route("2001:db8:0:2::9/128", "2001:db8:0:1::9")(r)
	}, `Routes[1].Dest: 2001:db8:0:2::9/128 holds 2001:db8:0:2::9, which is Routes[1].NextHop on Ports[1], and leads out by another port`},
	{"route away from the gateway's next hop", func(r *dataplane.Router) {
		nextHops("2001:db8:99::1")(r)
		route("2001:db8:99::1/128", "2001:db8:0:1::9")(r)
	}, `Routes[1].Dest: 2001:db8:99::1/128 holds 2001:db8:99::1, which is Gateway.NextHops[0] on Gateway, and leads out by another port`},
	{"too many next hops", func(r *dataplane.Router) {
		r.Ports[0].Addrs[0] = prefix("10.0.0.1/24")
		r.Ports[1].Addrs[0] = prefix("10.1.0.1/16")
		r.FloatingIPs, r.Routes = nil, nil
		via := addr("10.1.1.1")
		for range 257 {
			r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("10.8.0.0/16"), NextHop: via})
			via = via.Next()
		}
	}, `Routes[256].Dest: 10.8.0.0/16 has more than 256 next hops`},
}

func addPort(address string) func(*dataplane.Router) {
	var a netip.Prefix
	if address != "zero" {
		a = prefix(address)
	}
	return func(r *dataplane.Router) {
		r.Ports = append(r.Ports, dataplane.Port{ID: "x", Network: network("x"), MAC: mac(9), MTU: 1500, Addrs: []netip.Prefix{a}})
	}
}

func netOf(kind dataplane.NetworkType, physical string, segment uint32) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.Ports[0].Network = dataplane.Network{ID: "net-web", Type: kind, Physical: physical, Segment: segment}
	}
}

func onLink(subnets ...string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		for _, s := range subnets {
			p, _ := netip.ParsePrefix(s) // the zero Prefix for what is none
			r.Gateway.OnLink = append(r.Gateway.OnLink, p)
		}
	}
}

func nextHops(addrs ...string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.Gateway.NextHops = nil
		for _, a := range addrs {
			r.Gateway.NextHops = append(r.Gateway.NextHops, addr(a))
		}
	}
}

func fip(a, fixed string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: "fip-x", Addr: addr(a), Fixed: addr(fixed)})
	}
}

func route(dest, via string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.Routes = append(r.Routes, dataplane.Route{Dest: prefix(dest), NextHop: addr(via)})
	}
}

func manyRoutes(n int) []dataplane.Route {
	routes := make([]dataplane.Route, n)
	dest := addr("172.16.0.0")
	for i := range routes {
		routes[i] = dataplane.Route{Dest: netip.PrefixFrom(dest, 32), NextHop: addr("10.0.1.9")}
		dest = dest.Next()
	}
	return routes
}

func TestValidateNamesTheFault(t *testing.T) {
	for _, tt := range invalid {
		t.Run(tt.name, func(t *testing.T) {
			r := threeTier()
			tt.damage(&r)
			err := r.Validate()
			require.ErrorIs(t, err, dataplane.ErrInvalid)
			require.EqualError(t, err, "invalid router: "+tt.fault)
		})
	}
}

func TestValidateNetworkAndID(t *testing.T) {
	n := dataplane.Network{ID: "net", Type: dataplane.NetworkVLAN, Physical: "ext", Segment: 4094}
	require.NoError(t, n.Validate())
	n.ID, n.Segment = "n o", 4095
	err := n.Validate()
	require.ErrorIs(t, err, dataplane.ErrInvalid)
	require.ErrorContains(t, err, `Network.ID: "n o" has other characters`)
	require.ErrorContains(t, err, "Network.Segment: 4095 is not between 1 and 4094")
	require.NoError(t, dataplane.ValidateID("0a1b2c3d-4e5f"))
	require.ErrorIs(t, dataplane.ValidateID("a/b"), dataplane.ErrInvalid)
}

func TestValidateAccepts(t *testing.T) {
	tests := map[string]func(*dataplane.Router){
		"three tiers":                     func(*dataplane.Router) {},
		"nothing but an ID":               func(r *dataplane.Router) { *r = dataplane.Router{ID: "r"} },
		"a UUID":                          func(r *dataplane.Router) { r.ID = "5ad3a6b1-1c36-4f3c-8d0a-6f5e0a1b2c3d" },
		"names with every character":      func(r *dataplane.Router) { r.ID = "_aZ9.-" },
		"ten thousand routes":             func(r *dataplane.Router) { r.Routes = manyRoutes(10_000) },
		"ten thousand floating IPs":       func(r *dataplane.Router) { *r = manyFIPs(10_000) },
		"IPv4 link-local":                 addPort("169.254.1.1/24"),
		"a /31":                           addPort("10.5.0.0/31"),
		"a /32":                           addPort("10.5.0.5/32"),
		"an IPv6 address that ends in 0":  addPort("2001:db8:5::/64"),
		"IPv4 alone on a small MTU":       func(r *dataplane.Router) { r.Ports[0].Addrs, r.Ports[0].MTU = r.Ports[0].Addrs[:1], 68 },
		"next hop outside of the subnets": nextHops("192.0.2.1"),
		"IPv6 gateway by link-local alone": func(r *dataplane.Router) {
			r.Gateway.Addrs, r.Gateway.NextHops, r.FloatingIPs = nil, []netip.Addr{addr("fe80::1")}, nil
		},
		"on-link subnets, the gateway's own among them": onLink("203.0.113.0/24", "203.0.114.0/24", "2001:db8:1::/64"),
		"an on-link subnet of another family": func(r *dataplane.Router) {
			r.Gateway.Addrs, r.Gateway.NextHops = r.Gateway.Addrs[:1], r.Gateway.NextHops[:1]
			onLink("2001:db8:1::/64")(r)
		},
		"a floating IP, a next hop and a route's in an on-link subnet": func(r *dataplane.Router) {
			onLink("203.0.114.0/24")(r)
			fip("203.0.114.7", "10.0.0.7")(r)
			nextHops("203.0.114.1")(r)
			route("198.18.0.0/24", "203.0.114.9")(r)
		},
		"further addresses of the gateway in one subnet": func(r *dataplane.Router) {
			r.Gateway.Addrs = append(r.Gateway.Addrs, prefix("203.0.113.9/32"), prefix("203.0.113.8/32"), prefix("2001:db8:1::9/128"))
		},
		"a floating IP that is routed here":     fip("198.51.100.7", "10.0.0.7"),
		"a route to a connected subnet":         route("10.0.0.0/24", "10.0.1.9"),
		"a default route among extra routes":    route("0.0.0.0/0", "10.0.1.9"),
		"two ports on one network":              func(r *dataplane.Router) { r.Ports[1].Network = r.Ports[0].Network },
		"a network's type written out, and not": func(r *dataplane.Router) { r.Ports[1].Network = dataplane.Network{ID: "net-web", Type: "local"} },
		"one MAC on two networks":               func(r *dataplane.Router) { r.Ports[1].MAC = r.Ports[0].MAC },
		"flat":                                  netOf("flat", "public", 0),
		"flat, on a bridge of its own":          netOf("flat", "", 0),
		"vlan":                                  netOf("vlan", "public", 4094),
		"vxlan":                                 netOf("vxlan", "", 1<<24-1),
		"geneve":                                netOf("geneve", "", 1),
		"gre":                                   netOf("gre", "", 1<<32-1),
		"gateway and port of one name, cut apart": func(r *dataplane.Router) { r.Ports[0].ID, r.Gateway.ID = "0123456789ab", "0123456789ac" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := threeTier()
			change(&r)
			require.NoError(t, r.Validate())
		})
	}
}

func TestValidateListsEveryFaultAtOnce(t *testing.T) {
	r := threeTier()
	r.ID = ""
	r.Ports[0].MTU = 0
	r.Ports[1].MAC = dataplane.MAC{}
	r.Gateway.NextHops = []netip.Addr{addr("203.0.113.2")}
	r.FloatingIPs[1].Fixed = addr("10.0.9.7")
	r.Routes[0].NextHop = addr("10.0.9.9")

	err := r.Validate()
	var faults dataplane.Faults
	require.True(t, errors.As(err, &faults))
	paths := make([]string, len(faults))
	for i, f := range faults {
		paths[i] = f.Path
	}
	require.Equal(t, []string{"ID", "Ports[0].MTU", "Ports[1].MAC", "Gateway.NextHops[0]", "Routes[0].NextHop", "FloatingIPs[1].Fixed"}, paths)
	require.Equal(t, len(faults), strings.Count(err.Error(), "\n  "), "one line a fault: %v", err)

	text, err := json.Marshal(faults[:1])
	require.NoError(t, err)
	require.JSONEq(t, `[{"path": "ID", "problem": "is empty"}]`, string(text))
}

func TestGeneratedRoutersAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRouter().Draw(t, "router")
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzValidate: no router, however nonsensical, makes Validate panic; and what it accepts can be
// traced, compared and applied.
func FuzzValidate(f *testing.F) {
	seed := func(r dataplane.Router) {
		text, err := json.Marshal(r)
		if err != nil {
			return // an address that JSON has no notation for
		}
		f.Add(text)
	}
	seed(threeTier())
	seed(edge())
	seed(centre())
	for _, tt := range invalidInstances {
		r := edge()
		tt.change(&r)
		seed(r)
	}
	for _, tt := range invalid {
		r := threeTier()
		tt.damage(&r)
		if len(r.Routes) < 300 {
			seed(r)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r dataplane.Router
		if json.Unmarshal(text, &r) != nil {
			return
		}
		err := r.Validate()
		if err != nil {
			require.ErrorIs(t, err, dataplane.ErrInvalid)
			_ = err.Error()
		}
		m := dataplane.NewModel(r)
		for _, p := range somePackets(r) {
			require.NotEmpty(t, m.Trace(p).Verdict)
		}
		require.True(t, r.Equal(r.Clone()))
		if err != nil {
			return
		}
		fake := dataplane.NewFake(nil)
		_, err = fake.Apply(t.Context(), r)
		require.NoError(t, err)
		again, err := fake.Apply(t.Context(), r)
		require.NoError(t, err)
		require.True(t, again.Empty(), "%s", again)
	})
}

// somePackets are packets among the addresses of a router that need not be valid.
func somePackets(r dataplane.Router) []dataplane.Packet {
	in, addrs := []string{"", "none"}, []netip.Addr{{}, addr("198.51.100.9"), addr("2001:db8:e::9"), addr("fe80::1%eth0")}
	for _, p := range r.Ports {
		in = append(in, p.ID)
		for _, a := range p.Addrs {
			addrs = append(addrs, a.Addr(), a.Addr().Next())
		}
	}
	for _, f := range r.FloatingIPs {
		addrs = append(addrs, f.Addr, f.Fixed)
	}
	if tr := r.Transit; tr != nil {
		in = append(in, tr.ID)
		addrs = append(addrs, tr.Elsewhere...)
		for _, f := range tr.External {
			addrs = append(addrs, f.Dest.Addr())
		}
	}
	const most = 12
	in, addrs = in[:min(len(in), most)], addrs[:min(len(addrs), most)]
	var packets []dataplane.Packet
	for _, port := range in {
		for _, src := range addrs {
			for _, dst := range addrs {
				packets = append(packets, dataplane.Packet{In: port, Src: src, Dst: dst, Proto: dataplane.ICMP})
			}
		}
	}
	return packets
}

func BenchmarkValidate(b *testing.B) {
	for _, n := range []int{0, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := manyFIPs(n)
			for b.Loop() {
				if err := r.Validate(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
