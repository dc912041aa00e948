package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/nftables"
	"github.com/l3kit/l3kit/ovs"
)

// node is a host that reaches others by an underlay.
type node struct {
	*host
	driver *ovs.Driver
	addr   netip.Addr // of its tunnel endpoint
	cable  string     // the underlay's device that leads to it
}

// nodes makes hosts on one underlay, that know nothing of each other yet.
func nodes(t *testing.T, n int) (*lab.Underlay, []*node) {
	t.Helper()
	list := make([]*node, n)
	for i := range list {
		list[i] = &node{host: newHost(t), addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})}
	}
	under, err := list[0].NewUnderlay()
	require.NoError(t, err)
	for _, nd := range list {
		nd.cable, err = under.Join(wiringtest.Soon(t), nd.Lab, nd.Switch, string(datapath()), netip.PrefixFrom(nd.addr, 24))
		require.NoError(t, err)
		nd.driver, err = ovs.New(wiringtest.Soon(t), ovs.Config{
			HostNS: nd.HostNS, Endpoints: []string{nd.Endpoint}, RunDir: nd.RunDir, Datapath: datapath(), Tunnel: ovs.Tunnel{Local: nd.addr},
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, nd.driver.Close()) })
	}
	return under, list
}

// acquaint tells each of some hosts about the others, and of no more.
func acquaint(t *testing.T, list ...*node) {
	t.Helper()
	var all []netip.Addr
	for _, nd := range list {
		all = append(all, nd.addr)
	}
	for _, nd := range list {
		require.NoError(t, nd.driver.SetPeers(wiringtest.Soon(t), all))
	}
}

const servicePort = 7000

// attach makes a workload with a service on a network, with the subnet's router as its next hop.
func (nd *node) attach(name string, network dataplane.Network, addr, router string) *lab.Host {
	nd.t.Helper()
	spec := lab.Spec{Name: name, Ports: []dataplane.Port{{Network: network, MTU: 1400, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}}}
	if router != "" {
		spec.NextHops = addrs(router)
	}
	w, err := nd.Attach(wiringtest.Soon(nd.t), nd.driver, spec)
	require.NoError(nd.t, err)
	s, err := w.Serve(servicePort)
	require.NoError(nd.t, err)
	nd.t.Cleanup(func() { s.Close() })
	return w
}

// apply makes a router on the host.
func (nd *node) apply(id string, ports ...dataplane.Port) {
	nd.t.Helper()
	dp, err := nftables.New(namespace.Config{Wiring: keptOpen{nd.driver}, HostNS: nd.HostNS, Dir: nd.Dir})
	require.NoError(nd.t, err)
	nd.t.Cleanup(func() { require.NoError(nd.t, dp.Close()) })
	_, err = dp.Apply(wiringtest.Soon(nd.t), dataplane.Router{ID: id, Ports: ports})
	require.NoError(nd.t, err)
}

// keptOpen is wiring that does not end with the dataplane.
type keptOpen struct{ namespace.InterfaceDriver }

func (keptOpen) Close() error { return nil }

func routerPort(id string, network dataplane.Network, n byte, addr string) dataplane.Port {
	return dataplane.Port{
		ID: id, Network: network, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, n}, MTU: 1400,
		Addrs: []netip.Prefix{netip.MustParsePrefix(addr)},
	}
}

// ask exchanges once with whoever has the address, and returns who that is.
func ask(ctx context.Context, from *lab.Host, proto dataplane.Proto, to string) (string, error) {
	c, err := from.Dial(ctx, proto, netip.AddrPort{}, netip.AddrPortFrom(addr(to), servicePort))
	if err != nil {
		return "", err
	}
	defer c.Close()
	seen, err := c.Exchange(ctx, 100)
	return seen.Host, err
}

func requireAnswer(t *testing.T, from *lab.Host, to, by string) {
	t.Helper()
	for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP} {
		who, err := ask(wiringtest.Soon(t), from, proto, to)
		require.NoError(t, err, "%s from %s to %s", proto, from.Name, to)
		require.Equal(t, by, who, "%s from %s to %s", proto, from.Name, to)
	}
}

func requireSilence(t *testing.T, from *lab.Host, to string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience(300*time.Millisecond))
	defer cancel()
	who, err := ask(ctx, from, dataplane.UDP, to)
	require.Error(t, err, "%s has reached %s at %s", from.Name, who, to)
}

// forget ends the search for neighbours that nobody could answer when it began: when it fails, so
// does what has been sent since.
func forget(t *testing.T, hosts ...*lab.Host) {
	t.Helper()
	for _, h := range hosts {
		require.NoError(t, h.Do(func() error {
			neighbours, err := netlink.NeighList(0, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, n := range neighbours {
				if n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) == 0 {
					continue
				}
				if err := netlink.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
					return err
				}
			}
			return nil
		}))
	}
}

// TestHostsReachEachOther has workloads of two networks on one host, and one of them, with the
// router, on the other.
func TestHostsReachEachOther(t *testing.T) {
	for _, kind := range []dataplane.NetworkType{dataplane.NetworkVXLAN, dataplane.NetworkGeneve, dataplane.NetworkGRE} {
		t.Run(string(kind), func(t *testing.T) {
			blue := dataplane.Network{ID: "blue", Type: kind, Segment: 0xb10e}
			green := dataplane.Network{ID: "green", Type: kind, Segment: 0x90ee}
			under, list := nodes(t, 2)
			a, b := list[0], list[1]
			acquaint(t, a, b)
			capture, err := under.CaptureAll(b.cable)
			require.NoError(t, err)
			defer capture.Close()

			a.apply("r1", routerPort("pblue", blue, 1, "10.0.1.1/24"), routerPort("pgreen", green, 2, "10.0.2.1/24"))
			a.attach("blue-a", blue, "10.0.1.10/24", "10.0.1.1")
			blueB := b.attach("blue-b", blue, "10.0.1.20/24", "10.0.1.1")
			b.attach("green-b", green, "10.0.2.20/24", "10.0.2.1")

			requireAnswer(t, blueB, "10.0.1.10", "blue-a")
			_, err = ask(wiringtest.Soon(t), blueB, dataplane.ICMP, "10.0.1.1")
			require.NoError(t, err, "the router answers on the other host")
			requireAnswer(t, blueB, "10.0.2.20", "green-b") // there and back, through the router

			packets, err := capture.Packets()
			require.NoError(t, err)
			requireSegments(t, packets, string(kind), map[string]uint32{"10.0.1.10": blue.Segment, "10.0.1.1": blue.Segment})
			for _, p := range packets {
				if p.Tunnel != nil && p.Tunnel.Inner != nil && p.Tunnel.Inner.Dst == netip.AddrPortFrom(addr("10.0.2.20"), servicePort) {
					leaves := p.Src.Addr() == b.addr // to the router by the one network, and back by the other
					require.Equal(t, map[bool]uint32{true: blue.Segment, false: green.Segment}[leaves], p.Tunnel.ID)
				}
			}
		})
	}
}

// requireSegments wants packets to each of some addresses among those captured, and all of them in
// tunnels of that type and segment.
func requireSegments(t *testing.T, packets []lab.Packet, kind string, want map[string]uint32) {
	t.Helper()
	seen := map[string]int{}
	for _, p := range packets {
		if p.Tunnel == nil || p.Tunnel.Inner == nil {
			continue
		}
		to := p.Tunnel.Inner.Dst.Addr().String()
		if segment, ok := want[to]; ok {
			require.Equal(t, kind, p.Tunnel.Type, "%s", p)
			require.Equal(t, segment, p.Tunnel.ID, "%s", p)
			seen[to]++
		}
	}
	require.Len(t, seen, len(want), "of %d packets", len(packets))
}

// TestSameVLANIsAnotherNetworkElsewhere has two networks whose local VLANs are the other way round
// on the other host, and hosts with the same addresses in both.
func TestSameVLANIsAnotherNetworkElsewhere(t *testing.T) {
	red, blue := wiringtest.VXLAN("red", 100), wiringtest.VXLAN("blue", 200)
	_, list := nodes(t, 2)
	a, b := list[0], list[1]
	acquaint(t, a, b)
	redA := a.attach("red-a", red, "10.0.0.1/24", "")
	blueA := a.attach("blue-a", blue, "10.0.0.1/24", "")
	b.attach("blue-b", blue, "10.0.0.2/24", "")
	redB := b.attach("red-b", red, "10.0.0.2/24", "")
	only := b.attach("red-only", red, "10.0.0.3/24", "")
	require.Equal(t, a.vlan("red"), b.vlan("blue"))
	require.Equal(t, a.vlan("blue"), b.vlan("red"))
	require.NotEqual(t, a.vlan("red"), a.vlan("blue"))

	requireAnswer(t, redA, "10.0.0.2", "red-b")
	requireAnswer(t, blueA, "10.0.0.2", "blue-b")
	requireAnswer(t, redA, "10.0.0.3", "red-only")
	requireAnswer(t, redB, "10.0.0.1", "red-a")
	capture, err := only.CaptureAll("eth0")
	require.NoError(t, err)
	defer capture.Close()
	requireSilence(t, blueA, "10.0.0.3")
	packets, err := capture.Packets()
	require.NoError(t, err)
	for _, p := range packets {
		require.NotEqual(t, addr("10.0.0.3"), p.Dst.Addr(), "%s", p)
	}
}

// vlan is the tag of a network's ports on the host, of which there must be one.
func (nd *node) vlan(network string) string {
	nd.t.Helper()
	tags := strings.Fields(nd.do("--bare --columns=tag find port external_ids:l3kit-network=" + network))
	slices.Sort(tags)
	tags = slices.Compact(tags)
	require.Len(nd.t, tags, 1)
	return tags[0]
}

// TestEqualSubnetsNeverMeet has three networks of the same subnet, with the same addresses, on both
// hosts, each with a router of its own.
func TestEqualSubnetsNeverMeet(t *testing.T) {
	const networks = 3
	_, list := nodes(t, 2)
	a, b := list[0], list[1]
	acquaint(t, a, b)
	var here, there [networks]*lab.Host
	for i := range networks {
		n := wiringtest.VXLAN(fmt.Sprintf("net%d", i), uint32(1000+i))
		// The same MAC thrice: what a bridge learns is of a network.
		list[i%2].apply(fmt.Sprintf("r%d", i), routerPort(fmt.Sprintf("p%d", i), n, 1, "10.0.0.1/24"))
		here[i] = a.attach(fmt.Sprintf("a%d", i), n, "10.0.0.10/24", "10.0.0.1")
		there[i] = b.attach(fmt.Sprintf("b%d", i), n, "10.0.0.20/24", "10.0.0.1")
	}
	for range 2 {
		for i := range networks {
			requireAnswer(t, here[i], "10.0.0.20", there[i].Name)
			requireAnswer(t, there[i], "10.0.0.10", here[i].Name)
			for _, from := range []*lab.Host{here[i], there[i]} {
				_, err := ask(wiringtest.Soon(t), from, dataplane.ICMP, "10.0.0.1")
				require.NoError(t, err, "from %s to its router", from.Name)
			}
		}
	}
}

// TestThirdHostJoinsAndLeaves changes the set of hosts while two of them talk, who lose nothing.
func TestThirdHostJoinsAndLeaves(t *testing.T) {
	network := wiringtest.VXLAN("net", 77)
	_, list := nodes(t, 3)
	a, b, c := list[0], list[1], list[2]
	onA := a.attach("a", network, "10.0.0.1/24", "")
	b.attach("b", network, "10.0.0.2/24", "")
	onC := c.attach("c", network, "10.0.0.3/24", "")
	requireSilence(t, onA, "10.0.0.2")
	acquaint(t, a, b)
	forget(t, onA)
	requireAnswer(t, onA, "10.0.0.2", "b")
	stream, err := onA.Stream(wiringtest.Soon(t), netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:7000"), 10*time.Millisecond)
	require.NoError(t, err)
	pause := func() { require.NoError(t, stream.Pause(wiringtest.Soon(t), 10)) }

	pause()
	requireSilence(t, onA, "10.0.0.3")
	acquaint(t, a, b, c)
	forget(t, onA)
	requireAnswer(t, onA, "10.0.0.3", "c")
	requireAnswer(t, onC, "10.0.0.2", "b")
	pause()
	acquaint(t, a, b)
	acquaint(t, c)
	pause()
	requireSilence(t, onA, "10.0.0.3")
	requireSilence(t, onC, "10.0.0.2")
	acquaint(t, a, b, c)
	forget(t, onA, onC)
	requireAnswer(t, onC, "10.0.0.1", "a")
	pause()

	flow := stream.Stop(wiringtest.Soon(t))
	require.Zero(t, flow.Lost, "%s", flow)
	require.NoError(t, flow.Unsent)
}
