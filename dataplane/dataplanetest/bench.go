package dataplanetest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/l3kit/l3kit/dataplane"
)

// Benchmarks measures a dataplane: what a new router costs, one floating IP more beside many, and
// nothing to do.
func Benchmarks(b *testing.B, newHarness func(testing.TB) Harness) {
	for _, n := range []int{0, 1000} {
		b.Run(strings.TrimSuffix(fmt.Sprintf("apply-new-%d", n), "-0"), func(b *testing.B) {
			dp := newHarness(b).Dataplane()
			for b.Loop() {
				measured(b, dp, large(n))
				b.StopTimer()
				if err := dp.Delete(b.Context(), "big"); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
	for _, n := range []int{0, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("fip-add-%d", n), func(b *testing.B) {
			dp := newHarness(b).Dataplane()
			few, more := large(n), large(n+1)
			measured(b, dp, few)
			for b.Loop() {
				measured(b, dp, more)
				b.StopTimer()
				measured(b, dp, few)
				b.StartTimer()
			}
		})
	}
	for _, n := range []int{0, 10_000} {
		b.Run(strings.TrimSuffix(fmt.Sprintf("apply-same-%d", n), "-0"), func(b *testing.B) {
			dp := newHarness(b).Dataplane()
			r := large(n)
			measured(b, dp, r)
			for b.Loop() {
				measured(b, dp, r)
			}
		})
	}
}

func measured(b *testing.B, dp dataplane.Dataplane, r dataplane.Router) {
	if _, err := dp.Apply(b.Context(), r); err != nil {
		b.Fatal(err)
	}
}

// large is a router with two internal ports, a gateway with SNAT, and so many floating IPs.
func large(fips int) dataplane.Router {
	r := dataplane.Router{
		ID:    "big",
		Ports: []dataplane.Port{port("web", 1, "10.1.0.1/16"), port("app", 2, "10.2.0.1/16")},
		Gateway: &dataplane.Gateway{
			Port: port("ext", 9, "203.0.113.2/24"), NextHops: addrs("203.0.113.1"), SNAT: true,
		},
		FloatingIPs: make([]dataplane.FloatingIP, fips),
	}
	for i := range r.FloatingIPs {
		at := func(a, b byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, byte(i/250 + 1), byte(i%250 + 1)}) }
		r.FloatingIPs[i] = dataplane.FloatingIP{ID: fmt.Sprint("fip-", i), Addr: at(100, 64), Fixed: at(10, 1)}
	}
	return r
}
