package dataplane_test

import (
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// The part of a distributed router on one host, an edge. 10.0.0.5 is here, 10.0.1.6 on the host of
// another edge, and the centre has everything else.
func ExampleTransit() {
	leg := func(id string, last byte, addr string, here ...netip.Addr) dataplane.Port {
		return dataplane.Port{
			ID: id, Network: dataplane.Network{ID: id + "-net", Type: dataplane.NetworkVXLAN, Segment: uint32(last)},
			MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, last}, MTU: 1450, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)},
			Anycast: &dataplane.Anycast{Neighbours: here},
		}
	}
	another, centre := netip.MustParseAddr("169.254.64.3"), netip.MustParseAddr("169.254.64.1")
	edge := dataplane.Router{
		ID:    "blue",
		Ports: []dataplane.Port{leg("web", 1, "10.0.0.1/24", netip.MustParseAddr("10.0.0.5"))},
		Transit: &dataplane.Transit{
			Port: dataplane.Port{
				ID: "t", Network: dataplane.Network{ID: "blue-transit", Type: dataplane.NetworkVXLAN, Segment: 9},
				MAC: dataplane.MAC{0xfe, 0, 0, 0, 0, 2}, MTU: 1450, Addrs: []netip.Prefix{netip.MustParsePrefix("169.254.64.2/18")},
			},
			Routes: []dataplane.Route{
				{Dest: netip.MustParsePrefix("10.0.0.0/24"), NextHop: centre},
				{Dest: netip.MustParsePrefix("10.0.1.0/24"), NextHop: centre},
				{Dest: netip.MustParsePrefix("10.0.1.6/32"), NextHop: another},
			},
			Centre: []netip.Addr{centre},
		},
	}
	if err := edge.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	for _, dst := range []string{"10.0.1.6", "198.51.100.9"} {
		fmt.Println(edge.Trace(dataplane.Packet{In: "web", Src: netip.MustParseAddr("10.0.0.5"), Dst: netip.MustParseAddr(dst), Proto: dataplane.ICMP}))
	}
	// Output:
	// icmp 10.0.0.5 → 10.0.1.6: forwarded by t to 169.254.64.3, as 10.0.0.5 → 10.0.1.6
	//   ingress      arrives by port web
	//   routing      10.0.1.6 is in 10.0.1.6/32, which another instance has: 169.254.64.3
	//   egress       leaves by the transit t to 169.254.64.3
	// icmp 10.0.0.5 → 198.51.100.9: forwarded by t to 169.254.64.1, as 10.0.0.5 → 198.51.100.9
	//   ingress      arrives by port web
	//   routing      198.51.100.9 takes the default route via 169.254.64.1
	//   egress       leaves by the transit t to 169.254.64.1
}
