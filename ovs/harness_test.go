package ovs_test

import (
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// TestMain runs few tests at once: each has an ovs-vswitchd that passes packets itself, and loses
// them when it waits too long for a processor.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "2"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// host is a machine with an Open vSwitch of its own, and with the namespaces of its routers and
// workloads.
type host struct {
	t testing.TB
	*lab.Lab
	*lab.Switch
	wiringtest.Namespaces
	net    *netlink.Handle // in the machine's own namespace
	device ovs.Device      // of drivers without configuration
}

func newHost(t testing.TB) *host {
	t.Helper()
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	s, err := l.Switch(t.Context())
	require.NoError(t, err)
	h := &host{t: t, Lab: l, Switch: s, Namespaces: wiringtest.NamespacesIn(t, l.Dir)}
	f, err := netns.Open(l.HostNS)
	require.NoError(t, err)
	defer f.Close()
	h.net = wiringtest.Links(t, namespace.NS{FD: int(f.Fd())})
	return h
}

// driver returns a Driver as a fresh process would have it, on the userspace datapath.
func (h *host) driver(c ovs.Config) *ovs.Driver {
	h.t.Helper()
	c.HostNS, c.Endpoints, c.RunDir, c.Datapath = h.HostNS, []string{h.Endpoint}, h.RunDir, ovs.Netdev
	d, err := ovs.New(h.t.Context(), c)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, d.Close()) })
	return d
}

// do runs words as an ovs-vsctl command.
func (h *host) do(command string) string {
	h.t.Helper()
	out, err := h.Vsctl(strings.Fields(command)...)
	require.NoError(h.t, err)
	return strings.TrimSpace(out)
}

// ports returns what the bridges hold, as text: bridge, port, tag.
func (h *host) ports() (all []string) {
	h.t.Helper()
	for _, bridge := range strings.Fields(h.do("list-br")) {
		for _, port := range strings.Fields(h.do("list-ports " + bridge)) {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", bridge, port, strings.Trim(h.do("get port "+port+" tag"), "[]"))))
		}
	}
	return all
}

// transactions counts what clients have committed.
func (h *host) transactions() int {
	h.t.Helper()
	n, err := h.Transactions()
	require.NoError(h.t, err)
	return n
}

// flows returns a bridge's flows of ours, in order.
func (h *host) flows(bridge string) []string {
	h.t.Helper()
	out, err := h.Ofctl("-O", "OpenFlow14", "--no-stats", "dump-flows", filepath.Join(h.RunDir, bridge+".mgmt"))
	require.NoError(h.t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return lines
}

func (h *host) devices() (names []string) {
	h.t.Helper()
	links, err := h.net.LinkList()
	require.NoError(h.t, err)
	for _, l := range links {
		if n := l.Attrs().Name; n != "lo" && n != "ovs-netdev" && l.Type() != "ip6tnl" && l.Type() != "sit" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func flat(id, physical string) dataplane.Network {
	return dataplane.Network{ID: id, Type: dataplane.NetworkFlat, Physical: physical}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, addr(text))
	}
	return list
}

// on is the host for a subtest.
func (h *host) on(t testing.TB) *host {
	other := *h
	other.t, other.Namespaces = t, wiringtest.NamespacesIn(t, h.Dir)
	return &other
}
