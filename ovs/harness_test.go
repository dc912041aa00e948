package ovs_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// host is a machine with an Open vSwitch of its own, and with the namespaces of its routers and
// workloads.
type host struct {
	t testing.TB
	*lab.Lab
	*lab.Switch
	net *netlink.Handle // in the machine's own namespace
}

func newHost(t testing.TB) *host {
	t.Helper()
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	s, err := l.Switch(t.Context())
	require.NoError(t, err)
	h := &host{t: t, Lab: l, Switch: s}
	f, err := netns.Open(l.HostNS)
	require.NoError(t, err)
	defer f.Close()
	h.net = handle(t, int(f.Fd()))
	return h
}

func handle(t testing.TB, fd int) *netlink.Handle {
	t.Helper()
	hd, err := netlink.NewHandleAt(vnetns.NsHandle(fd), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	t.Cleanup(hd.Close)
	return hd
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

// router makes a router's namespace; workload that of something else.
func (h *host) router(id string) namespace.NS   { return h.namespace(id, id) }
func (h *host) workload(id string) namespace.NS { return h.namespace("", id) }

func (h *host) namespace(router, name string) namespace.NS {
	h.t.Helper()
	return wiringtest.Namespace(h.t, h.Dir, router, name)
}

// suiteHost is a host for the tests that both kinds of wiring have.
type suiteHost struct {
	*host
	device ovs.Device
}

func (h suiteHost) Driver() namespace.InterfaceDriver { return h.driver(ovs.Config{Device: h.device}) }
func (h suiteHost) Router(id string) namespace.NS     { return h.router(id) }
func (h suiteHost) Workload(id string) namespace.NS   { return h.workload(id) }
func (h suiteHost) Ports() []string                   { return h.ports() }

func TestWiring(t *testing.T) {
	for _, device := range []ovs.Device{ovs.Auto, ovs.Internal} {
		t.Run("device "+string(device), func(t *testing.T) {
			wiringtest.Run(t, func(t testing.TB) wiringtest.Host { return suiteHost{newHost(t), device} })
		})
	}
}

func (h *host) vsctl(args ...string) string {
	h.t.Helper()
	out, err := h.Vsctl(args...)
	require.NoError(h.t, err)
	return strings.TrimSpace(out)
}

// do runs words as an ovs-vsctl command.
func (h *host) do(command string) string {
	h.t.Helper()
	return h.vsctl(strings.Fields(command)...)
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

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	l, err := h.net.LinkByName(name)
	require.NoError(h.t, err, name)
	return l
}

func flat(id, physical string) dataplane.Network {
	return dataplane.Network{ID: id, Type: dataplane.NetworkFlat, Physical: physical}
}

func vxlan(id string, vni uint32) dataplane.Network {
	return dataplane.Network{ID: id, Type: dataplane.NetworkVXLAN, Segment: vni}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, addr(text))
	}
	return list
}

// soon is a context for what takes a moment; it ends long after that.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

var (
	portOn       = wiringtest.PortOn
	local        = wiringtest.Local
	at           = wiringtest.At
	plug         = wiringtest.Plug
	plan         = wiringtest.Plan
	up           = wiringtest.Up
	requireReach = wiringtest.RequireReach
)

// inside calls fn with a handle in a namespace.
func inside(t testing.TB, ns namespace.NS, fn func(*netlink.Handle) error) {
	t.Helper()
	require.NoError(t, fn(handle(t, ns.FD)))
}

// on is the host for a subtest.
func (h *host) on(t testing.TB) *host {
	other := *h
	other.t = t
	return &other
}
