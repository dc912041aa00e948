package ovs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/golden"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

func network(id string, vlan uint16, kind dataplane.NetworkType, physical string, segment uint32) localNetwork {
	return localNetwork{Network: dataplane.Network{ID: id, Type: kind, Physical: physical, Segment: segment}, VLAN: vlan}
}

// layouts are hosts as they may be; the last has everything.
func layouts() map[string]layout {
	peer := netip.MustParseAddr
	full := layout{
		Integration: "br-int", Tunnel: "br-tun",
		Networks: []localNetwork{
			network("local", 1, dataplane.NetworkLocal, "", 0),
			network("blue", 2, dataplane.NetworkVXLAN, "", 100),
			network("red", 3, dataplane.NetworkVXLAN, "", 101),
			network("green", 4, dataplane.NetworkGeneve, "", 100),
			network("grey", 5, dataplane.NetworkGRE, "", 100),
			network("external", 6, dataplane.NetworkFlat, "public", 0),
			network("office", 7, dataplane.NetworkVLAN, "public", 2),
			network("lab", 8, dataplane.NetworkVLAN, "other", 2),
		},
		Physical: []physicalBridge{{"public", "br-ex", 11, 21}, {"other", "br-lab", 12, 22}},
		Dead:     []uint32{9},
		PatchInt: 10, PatchTun: 20,
		Tunnels: []tunnelPort{
			{peer("192.0.2.2"), dataplane.NetworkVXLAN, 1}, {peer("2001:db8::3"), dataplane.NetworkVXLAN, 2},
			{peer("192.0.2.2"), dataplane.NetworkGeneve, 3}, {peer("192.0.2.2"), dataplane.NetworkGRE, 4},
		},
		Entries: []Entry{
			{"blue", dataplane.MAC{2, 0, 0, 0, 0, 1}, peer("10.0.0.1"), peer("192.0.2.2")},
			{"blue", dataplane.MAC{2, 0, 0, 0, 0, 1}, peer("2001:db8:1::1"), peer("192.0.2.2")},
			{"red", dataplane.MAC{2, 0, 0, 0, 0, 1}, peer("10.0.0.1"), peer("2001:db8::3")},
			{"red", dataplane.MAC{2, 0, 0, 0, 0, 9}, peer("10.0.0.9"), peer("192.0.2.99")}, // a host without a tunnel
			{"green", dataplane.MAC{2, 0, 0, 0, 0, 1}, netip.Addr{}, peer("192.0.2.2")},
		},
	}
	provider := full
	provider.Tunnel, provider.Networks = "", full.Networks[5:7]
	provider.Physical, provider.Dead = full.Physical[:1], nil
	alone := full
	alone.Tunnels, alone.Entries, alone.Physical, alone.Dead = nil, nil, nil, nil
	alone.Networks = full.Networks[:2]
	early := full // its ports have no numbers yet
	early.PatchInt, early.PatchTun, early.Tunnels = 0, 0, []tunnelPort{{peer("192.0.2.2"), dataplane.NetworkVXLAN, 0}}
	early.Physical, early.Dead = []physicalBridge{{"public", "br-ex", 0, 21}}, []uint32{0}
	distributed := full
	distributed.Networks = full.Networks[1:7]
	distributed.Entries = nil
	leg, centre := dataplane.MAC{0xfa, 0x16, 0x3e, 0xa, 0xa, 0xa}, dataplane.MAC{0xfa, 0x16, 0x3e, 0xc, 0xa, 0xa}
	addrs := []netip.Addr{peer("10.0.1.1"), peer("2001:db8:a::1")}
	distributed.Contained = []containedPort{
		{"blue", 31, true, leg, addrs},
		{"green", 32, true, leg, addrs}, {"green", 33, true, dataplane.MAC{0xfa, 0x16, 0x3e, 0xb, 0xb, 0xb}, []netip.Addr{peer("10.0.1.2")}},
		{"external", 34, true, leg, addrs[:1]}, {"external", 35, false, centre, addrs[:1]},
		{"office", 36, true, leg, addrs[:1]},
		{"grey", 37, false, centre, addrs}, // needs none
	}
	return map[string]layout{"distributed": distributed, "empty": {Integration: "br-int"}, "provider": provider, "alone": alone, "early": early, "full": full}
}

// text is flows for people: one line each, by bridge, in the order of tables.
func text(flows map[string][]openflow.Flow) string {
	var b strings.Builder
	for _, bridge := range slices.Sorted(maps.Keys(flows)) {
		fmt.Fprintf(&b, "# %s\n", bridge)
		list := slices.Clone(flows[bridge])
		slices.SortStableFunc(list, func(x, y openflow.Flow) int { return int(x.Table) - int(y.Table) })
		for _, f := range list {
			b.WriteString(f.String() + "\n")
		}
	}
	return b.String()
}

// The flows of a layout are those in testdata.
func TestFlows(t *testing.T) {
	for name, l := range layouts() {
		t.Run(name, func(t *testing.T) {
			golden.Require(t, name+".flows", text(l.flows()))
		})
	}
}

// randomLayout may contradict itself: segments, VLANs and ports that several claim, and ports that
// are missing.
func randomLayout(t *rapid.T) layout {
	l := layout{
		Integration: "br-int", Tunnel: rapid.SampledFrom([]string{"", "br-tun"}).Draw(t, "tunnel"),
		PatchInt: rapid.Uint32Max(1).Draw(t, "patch"), PatchTun: rapid.Uint32Max(1).Draw(t, "patch"),
		Dead: rapid.SliceOfN(rapid.Uint32Max(4), 0, 3).Draw(t, "dead"),
	}
	kinds := rapid.SampledFrom([]dataplane.NetworkType{
		dataplane.NetworkLocal, dataplane.NetworkFlat, dataplane.NetworkVLAN, dataplane.NetworkVXLAN, dataplane.NetworkGeneve, dataplane.NetworkGRE,
	})
	physicals := []string{"a", "b"}
	peers := rapid.Map(rapid.Uint8Range(1, 4), func(n uint8) netip.Addr {
		if n == 4 {
			return netip.MustParseAddr("2001:db8::1")
		}
		return netip.AddrFrom4([4]byte{192, 0, 2, n})
	})
	ports := rapid.SampledFrom([]uint32{0, 2, 3, 4}) // 1 is the patch port
	for i := range rapid.IntRange(0, 8).Draw(t, "networks") {
		kind := kinds.Draw(t, "kind")
		n := network(fmt.Sprintf("n%d", i), rapid.Uint16Range(0, 8).Draw(t, "VLAN"), kind, "", rapid.Uint32Range(1, 4).Draw(t, "segment"))
		if kind == dataplane.NetworkFlat || kind == dataplane.NetworkVLAN {
			n.Network.Physical = rapid.SampledFrom(physicals).Draw(t, "physical")
		}
		l.Networks = append(l.Networks, n)
	}
	for range rapid.IntRange(0, 3).Draw(t, "bridges") {
		l.Physical = append(l.Physical, physicalBridge{
			Name: rapid.SampledFrom(physicals).Draw(t, "physical"), Bridge: rapid.SampledFrom([]string{"br-ex", "br-lab"}).Draw(t, "bridge"),
			Int: rapid.Uint32Max(9).Draw(t, "int"), Phy: rapid.Uint32Max(3).Draw(t, "phy"),
		})
	}
	for range rapid.IntRange(0, 5).Draw(t, "tunnels") {
		l.Tunnels = append(l.Tunnels, tunnelPort{peers.Draw(t, "peer"), kinds.Draw(t, "kind"), ports.Draw(t, "port")})
	}
	for range rapid.IntRange(0, 5).Draw(t, "contained") {
		l.Contained = append(l.Contained, containedPort{
			Network: fmt.Sprintf("n%d", rapid.IntRange(0, 8).Draw(t, "network")), Port: ports.Draw(t, "port"),
			Anycast: rapid.Bool().Draw(t, "anycast"), MAC: dataplane.MAC{2, 5: rapid.Uint8Max(2).Draw(t, "MAC")},
			Addrs: rapid.SliceOfNDistinct(rapid.SampledFrom([]netip.Addr{
				netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::1"),
			}), 0, 3, rapid.ID).Draw(t, "addrs"),
		})
	}
	for range rapid.IntRange(0, 8).Draw(t, "entries") {
		l.Entries = append(l.Entries, Entry{
			Network: fmt.Sprintf("n%d", rapid.IntRange(0, 8).Draw(t, "network")), MAC: dataplane.MAC{2, 5: rapid.Byte().Draw(t, "MAC")},
			Addr: rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("2001:db8::1")}).Draw(t, "addr"),
			Peer: peers.Draw(t, "peer"),
		})
	}
	return l
}

// Whatever a layout says, no two flows claim one place in a table, and the order of things does not
// matter.
func TestFlowsOfAnyLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := randomLayout(t)
		flows := l.flows()
		for bridge, list := range flows {
			places := map[openflow.Flow]bool{}
			for _, f := range list {
				place := f
				place.Actions = ""
				require.False(t, places[place], "%s: %s", bridge, f)
				places[place] = true
			}
		}
		shuffled := l
		shuffled.Networks, shuffled.Physical, shuffled.Dead = shuffle(t, l.Networks), shuffle(t, l.Physical), shuffle(t, l.Dead)
		shuffled.Tunnels, shuffled.Entries = shuffle(t, l.Tunnels), shuffle(t, l.Entries)
		shuffled.Contained = shuffle(t, l.Contained)
		require.Equal(t, text(flows), text(shuffled.flows()))
	})
}

func shuffle[T any](t *rapid.T, list []T) []T {
	list = slices.Clone(list)
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// Taking a network away takes away those flows that name its local VLAN, and touches nothing else.
func TestFlowsOfANetworkAreItsOwn(t *testing.T) {
	full := layouts()["full"]
	for i, n := range full.Networks {
		without := full
		without.Networks = slices.Delete(slices.Clone(full.Networks), i, i+1)
		has, rest := full.flows(), without.flows()
		for bridge, flows := range has {
			for _, f := range rest[bridge] {
				require.Contains(t, flows, f, bridge)
			}
			for _, f := range flows {
				names := strings.Contains(f.Actions, setVLAN(n.VLAN))
				if bridge != full.Integration { // where frames come in with the tags of others
					names = names || strings.Contains(","+f.Match+",", fmt.Sprintf(",dl_vlan=%d,", n.VLAN))
				}
				if bridge == "br-ex" || bridge == "br-lab" { // where they leave with them
					names = strings.Contains(","+f.Match+",", fmt.Sprintf(",dl_vlan=%d,", n.VLAN))
				}
				require.Equal(t, names, !slices.Contains(rest[bridge], f), "%s on %s: %s", n.Network.ID, bridge, f)
			}
		}
	}
}

// A peer more costs a handful of flows, however many networks there are.
func TestFlowsOfAPeerAreFew(t *testing.T) {
	l := layouts()["full"]
	for i := range 1000 {
		l.Networks = append(l.Networks, network(fmt.Sprintf("n%d", i), uint16(100+i), dataplane.NetworkVXLAN, "", uint32(1000+i)))
	}
	more := l
	more.Tunnels = append(slices.Clone(l.Tunnels), tunnelPort{netip.MustParseAddr("192.0.2.77"), dataplane.NetworkVXLAN, 77})
	before := map[openflow.Flow]bool{}
	for _, f := range l.flows()["br-tun"] {
		before[f] = true
	}
	after := slices.DeleteFunc(more.flows()["br-tun"], func(f openflow.Flow) bool { return before[f] })
	require.Len(t, after, 3)
}

func TestPeerNumber(t *testing.T) {
	for peer, want := range map[string]string{
		"192.0.2.2": "0xc0000202", "::ffff:192.0.2.2": "0xc0000202", "2001:db8::3": "0x20010db8000000000000000000000003", "10.0.0.1": "0xa000001",
	} {
		require.Equal(t, want, peerNumber(netip.MustParseAddr(peer)))
	}
}

func BenchmarkFlows(b *testing.B) {
	l := layouts()["full"]
	for i := range 1000 {
		l.Networks = append(l.Networks, network(fmt.Sprintf("n%d", i), uint16(100+i), dataplane.NetworkVXLAN, "", uint32(1000+i)))
	}
	for b.Loop() {
		l.flows()
	}
}
