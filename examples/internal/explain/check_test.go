package explain

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	nft "github.com/google/nftables"
	mnetlink "github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"github.com/ti-mo/conntrack"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/nftables"
	"github.com/l3kit/l3kit/ovs"
)

// bench is a machine with the router of the file on it, and hosts for most of the addresses that
// packets come from and go to.
type bench struct {
	t      *testing.T
	on     Host
	router dataplane.Router
	inside *lab.Host // the router's namespace
}

func newBench(t *testing.T) *bench {
	t.Helper()
	machine := newMachine(t)
	wiring, err := bridge.New(bridge.Config{HostNS: machine.HostNS})
	require.NoError(t, err)
	return newBenchOn(t, machine, wiring)
}

func newMachine(t *testing.T) *lab.Lab {
	t.Helper()
	needs.Root(t)
	machine, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, machine.Close()) })
	return machine
}

func newBenchOn(t *testing.T, machine *lab.Lab, wiring namespace.InterfaceDriver) *bench {
	t.Helper()
	dp, err := nftables.New(namespace.Config{Wiring: wiring, HostNS: machine.HostNS, Dir: machine.Dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dp.Close()) })

	r := shortRouter(t)
	b := &bench{t: t, on: Host{NS: machine.HostNS, Dir: machine.Dir}, router: r}
	_, err = dp.Apply(t.Context(), r)
	require.NoError(t, err)
	for name, h := range map[string]struct {
		port  dataplane.Port
		addrs []string
	}{
		"web":     {r.Ports[0], []string{"10.0.1.5/24", "10.0.1.7/24", "10.0.1.9/24", "2001:db8:1::7/64"}},
		"app":     {r.Ports[1], []string{"10.0.2.7/24", "10.0.2.9/24"}},
		"outside": {r.Gateway.Port, []string{"203.0.113.1/24", "fe80::1/64"}},
	} {
		p := dataplane.Port{Network: h.port.Network}
		for _, a := range h.addrs {
			p.Addrs = append(p.Addrs, netip.MustParsePrefix(a))
		}
		_, err = machine.Attach(t.Context(), wiring, lab.Spec{Name: name, Ports: []dataplane.Port{p}})
		require.NoError(t, err)
	}
	b.inside, err = machine.Enter(filepath.Join(machine.Dir, dataplane.NamespaceName(r.ID)))
	require.NoError(t, err)
	return b
}

// check returns the last paragraph of what is printed.
func (b *bench) check(from, to, proto string, more ...string) (string, error) {
	b.t.Helper()
	q := HostQuestion{Question{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Proto: proto}, true}
	if proto != "icmp" {
		q.Dport = 80
	}
	if len(more) > 0 {
		q.In = more[0]
	}
	var out bytes.Buffer
	err := q.Answer(b.t.Context(), &out, b.router, b.on)
	paragraphs := strings.Split(strings.TrimSpace(out.String()), "\n\n")
	return paragraphs[len(paragraphs)-1], err
}

func (b *bench) flows() []conntrack.Flow {
	b.t.Helper()
	c, err := conntrack.Dial(&mnetlink.Config{NetNS: b.inside.FD()})
	require.NoError(b.t, err)
	defer c.Close()
	flows, err := c.Dump(nil)
	require.NoError(b.t, err)
	return flows
}

func TestCheckAgrees(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		name, from, to, proto, in string
		says                      string // by what follows the packet
	}{
		{"SNAT", "10.0.1.7", "198.51.100.7", "tcp", "", "forwarded by ext, as 203.0.113.2 → 198.51.100.7"},
		{"floating IP going out", "10.0.1.5", "198.51.100.7", "udp", "", "forwarded by ext, as 203.0.113.5 → 198.51.100.7"},
		{"floating IP coming in", "198.51.100.7", "203.0.113.5", "icmp", "", "forwarded by web, as 198.51.100.7 → 10.0.1.5"},
		{"hairpin", "10.0.2.7", "203.0.113.5", "tcp", "", "forwarded by web, as 203.0.113.2 → 10.0.1.5"},
		{"east-west", "10.0.1.7", "10.0.2.7", "tcp", "", "forwarded by app, as 10.0.1.7 → 10.0.2.7"},
		{"shared routes", "10.0.1.7", "10.9.0.1", "udp", "", "forwarded by"},
		{"guarded", "198.51.100.7", "10.0.1.5", "tcp", "", "dropped"},
		{"martian", "127.0.0.1", "10.0.2.7", "tcp", "web", "dropped"},
		{"router's own address", "10.0.1.5", "10.0.1.1", "icmp", "", "local to the router, which answered"},
		{"no service", "10.0.1.5", "203.0.113.2", "tcp", "", "local to the router"},
		{"no service by UDP", "10.0.1.5", "10.0.2.1", "udp", "", "local to the router"},
		{"IPv6 going out", "2001:db8:1::7", "2001:db8:e::7", "tcp", "", "forwarded by ext, as 2001:db8:1::7 → 2001:db8:e::7"},
		{"IPv6 coming in", "2001:db8:e::7", "2001:db8:1::7", "udp", "", "forwarded by web, as 2001:db8:e::7 → 2001:db8:1::7"},

		{"to somebody silent", "10.0.1.7", "10.0.2.8", "tcp", "", "forwarded by app, as 10.0.1.7 → 10.0.2.8; 10.0.2.8 was asked for its MAC"},
		{"to somebody silent by a floating IP", "10.0.2.7", "203.0.113.6", "tcp", "", "forwarded by web, as 203.0.113.2 → 10.0.1.6; 10.0.1.6 was asked for its MAC"},
		{"to somebody silent by IPv6", "2001:db8:e::7", "2001:db8:1::8", "udp", "", "forwarded by web, as 2001:db8:e::7 → 2001:db8:1::8; 2001:db8:1::8 was asked for its MAC"},
		{"for somebody silent", "10.0.2.10", "10.0.1.1", "icmp", "", "local to the router, which answered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, err := b.check(tt.from, tt.to, tt.proto, tt.in)
			require.NoError(t, err, "%s", said)
			require.True(t, strings.HasPrefix(said, "The kernel agrees: "), "%s", said)
			require.Contains(t, said, " was "+tt.says)
			for _, f := range b.flows() {
				require.NotEqual(t, tt.from, f.TupleOrig.IP.SourceAddress.String(), "the router remembers %v", f.TupleOrig)
			}
		})
	}
}

// TestCheckByInternalPorts: Open vSwitch has the devices of the router as internal ports.
func TestCheckByInternalPorts(t *testing.T) {
	needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
	machine := newMachine(t)
	s, err := machine.Switch(t.Context())
	require.NoError(t, err)
	wiring, err := ovs.New(t.Context(), ovs.Config{
		HostNS: machine.HostNS, Endpoints: []string{s.Endpoint}, RunDir: s.RunDir, Datapath: ovs.Netdev, Device: ovs.Internal,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, wiring.Close()) })
	b := newBenchOn(t, machine, wiring)
	_, err = b.check("10.0.1.7", "10.0.2.7", "tcp")
	require.ErrorContains(t, err, "nothing can be sent into it")

	b.on.Switch = s.RunDir
	for range 3 {
		said, err := b.check("10.0.1.7", "198.51.100.7", "tcp")
		require.NoError(t, err, said)
		require.Contains(t, said, " was forwarded by ext, as 203.0.113.2 → 198.51.100.7")
	}
	said, err := b.check("198.51.100.7", "10.0.1.5", "tcp")
	require.NoError(t, err, said)
	require.Contains(t, said, " was dropped")
	across := newCheckBenchOn(b)
	said, err = across.outcome("198.51.100.7", "203.0.113.5", "udp")
	require.NoError(t, err, said)
	require.Contains(t, said, "; it left h1 by web as 198.51.100.7 → 10.0.1.5")
}

func TestCheckDisagrees(t *testing.T) {
	b := newBench(t)
	c, err := nft.New(nft.WithNetNSFd(b.inside.FD()))
	require.NoError(t, err)
	c.FlushRuleset()
	require.NoError(t, c.Flush())

	said, err := b.check("10.0.1.7", "198.51.100.7", "tcp")
	require.ErrorIs(t, err, ErrDisagrees)
	require.Contains(t, said, "DOES NOT agree")
	require.Contains(t, said, "forwarded by ext, as 10.0.1.7 → 198.51.100.7")

	said, err = b.check("203.0.113.1", "203.0.113.5", "tcp")
	require.ErrorIs(t, err, ErrDisagrees)
	require.Contains(t, said, "local to the router")
}

// TestCheckSeesThatThereIsNoWay: the router file has a default route for IPv4 and IPv6, and the
// router has lost both.
func TestCheckSeesThatThereIsNoWay(t *testing.T) {
	b := newBench(t)
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(b.inside.FD()))
	require.NoError(t, err)
	defer nl.Close()
	routes, err := nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Priority: 1024}, netlink.RT_FILTER_PRIORITY)
	require.NoError(t, err)
	for _, r := range routes {
		if r.Gw != nil {
			require.NoError(t, nl.RouteDel(&r))
		}
	}
	for _, from := range []string{"10.0.1.7", "10.0.1.8", "2001:db8:1::7"} { // 10.0.1.8 is not there to be told
		to := "198.51.100.7"
		if strings.Contains(from, ":") {
			to = "2001:db8:e::7"
		}
		said, err := b.check(from, to, "udp")
		require.ErrorIs(t, err, ErrDisagrees)
		require.Contains(t, said, " was unreachable")
	}
}

func TestCheckOfAnAbsentRouter(t *testing.T) {
	b := newBench(t)
	b.on.Dir = t.TempDir()
	_, err := b.check("10.0.1.7", "198.51.100.7", "tcp")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "the router is not on this host")
}

// TestCheckLeavesConnectionsAlone: a packet with the ports of one that goes on would become part of
// it.
func TestCheckLeavesConnectionsAlone(t *testing.T) {
	b := newBench(t)
	c, err := conntrack.Dial(&mnetlink.Config{NetNS: b.inside.FD()})
	require.NoError(t, err)
	defer c.Close()
	const udp = 17
	require.NoError(t, c.Create(conntrack.NewFlow(udp, 0, netip.MustParseAddr("10.0.1.7"), netip.MustParseAddr("10.0.2.8"), 4000, 80, 60, 0)))
	q := HostQuestion{Question{From: netip.MustParseAddr("10.0.1.7"), To: netip.MustParseAddr("10.0.2.8"), Proto: "udp", Sport: 4000, Dport: 80}, true}
	require.ErrorContains(t, q.Answer(t.Context(), &bytes.Buffer{}, b.router, b.on), "is a connection that goes on")
	require.Len(t, b.flows(), 1)
}
