package namespace

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// looseWiring makes bridges without a port, which lead nowhere: enough for what this package does
// by itself. Real wiring and real firewalls are held to the whole contract by dataplanetest.
type looseWiring struct {
	fail     error  // of the next Plug
	plugging func() // called by Plug; nil for nothing
	plugs    int
	network  map[string]string // by device
}

func (w *looseWiring) Plan(_ context.Context, ns NS, what ...Attachment) ([][]dataplane.Step, error) {
	plans := make([][]dataplane.Step, len(what))
	for i, a := range what {
		err := w.in(ns, func(h *netlink.Handle) error {
			_, err := h.LinkByName(a.Device)
			return err
		})
		if err != nil || w.network[a.Device] != a.Port.Network.ID {
			plans[i] = []dataplane.Step{{Op: dataplane.Add, Kind: dataplane.KindWiring, Object: a.Device}}
		}
	}
	return plans, nil
}

func (w *looseWiring) Plug(_ context.Context, ns NS, what ...Attachment) error {
	w.plugs++
	if w.plugging != nil {
		w.plugging()
	}
	if w.fail != nil {
		return w.fail
	}
	for _, a := range what {
		if err := w.plug(ns, a.Device, a.Port); err != nil {
			return err
		}
	}
	return nil
}

func (w *looseWiring) plug(ns NS, dev string, p dataplane.Port) error {
	return w.in(ns, func(h *netlink.Handle) error {
		if old, err := h.LinkByName(dev); err == nil {
			if w.network[dev] == p.Network.ID {
				return errors.Join(h.LinkSetMTU(old, p.MTU), h.LinkSetHardwareAddr(old, p.MAC[:]))
			}
			if err := h.LinkDel(old); err != nil {
				return err
			}
		}
		w.network[dev] = p.Network.ID
		return h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: dev, MTU: p.MTU, HardwareAddr: p.MAC[:]}})
	})
}

func (w *looseWiring) Spare(context.Context, string, []string) ([]dataplane.Step, error) {
	return nil, nil
}

func (w *looseWiring) Ready(context.Context, NS, ...Attachment) error { return nil }

func (w *looseWiring) Unplug(_ context.Context, ns NS, dev string) error {
	return w.in(ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(dev)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		return errors.Join(err, h.LinkDel(l))
	})
}

func (w *looseWiring) in(ns NS, fn func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.FD), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return fn(h)
}

func (w *looseWiring) Release(context.Context, string) error         { return nil }
func (w *looseWiring) Sweep(context.Context, string, []string) error { return nil }
func (w *looseWiring) Routers(context.Context) ([]string, error)     { return nil, nil }
func (w *looseWiring) Networks(context.Context, string) (map[string]dataplane.Network, error) {
	return nil, nil
}
func (w *looseWiring) Close() error { return nil }

// openFirewall filters nothing, and remembers what it was asked for.
type openFirewall struct {
	fail    error // of Apply
	lacks   error // what Plan ends with
	changes []Change
	undone  int
}

func (f *openFirewall) Name() string           { return "open" }
func (f *openFirewall) Open(NS) (Rules, error) { return &openRules{f: f}, nil }

type openRules struct {
	f    *openFirewall
	have *dataplane.Router
}

func (r *openRules) Plan(_ context.Context, c Change) ([]dataplane.Step, error) {
	if r.f.lacks != nil {
		return nil, r.f.lacks
	}
	c.Want.Owner = "" // it makes no difference to rules
	if r.have != nil && r.have.Equal(c.Want) {
		return nil, nil
	}
	return []dataplane.Step{{Op: dataplane.Change, Kind: dataplane.KindRules, Object: c.Want.ID}}, nil
}

func (r *openRules) Apply(_ context.Context, c Change) (func(context.Context) error, error) {
	if r.f.fail != nil {
		return nil, r.f.fail
	}
	r.f.changes = append(r.f.changes, c)
	old, now := r.have, c.Want.Clone()
	now.Owner = ""
	r.have = &now
	return func(context.Context) error { r.have = old; r.f.undone++; return nil }, nil
}

func (r *openRules) Present(context.Context) (bool, error) { return r.have != nil, nil }
func (r *openRules) Clear(context.Context) error           { return nil }
func (r *openRules) Close() error                          { return nil }
func (r *openRules) Counters(context.Context) (map[netip.Addr]dataplane.Counters, error) {
	return map[netip.Addr]dataplane.Counters{}, nil
}

type bench struct {
	*Dataplane
	wiring   *looseWiring
	firewall *openFirewall
	dir      string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	needs.Root(t)
	b := &bench{wiring: &looseWiring{network: map[string]string{}}, firewall: &openFirewall{}, dir: filepath.Join(t.TempDir(), "netns")}
	b.reopen(t)
	t.Cleanup(func() {
		routers, err := b.List(t.Context())
		if err == nil {
			for _, id := range routers {
				_ = b.Delete(context.Background(), id)
			}
		}
		_ = b.Dataplane.Close()
		_ = netns.Remove(filepath.Dir(b.dir), filepath.Base(b.dir))
	})
	return b
}

// reopen stands for a new process.
func (b *bench) reopen(t *testing.T) {
	t.Helper()
	d, err := New(Config{Wiring: b.wiring, Firewall: b.firewall, Dir: b.dir})
	require.NoError(t, err)
	b.Dataplane = d
}

func (b *bench) apply(t *testing.T, r dataplane.Router) dataplane.Plan {
	t.Helper()
	p, err := b.Apply(t.Context(), r)
	require.NoError(t, err)
	return p
}

// in runs fn with a netlink handle in a router's namespace.
func (b *bench) in(t *testing.T, router string, fn func(h *netlink.Handle)) {
	t.Helper()
	f, err := netns.Open(filepath.Join(b.dir, dataplane.NamespaceName(router)))
	require.NoError(t, err)
	defer f.Close()
	h, err := netlink.NewHandleAt(vnetns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	defer h.Close()
	fn(h)
}

// observed is what a router is now, read anew.
func (b *bench) observed(t *testing.T, router string) (s state) {
	t.Helper()
	b.in(t, router, func(h *netlink.Handle) {
		var err error
		s, err = observe(h)
		require.NoError(t, err)
	})
	for name, l := range s.links {
		l.index = 0
		s.links[name] = l
	}
	return s
}

func mac(last byte) dataplane.MAC { return dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, last} }

func prefixes(list ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func threeLegs() dataplane.Router {
	return dataplane.Router{
		ID: "r1",
		Ports: []dataplane.Port{
			{ID: "web", Network: dataplane.Network{ID: "net-web"}, MAC: mac(1), MTU: 1500, Addrs: prefixes("10.0.1.1/24", "fd00:1::1/64")},
			{ID: "app", Network: dataplane.Network{ID: "net-app"}, MAC: mac(2), MTU: 1450, Addrs: prefixes("10.0.2.1/24")},
		},
		Gateway: &dataplane.Gateway{
			Port: dataplane.Port{
				ID: "gw", Network: dataplane.Network{ID: "net-ext"}, MAC: mac(3), MTU: 1500, Addrs: prefixes("203.0.113.10/24", "2001:db8::10/64"),
			},
			NextHops: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("fe80::1")},
			SNAT:     true,
		},
		FloatingIPs: []dataplane.FloatingIP{
			{ID: "f1", Addr: netip.MustParseAddr("203.0.113.20"), Fixed: netip.MustParseAddr("10.0.1.5")},
		},
		Routes: []dataplane.Route{
			{Dest: netip.MustParsePrefix("10.9.0.0/16"), NextHop: netip.MustParseAddr("10.0.2.9")},
			{Dest: netip.MustParsePrefix("10.8.0.0/16"), NextHop: netip.MustParseAddr("10.0.1.8")},
			{Dest: netip.MustParsePrefix("10.8.0.0/16"), NextHop: netip.MustParseAddr("10.0.2.8")},
			{Dest: netip.MustParsePrefix("fd00:8::/64"), NextHop: netip.MustParseAddr("fd00:1::8")},
			{Dest: netip.MustParsePrefix("fd00:8::/64"), NextHop: netip.MustParseAddr("fd00:1::9")},
		},
	}
}
