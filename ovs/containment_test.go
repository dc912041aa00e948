package ovs_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// Two hosts have an edge of a router, a third has an edge beside the centre, and a fourth has no
// part of the router. Workloads take the edge of their host for their gateway, or else the centre.
// The steps hold what was found when it was first tried by hand (TRIED.md A, by its numbers):
// announcements 1b, unlisted workloads 1c and 2, floods 1a, the third host 8, and the last two, with
// every cable, 9 and DISTRIBUTED.md D4.
func TestContainment(t *testing.T) {
	for _, kind := range []dataplane.NetworkType{dataplane.NetworkVXLAN, dataplane.NetworkVLAN, dataplane.NetworkFlat} {
		t.Run(string(kind), func(t *testing.T) { testContainment(t, kind) })
	}
}

func testContainment(t *testing.T, kind dataplane.NetworkType) {
	step := func(name string, do func()) {
		t.Log(name)
		do()
	}
	list, cables, network := wired(t, kind, 4)
	one, two, third, fourth := list[0], list[1], list[2], list[3]
	vm1, vm2, vm3, vm4 := one.tenant(network, 11), two.tenant(network, 12), third.tenant(network, 13), fourth.tenant(network, 14)
	leg1, leg2 := one.resident("edge", legPort("leg", network)), two.resident("edge", legPort("leg", network))
	centre := third.resident("centre", centrePort("centre", network))
	by := func(mac dataplane.MAC) map[string]dataplane.MAC {
		return map[string]dataplane.MAC{gateway4: mac, gateway6: mac}
	}

	// The centre is alone on its host at first.
	for _, at := range []struct {
		vm      *party
		gateway dataplane.MAC
	}{{vm1, anycastMAC}, {vm2, anycastMAC}, {vm3, centreMAC}, {vm4, centreMAC}} {
		require.Equal(t, by(at.gateway), at.vm.pings(), at.vm.name)
		centre.finds(at.vm)
		require.Equal(t, by(at.gateway), at.vm.pings(), at.vm.name)
	}
	leg3 := third.resident("edge", legPort("leg", network))
	legs, withEdge := []*party{leg1, leg2, leg3}, []*party{vm1, vm2, vm3}
	vms := append(slices.Clone(withEdge), vm4)
	vm3.forgets()
	vm4.forgets()
	vm3.look()
	vm3.seen = nil // from the time before its edge

	step("the gateway", func() {
		for _, vm := range withEdge {
			require.Equal(t, by(anycastMAC), vm.pings(), vm.name)
		}
		require.Equal(t, by(centreMAC), vm4.pings())
		for i, leg := range legs {
			leg.look()
			require.True(t, slices.ContainsFunc(leg.seen, func(f frame) bool { return f.src == withEdge[i].mac && f.dst == anycastMAC }), leg.name)
		}
	})

	step("announcements", func() {
		centre.send(
			arpFrame(everybody, 1, centreMAC, gateway4, dataplane.MAC{}, gateway4),
			arpFrame(everybody, 2, centreMAC, gateway4, centreMAC, gateway4),
			arpFrame(everybody, 2, centreMAC, gateway4, vm1.mac, vm1.addrs[0]),
			announcement(centreMAC, gateway6),
		)
		centre.asksInVain("2001:db8:a::99") // from its own address, which workloads would learn
		vm4.sees(func(f frame) bool { kind, src, _ := f.ndp(); return kind == 135 && src == addr(gateway6) }, "a solicitation")
		centre.fence(vm1.tap, vm2.tap, vm3.tap, vm4.tap)
		claims := func(f frame) bool {
			a, isARP := f.arp()
			kind, src, target := f.ndp()
			return f.src == centreMAC && (isARP && a.spa == addr(gateway4) || kind == 136 && target == addr(gateway6) || kind == 135 && src == addr(gateway6))
		}
		for _, vm := range withEdge {
			vm.neither(claims, "an announcement")
			require.Equal(t, by(anycastMAC), map[string]dataplane.MAC{gateway4: vm.neighbour(gateway4), gateway6: vm.neighbour(gateway6)}, vm.name)
		}
		requests, replies, advertisements := 0, 0, 0
		for _, f := range vm4.seen {
			a, isARP := f.arp()
			if claims(f) && f.dst[0]&1 == 1 {
				requests += count(isARP && a.op == 1 && a.tpa == a.spa)
				replies += count(isARP && a.op == 2)
				kind, _, _ := f.ndp()
				advertisements += count(kind == 136)
			}
		}
		require.Equal(t, []int{1, 2, 1}, []int{requests, replies, advertisements}, "a host without an edge hears them")
	})

	step("unlisted workloads", func() {
		centre.forgets()
		for _, vm := range vms {
			centre.finds(vm)
		}
		for _, vm := range withEdge {
			vm.sees(func(f frame) bool {
				a, ok := f.arp()
				return ok && f.src == centreMAC && a.op == 1 && a.spa == addr("0.0.0.0") && a.tpa == addr(vm.addrs[0])
			}, "a probe")
			require.Equal(t, by(anycastMAC), vm.pings(), vm.name)
		}
		require.Equal(t, by(centreMAC), vm4.pings())
	})

	step("floods", func() {
		stranger := dataplane.MAC{2, 0xaa, 0, 0, 0, 1}
		for _, dst := range []dataplane.MAC{everybody, {0x33, 0x33, 0, 0, 0, 0xfb}, {2, 0xbb, 0, 0, 0, 1}} {
			vm4.send(frame{dst, stranger, fenceKind, []byte("from the fourth host")})
		}
		vm4.send(arpFrame(everybody, 1, stranger, "10.0.1.99", dataplane.MAC{}, "10.0.1.99")) // a virtual IP comes
		for i, vm := range withEdge {
			require.Eventually(t, func() bool { // one may overtake another
				vm.look()
				return len(slices.DeleteFunc(slices.Clone(vm.seen), func(f frame) bool { return f.src != stranger })) == 4
			}, time.Minute, 2*time.Millisecond, vm.name)
			vm.fence(legs[i].tap)
			legs[i].neither(func(f frame) bool { return f.src == stranger }, "a flood from another host")
		}
		vm1.send(arpFrame(everybody, 1, vm1.mac, "10.0.1.98", dataplane.MAC{}, "10.0.1.98"))
		leg1.sees(func(f frame) bool { a, ok := f.arp(); return ok && a.spa == addr("10.0.1.98") }, "a virtual IP on its host")
		vm4.sees(func(f frame) bool { a, ok := f.arp(); return ok && a.spa == addr("10.0.1.98") }, "a virtual IP")
	})

	step("what legs send", func() {
		for i, leg := range legs {
			for _, address := range vms[(i+1)%3].addrs {
				leg.asksInVain(address)
			}
			leg.finds(withEdge[i])
			leg.send(
				arpFrame(everybody, 1, anycastMAC, gateway4, dataplane.MAC{}, gateway4), announcement(anycastMAC, gateway6),
				frame{dataplane.MAC{2, 0xbb, 0, 0, 0, 2}, anycastMAC, fenceKind, []byte("to nobody")},
				frame{vm4.mac, anycastMAC, fenceKind, []byte("to another host")},
				frame{centreMAC, anycastMAC, fenceKind, []byte("to the centre")},
			)
			leg.fence(withEdge[i].tap)
			withEdge[i].sees(func(f frame) bool { return f.src == anycastMAC && bytes.HasPrefix(f.payload, []byte("to nobody")) }, "a flood of its edge")
		}
		vm1.send(frame{everybody, anycastMAC, fenceKind, []byte("from who is no leg")})
		leg1.fence(vm1.tap)
		vm4.fence(vm1.tap)
		centre.neither(func(f frame) bool { return f.src == anycastMAC && f.dst == centreMAC }, "a frame of a leg")
		vm4.neither(func(f frame) bool { return f.src == anycastMAC }, "a frame of a leg")
	})

	step("to a leg that is forgotten", func() {
		for i, vm := range withEdge {
			vm.node.appctl("fdb/flush", "br-int")
			vm.send(frame{anycastMAC, vm.mac, fenceKind, []byte("to the leg")})
			legs[i].sees(func(f frame) bool { return f.src == vm.mac && bytes.HasPrefix(f.payload, []byte("to the leg")) }, "an unknown unicast")
		}
		centre.send(frame{anycastMAC, centreMAC, fenceKind, []byte("from the centre")})
		centre.fence(vm3.tap)
		vm3.fence(leg3.tap)
		leg3.neither(func(f frame) bool { return f.src == centreMAC && f.dst == anycastMAC }, "a frame of the centre")
	})

	step("on the wire", func() {
		vm1.fence(vm2.tap, vm4.tap)
		frames := 0
		for i, cable := range cables {
			cable.look()
			frames += len(cable.seen)
			for _, f := range slices.Concat(cable.seen, cable.sent) {
				require.NotEqual(t, anycastMAC, f.src, "%s: %s", cable.name, f)
				require.NotEqual(t, anycastMAC, f.dst, "%s: %s", cable.name, f)
			}
			for _, f := range cable.seen { // which the host has sent
				a, isARP := f.arp()
				kind, _, target := f.ndp()
				asks := isARP && a.op == 1 && a.tpa == addr(gateway4) && a.spa != a.tpa || kind == 135 && target == addr(gateway6)
				require.False(t, asks && i != 3 && (i != 2 || f.src != vm3.mac), "%s: %s", cable.name, f)
			}
		}
		require.NotZero(t, frames)
	})

	step("a host that does not contain", func() {
		for _, nd := range list {
			nd.appctl("fdb/flush", "br-int")
		}
		vm4.send(
			frame{anycastMAC, vm4.mac, fenceKind, []byte("leaked")},
			arpFrame(everybody, 1, anycastMAC, gateway4, dataplane.MAC{}, gateway4),
			frame{everybody, anycastMAC, fenceKind, []byte("leaked")},
			arpFrame(everybody, 1, vm4.mac, vm4.addrs[0], dataplane.MAC{}, gateway4),
		)
		for i, vm := range withEdge {
			vm4.fence(vm.tap)
			vm.fence(legs[i].tap)
			vm.neither(func(f frame) bool {
				kind, _, target := f.ndp()
				return f.src == vm4.mac && kind == 135 && target == addr(gateway6)
			}, "a solicitation of the gateway")
			for _, p := range []*party{vm, legs[i]} {
				p.neither(func(f frame) bool { return bytes.HasPrefix(f.payload, []byte("leaked")) }, "what leaked")
				p.neither(func(f frame) bool {
					a, ok := f.arp()
					return ok && f.src == vm4.mac && a.tpa == addr(gateway4)
				}, "a question for the gateway")
			}
			require.Equal(t, by(anycastMAC), vm.pings(), vm.name)
		}
	})
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
