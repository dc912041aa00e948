package ovs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/ovs"
)

// A second Plug, by the same process or another, commits nothing, and writes no flow.
func TestSecondPlugWritesNothing(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	h.do("add-br br-gw -- set bridge br-gw datapath_type=netdev")
	c := ovs.Config{
		Physical: map[string]string{"ext": "br-ex", "gw": "br-gw"},
		Direct:   []string{"gw"},
		Device:   ovs.Internal,
		Tunnel:   ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2", "192.0.2.3")},
	}
	d := h.driver(c)
	router, vm := h.router("r1"), h.workload("vm")
	ports := []dataplane.Port{
		portOn(local("net"), "port1", 1),
		portOn(flat("ext", "ext"), "port2", 2),
		portOn(flat("gw", "gw"), "port3", 3),
		portOn(dataplane.Network{ID: "vlan", Type: dataplane.NetworkVLAN, Physical: "ext", Segment: 7}, "port4", 4),
		portOn(vxlan("vx", 77), "port5", 5),
	}
	for _, p := range ports {
		plug(t, d, router, "qr-"+p.ID, p)
	}
	plug(t, d, vm, "eth0", portOn(vxlan("vx", 77), "port6", 6))
	before, flows := h.transactions(), [][]string{h.flows("br-int"), h.flows("br-ex"), h.flows("br-tun")}
	for _, d := range []*ovs.Driver{d, h.driver(c)} {
		for _, p := range ports {
			plug(t, d, router, "qr-"+p.ID, p)
		}
		plug(t, d, vm, "eth0", portOn(vxlan("vx", 77), "port6", 6))
		require.NoError(t, d.SetPeers(soon(t), c.Tunnel.Peers))
	}
	require.Equal(t, before, h.transactions())
	require.Equal(t, flows, [][]string{h.flows("br-int"), h.flows("br-ex"), h.flows("br-tun")})

	h.do("set port qr-port1 tag=5")
	require.Equal(t, before+1, h.transactions(), "the test would see a write")
}

// When ovs-vswitchd is started anew, a veth is opened again, and flows come back, without anybody's
// help.
func TestDaemonRestartWithVeth(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	d := h.driver(ovs.Config{Physical: map[string]string{"ext": "br-ex"}})
	router, vm := h.router("r1"), h.workload("vm")
	p, v := portOn(flat("net", "ext"), "port", 1), portOn(flat("net", "ext"), "vmport", 2)
	plug(t, d, router, "qr-port", p)
	plug(t, d, vm, "eth0", v)
	up(t, vm, "eth0", "10.0.0.2/24")
	up(t, router, "qr-port", "10.0.0.1/24")
	requireReach(t, vm, router, "10.0.0.1")
	before, flows := h.transactions(), h.flows("br-ex")

	require.NoError(t, h.RestartDaemon(soon(t)))
	requireReach(t, vm, router, "10.0.0.1") // br-int forwards nothing without flows
	require.Eventually(t, func() bool { return strings.Join(flows, "\n") == strings.Join(h.flows("br-ex"), "\n") }, time.Minute, 50*time.Millisecond)
	require.Equal(t, before, h.transactions())
	require.Empty(t, plan(t, d, router, "qr-port", p))
	require.Empty(t, plan(t, d, vm, "eth0", v))
}

// Internal ports come back in the host's namespace. Plan says so, and Plug fetches them without a
// transaction.
func TestDaemonRestartWithInternalPorts(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{Device: ovs.Internal})
	router, vm := h.router("r1"), h.workload("vm")
	p, v := portOn(local("net"), "port", 1), portOn(local("net"), "vmport", 2)
	plug(t, d, router, "qr-port", p)
	plug(t, d, vm, "eth0", v)
	up(t, vm, "eth0", "10.0.0.2/24")
	up(t, router, "qr-port", "10.0.0.1/24")
	requireReach(t, vm, router, "10.0.0.1")
	before := h.transactions()

	require.NoError(t, h.RestartDaemon(soon(t)))
	const step = "+ wiring qr-port: internal port, back in the host's namespace  !" // and perhaps flows, which may be on their way
	require.Contains(t, plan(t, d, router, "qr-port", p), step)
	require.Contains(t, plan(t, h.driver(ovs.Config{}), router, "qr-port", p), step, "whatever devices a process would make itself")
	plug(t, d, router, "qr-port", p)
	require.Empty(t, plan(t, d, vm, "eth0", v))
	require.Equal(t, before, h.transactions())
	up(t, router, "qr-port", "10.0.0.1/24")
	requireReach(t, vm, router, "10.0.0.1")

	require.NoError(t, d.Unplug(soon(t), router, "qr-port"))
	inside(t, router, func(n *netlink.Handle) error {
		_, err := n.LinkByName("qr-port")
		require.Error(t, err)
		return nil
	})
	require.NotContains(t, h.devices(), "qr-port")
}

// While ovsdb-server is away calls fail at once and say so, nothing is torn down, and when it is
// back nobody has to do anything.
func TestDatabaseRestart(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{})
	router := h.router("r1")
	p := portOn(local("net"), "port", 1)
	plug(t, d, router, "qr-port", p)
	before := h.transactions()

	require.NoError(t, h.StopDatabase())
	for what, call := range map[string]func(context.Context) error{
		"plan":    func(ctx context.Context) error { _, err := d.Plan(ctx, router, at("qr-port", p)); return err },
		"plug":    func(ctx context.Context) error { return d.Plug(ctx, router, at("qr-port", p)) },
		"unplug":  func(ctx context.Context) error { return d.Unplug(ctx, router, "qr-port") },
		"release": func(ctx context.Context) error { return d.Release(ctx, "r1") },
		"routers": func(ctx context.Context) error { _, err := d.Routers(ctx); return err },
		"check":   d.Check,
	} {
		err := call(soon(t))
		require.ErrorContains(t, err, "ovsdb-server at "+h.Endpoint+" does not answer", what)
		require.NotErrorIs(t, err, context.DeadlineExceeded, what)
	}
	require.NoError(t, h.StartDatabase(soon(t)))
	require.Empty(t, plan(t, d, router, "qr-port", p), "the first call after it is back succeeds")
	require.Equal(t, before, h.transactions())
	plug(t, d, router, "qr-other", portOn(local("other"), "other", 2))
	require.Equal(t, []string{"br-int tapother 2", "br-int tapport 1"}, h.ports())

	require.NoError(t, h.StopDatabase())
	require.NoError(t, h.StartDatabase(soon(t)))
	h.do("del-port tapport")
	require.NotEmpty(t, plan(t, d, router, "qr-port", p), "an outage that nobody noticed")
}

// Without ovs-vswitchd a Plug fails when its time is over, and leaves nothing.
func TestPlugWithoutDaemon(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{})
	router := h.router("r1")
	plug(t, d, router, "qr-old", portOn(local("old"), "old", 1))
	require.NoError(t, d.Check(t.Context()))
	require.NoError(t, h.KillDaemon())
	require.ErrorIs(t, d.Check(t.Context()), dataplane.ErrDaemon)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := d.Plug(ctx, router, at("qr-port", portOn(local("net"), "port", 2)))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "ovs-vswitchd")
	require.Equal(t, []string{"br-int tapold 1"}, h.withoutDaemon())
	require.NotContains(t, h.devices(), "tapport")

	require.NoError(t, h.StartDaemon(soon(t)))
	require.NoError(t, d.Check(t.Context()))
	plug(t, d, router, "qr-port", portOn(local("net"), "port", 2))
}

// withoutDaemon is ports, when nobody acts on what ovs-vsctl does.
func (h *host) withoutDaemon() (all []string) {
	for _, port := range strings.Fields(h.do("--no-wait list-ports br-int")) {
		all = append(all, fmt.Sprintf("br-int %s %s", port, h.do("--no-wait get port "+port+" tag")))
	}
	return all
}
