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
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// When ovs-vswitchd is started anew, a veth is opened again, and flows come back, without anybody's
// help.
func TestDaemonRestartWithVeth(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	d := h.driver(ovs.Config{Physical: map[string]string{"ext": "br-ex"}})
	router, vm := h.Router("r1"), h.Workload("vm")
	p, v := wiringtest.PortOn(wiringtest.Flat("net"), "port", 1), wiringtest.PortOn(wiringtest.Flat("net"), "vmport", 2)
	wiringtest.Plug(t, d, router, "qr-port", p)
	wiringtest.Plug(t, d, vm, "eth0", v)
	wiringtest.Up(t, vm, "eth0", "10.0.0.2/24")
	wiringtest.Up(t, router, "qr-port", "10.0.0.1/24")
	wiringtest.RequireReach(t, vm, router, "10.0.0.1")
	before, flows := h.transactions(), h.flows("br-ex")

	require.NoError(t, h.RestartDaemon(wiringtest.Soon(t)))
	wiringtest.RequireReach(t, vm, router, "10.0.0.1") // br-int forwards nothing without flows
	require.Eventually(t, func() bool { return strings.Join(flows, "\n") == strings.Join(h.flows("br-ex"), "\n") }, time.Minute, 50*time.Millisecond)
	require.Equal(t, before, h.transactions())
	require.Empty(t, wiringtest.Plan(t, d, router, "qr-port", p))
	require.Empty(t, wiringtest.Plan(t, d, vm, "eth0", v))
}

// Internal ports come back in the host's namespace. Plan says so, and Plug fetches them without a
// transaction.
func TestDaemonRestartWithInternalPorts(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{Device: ovs.Internal})
	router, vm := h.Router("r1"), h.Workload("vm")
	p, v := wiringtest.LocalPort("net", "port", 1), wiringtest.LocalPort("net", "vmport", 2)
	wiringtest.Plug(t, d, router, "qr-port", p)
	wiringtest.Plug(t, d, vm, "eth0", v)
	wiringtest.Up(t, vm, "eth0", "10.0.0.2/24")
	wiringtest.Up(t, router, "qr-port", "10.0.0.1/24")
	wiringtest.RequireReach(t, vm, router, "10.0.0.1")
	before := h.transactions()

	require.NoError(t, h.RestartDaemon(wiringtest.Soon(t)))
	const step = "+ wiring qr-port: internal port, back in the host's namespace  !" // and perhaps flows, which may be on their way
	require.Contains(t, wiringtest.Plan(t, d, router, "qr-port", p), step)
	require.Contains(t, wiringtest.Plan(t, h.driver(ovs.Config{}), router, "qr-port", p), step, "whatever devices a process would make itself")
	wiringtest.Plug(t, d, router, "qr-port", p)
	require.Empty(t, wiringtest.Plan(t, d, vm, "eth0", v))
	require.Equal(t, before, h.transactions())
	wiringtest.Up(t, router, "qr-port", "10.0.0.1/24")
	wiringtest.RequireReach(t, vm, router, "10.0.0.1")

	require.NoError(t, d.Unplug(wiringtest.Soon(t), router, "qr-port"))
	require.NoError(t, netdev.In(router.FD, func(n *netlink.Handle) error {
		_, err := n.LinkByName("qr-port")
		require.Error(t, err)
		return nil
	}))
	require.NotContains(t, h.devices(), "qr-port")
}

// While ovsdb-server is away calls fail at once and say so, nothing is torn down, and when it is
// back nobody has to do anything.
func TestDatabaseRestart(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{})
	router := h.Router("r1")
	p := wiringtest.LocalPort("net", "port", 1)
	wiringtest.Plug(t, d, router, "qr-port", p)
	before := h.transactions()

	require.NoError(t, h.StopDatabase())
	for what, call := range map[string]func(context.Context) error{
		"plan": func(ctx context.Context) error {
			_, err := d.Plan(ctx, router, wiringtest.At("qr-port", p))
			return err
		},
		"plug":    func(ctx context.Context) error { return d.Plug(ctx, router, wiringtest.At("qr-port", p)) },
		"unplug":  func(ctx context.Context) error { return d.Unplug(ctx, router, "qr-port") },
		"release": func(ctx context.Context) error { return d.Release(ctx, "r1") },
		"routers": func(ctx context.Context) error { _, err := d.Routers(ctx); return err },
		"check":   d.Check,
	} {
		err := call(wiringtest.Soon(t))
		require.ErrorContains(t, err, "ovsdb-server at "+h.Endpoint+" does not answer", what)
		require.NotErrorIs(t, err, context.DeadlineExceeded, what)
	}
	require.NoError(t, h.StartDatabase(wiringtest.Soon(t)))
	require.Empty(t, wiringtest.Plan(t, d, router, "qr-port", p), "the first call after it is back succeeds")
	require.Equal(t, before, h.transactions())
	wiringtest.Plug(t, d, router, "qr-other", wiringtest.LocalPort("other", "other", 2))
	require.Equal(t, []string{"br-int tapother 2", "br-int tapport 1"}, h.ports())

	require.NoError(t, h.StopDatabase())
	require.NoError(t, h.StartDatabase(wiringtest.Soon(t)))
	h.do("del-port tapport")
	require.NotEmpty(t, wiringtest.Plan(t, d, router, "qr-port", p), "an outage that nobody noticed")
}

// Without ovs-vswitchd a Plug fails when its time is over, and leaves nothing.
func TestPlugWithoutDaemon(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{})
	router := h.Router("r1")
	what := []namespace.Attachment{wiringtest.At("qr-a", wiringtest.LocalPort("net-a", "a", 1)), wiringtest.At("qr-b", wiringtest.LocalPort("net-b", "b", 2))}
	fails := func() {
		t.Helper()
		require.NoError(t, d.Check(t.Context()))
		require.NoError(t, h.KillDaemon())
		require.ErrorIs(t, d.Check(t.Context()), dataplane.ErrDaemon)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := d.Plug(ctx, router, what...)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "ovs-vswitchd")
		require.NotContains(t, h.devices(), "tapa")
		require.NotContains(t, h.devices(), "tapb")
	}
	fails()
	require.NotContains(t, h.do("--no-wait list-br"), "br-int")
	require.NoError(t, h.StartDaemon(wiringtest.Soon(t)))
	wiringtest.Plug(t, d, router, "qr-old", wiringtest.LocalPort("old", "old", 3))
	fails()
	require.Equal(t, []string{"br-int tapold 1"}, h.withoutDaemon())
	require.NoError(t, h.StartDaemon(wiringtest.Soon(t)))
	require.NoError(t, d.Check(t.Context()))
	require.NoError(t, d.Plug(wiringtest.Soon(t), router, what...))
}

// withoutDaemon is ports, when nobody acts on what ovs-vsctl does.
func (h *host) withoutDaemon() (all []string) {
	for _, port := range strings.Fields(h.do("--no-wait list-ports br-int")) {
		all = append(all, fmt.Sprintf("br-int %s %s", port, h.do("--no-wait get port "+port+" tag")))
	}
	return all
}
