package dataplane_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// exampleRouter has one subnet, a gateway, and one floating IP.
func exampleRouter() dataplane.Router {
	return dataplane.Router{
		ID: "blue",
		Ports: []dataplane.Port{{
			ID:      "web",
			Network: dataplane.Network{ID: "web-net"},
			MAC:     dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1},
			Addrs:   []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
			MTU:     1500,
		}},
		Gateway: &dataplane.Gateway{
			Port: dataplane.Port{
				ID:      "ext",
				Network: dataplane.Network{ID: "public"},
				MAC:     dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 2},
				Addrs:   []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24")},
				MTU:     1500,
			},
			NextHops: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
			SNAT:     true,
		},
		FloatingIPs: []dataplane.FloatingIP{{ID: "f", Addr: netip.MustParseAddr("203.0.113.5"), Fixed: netip.MustParseAddr("10.0.0.5")}},
	}
}

// What becomes of a packet, and why.
func ExampleRouter_Trace() {
	fmt.Println(exampleRouter().Trace(dataplane.Packet{
		In:  "ext",
		Src: netip.MustParseAddr("198.51.100.9"), SrcPort: 40000,
		Dst: netip.MustParseAddr("203.0.113.5"), DstPort: 80,
		Proto: dataplane.TCP,
	}))
	// Output:
	// tcp 198.51.100.9:40000 → 203.0.113.5:80: forwarded by web to 10.0.0.5, as 198.51.100.9 → 10.0.0.5
	//   ingress      arrives by the gateway ext
	//   translation  203.0.113.5 is a floating IP of 10.0.0.5
	//   routing      10.0.0.5 is in 10.0.0.0/24, connected by port web
	//   egress       leaves by port web to 10.0.0.5
}

// Everything that is wrong is said at once.
func ExampleRouter_Validate() {
	r := exampleRouter()
	r.Ports[0].MTU = 0
	r.FloatingIPs[0].Fixed = netip.MustParseAddr("10.0.9.7")
	fmt.Println(r.Validate())
	// Output:
	// invalid router:
	//   Ports[0].MTU: 0 is not between 68 and 65535
	//   FloatingIPs[0].Fixed: 10.0.9.7 is in no subnet of the router
}

// A plan is a diff between the host and what is wanted. Here the host is a fake; a real one plans
// in the same words.
func ExamplePlan() {
	ctx, host := context.Background(), dataplane.NewFake(nil)
	r := exampleRouter()
	if _, err := host.Apply(ctx, r); err != nil {
		log.Fatal(err)
	}
	r.FloatingIPs[0].Fixed = netip.MustParseAddr("10.0.0.6")
	r.Gateway.SNAT = false
	plan, err := host.Plan(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan)
	// Output:
	// router blue
	//   ~ floating-ip 203.0.113.5: → 10.0.0.6, was → 10.0.0.5  !
	//   - rules no way in for untranslated IPv4  !
	//   - rules snat: to 203.0.113.2  !
}

// A test opens connections through a fake host and sees which of them a change ends.
func ExampleFakeHost_Open() {
	ctx, host := context.Background(), new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	r := exampleRouter()
	if _, err := fake.Apply(ctx, r); err != nil {
		log.Fatal(err)
	}
	outside := netip.MustParseAddr("198.51.100.9")
	in, _ := host.Open("blue", dataplane.Packet{In: "ext", Src: outside, Dst: netip.MustParseAddr("203.0.113.5"), Proto: dataplane.TCP})
	out, _ := host.Open("blue", dataplane.Packet{In: "web", Src: netip.MustParseAddr("10.0.0.7"), Dst: outside, Proto: dataplane.TCP})

	r.FloatingIPs = nil
	if _, err := fake.Apply(ctx, r); err != nil {
		log.Fatal(err)
	}
	fmt.Println("to the floating IP:", in.Alive())
	fmt.Println("by SNAT:", out.Alive())
	// Output:
	// to the floating IP: false
	// by SNAT: true
}

// Somebody else changes a router. Watch announces it, and Apply puts it right.
func ExampleWatcher() {
	ctx, host := context.Background(), new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	r := exampleRouter()
	if _, err := fake.Apply(ctx, r); err != nil {
		log.Fatal(err)
	}
	drifts, err := fake.Watch(ctx)
	if err != nil {
		log.Fatal(err)
	}
	host.Tamper("blue", func(r *dataplane.Router) { r.FloatingIPs = nil })
	drift := <-drifts
	fmt.Println(drift.Router, drift.Kind)
	plan, err := fake.Apply(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range plan.Steps {
		fmt.Println(step.Op, step.Kind, step.ID)
	}
	// Output:
	// blue floating-ip
	// + floating-ip f
	// + address f
}

// A program that bills for traffic reads counters from any dataplane that counts.
func ExampleCounterReader() {
	ctx, host := context.Background(), new(dataplane.FakeHost)
	var d dataplane.Dataplane = dataplane.NewFake(host)
	if _, err := d.Apply(ctx, exampleRouter()); err != nil {
		log.Fatal(err)
	}
	floating := netip.MustParseAddr("203.0.113.5")
	host.Count("blue", floating, dataplane.Counters{In: dataplane.Traffic{Packets: 3, Bytes: 180}})
	if c, ok := d.(dataplane.CounterReader); ok {
		counters, err := c.Counters(ctx, "blue")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(counters[floating].In.Packets, "packets in")
	}
	// Output: 3 packets in
}
