package bridge_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

// writes returns a function that says whether anybody has committed a transaction of nf_tables on
// the host since it was last called.
func (n *node) writes() func() bool {
	n.t.Helper()
	m, err := monitor.OpenRules(n.ns.FD)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { require.NoError(n.t, m.Close()) })
	return func() (any bool) {
		n.t.Helper()
		require.NoError(n.t, m.Drain(func(unixHeader, []byte) { any = true }))
		return any
	}
}

// The table comes with the host's first anycast port and goes with the last. Other ports, and a
// centre's without an edge beside it, need none. Plan says what is done; a second Plug writes
// nothing; and tables of others in the bridge family stay as they are.
func TestTableComesAndGoes(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	n.nft("add table bridge mine; add chain bridge mine c { type filter hook forward priority 0; }; add rule bridge mine c accept")
	mine := n.nft("list", "table", "bridge", "mine")
	wrote := n.writes()
	n.workload(11)
	centre := n.nameless("centre")
	wiringtest.Plug(t, n, centre, "qr-centre", s.outsidePort("centre"))
	require.False(t, wrote(), "no anycast port is here")
	require.Empty(t, n.table())

	edge, leg := n.nameless("edge"), s.anycastPort("leg")
	require.Equal(t, []string{
		"+ wiring bridge l3kit_anycast: table that keeps anycast MACs on this host",
		"+ wiring qr-leg: veth tapleg in bridge brqA (network A)",
	}, wiringtest.Plan(t, n, edge, "qr-leg", leg))
	require.False(t, wrote(), "a plan writes nothing")
	wiringtest.Plug(t, n, edge, "qr-leg", leg)
	require.True(t, wrote())
	table := n.table()
	for _, element := range []string{
		`"vxlan-100" . fa:16:3e:0a:0a:0a`, `"tapcentre" . fa:16:3e:0a:0a:0a`, `"vxlan-100" . 10.0.1.1`, `"tapcentre" . 2001:db8:a::1`, `"vxlan-100" . fe80::f816:3eff:fe0a:a0a`,
	} {
		require.Contains(t, table, element, "what was plugged before an anycast port is contained with it")
	}

	for _, d := range []namespace.InterfaceDriver{n, n.process()} {
		require.NoError(t, d.Plug(wait(t), edge, wiringtest.At("qr-leg", leg)))
		require.NoError(t, d.Plug(wait(t), centre, wiringtest.At("qr-centre", s.outsidePort("centre"))))
		require.Empty(t, wiringtest.Plan(t, d, edge, "qr-leg", leg))
		require.NoError(t, d.Sweep(wait(t), "edge", []string{"qr-leg"}))
		require.False(t, wrote(), "a second Plug writes nothing, and neither does another process")
	}

	leg.Addrs = []netip.Prefix{netip.PrefixFrom(addr4(2), 24)}
	require.Equal(t, []string{
		"~ wiring bridge l3kit_anycast: 3 elements missing",
		"~ wiring bridge l3kit_anycast: 10 elements too many",
	}, wiringtest.Plan(t, n, edge, "qr-leg", leg))
	wiringtest.Plug(t, n, edge, "qr-leg", leg)
	require.Contains(t, n.table(), `"vxlan-100" . 10.0.1.2`)
	require.NotContains(t, n.table(), `10.0.1.1 `)

	require.NoError(t, n.Unplug(wait(t), centre, "qr-centre"))
	require.NotContains(t, n.table(), "tapcentre")
	wiringtest.Plug(t, n, centre, "qr-centre", s.outsidePort("centre"))
	require.Contains(t, n.table(), `"tapcentre" . fa:16:3e:0a:0a:0a`, "a port outside that comes later is contained at once")
	require.NoError(t, n.Unplug(wait(t), centre, "qr-centre"))
	require.NoError(t, n.Unplug(wait(t), edge, "qr-leg"))
	require.Empty(t, n.table())
	require.Equal(t, mine, n.nft("list", "table", "bridge", "mine"))
	require.Empty(t, spareOf(t, n))
}

func spareOf(t *testing.T, d interface {
	Spare(context.Context, string, []string) ([]dataplane.Step, error)
}) (lines []string) {
	t.Helper()
	steps, err := d.Spare(t.Context(), "nobody", nil)
	require.NoError(t, err)
	for _, s := range steps {
		lines = append(lines, s.String())
	}
	return lines
}

// A port becomes an anycast one and an ordinary one again in place, its device up all the time. Its
// anycast MAC is contained before the device has it, and until it has another.
func TestPortBecomesAnycastInPlace(t *testing.T) {
	s := newSite(t, overVXLAN)
	n1, n2 := s.node(), s.node()
	ordinary := s.outsidePort("leg")
	ordinary.Outside = false
	leg := n1.box("edge", "qr-leg", ordinary)
	w1, w2 := n1.workload(11), n2.workload(21)
	requireReaches(w1, leg, gateway)
	requireReaches(w2, leg, gateway)
	n1.edges++ // from here on
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // the port speaks with whatever MAC it has
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				leg.speak()
			}
		}
	}()
	for range 3 {
		wiringtest.Plug(t, n1, leg.ns, "qr-leg", s.anycastPort("leg"))
		w1.forget()
		requireReaches(w1, leg, gateway)
		require.Equal(t, anycastMAC, w1.neighbour(gateway))
		wiringtest.Plug(t, n1, leg.ns, "qr-leg", ordinary)
		require.Empty(t, n1.table())
		w2.forget()
		requireReaches(w2, leg, gateway)
		require.Equal(t, centreMAC, w2.neighbour(gateway))
	}
	close(stop)
	<-done
	n1.edges = 0
}

// While a port's device has an anycast MAC, the table has it as well, after each step of a Plug:
// also when another process sweeps between any two of them.
func TestContainedAtEachStep(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	w := n.workload(11)
	ordinary, anycast, changed := s.outsidePort("leg"), s.anycastPort("leg"), s.anycastPort("leg")
	ordinary.Outside = false
	changed.MAC[5]++
	changed.Addrs = []netip.Prefix{netip.PrefixFrom(addr4(2), 24)}
	none, segment := dataplane.Port{}, s.anycastPort("leg")
	segment.Network.Segment = 101
	for name, c := range map[string]struct {
		from, to dataplane.Port
		swept    bool
	}{
		"new":                      {none, anycast, true},
		"ordinary becomes anycast": {ordinary, anycast, true},
		"anycast becomes ordinary": {anycast, ordinary, true},
		"other MAC and address":    {anycast, changed, false},
		"another uplink":           {anycast, segment, true},
	} {
		t.Run(name, func(t *testing.T) {
			other := n.process()
			for sweepAt := 0; ; sweepAt++ {
				ns := n.nameless("edge")
				if c.from.ID != "" {
					wiringtest.Plug(t, n, ns, "qr-leg", c.from)
				}
				looks := 0
				ctx := &watched{Context: t.Context(), look: func() {
					looks++
					if c.swept && looks == sweepAt {
						require.NoError(t, other.Sweep(t.Context(), "nobody", nil))
					}
					if mac := macOf(ns, "qr-leg"); mac == anycast.MAC || mac == changed.MAC {
						table := n.table()
						for _, uplink := range []string{"vxlan-100", "vxlan-101"} {
							if _, err := n.links.LinkByName(uplink); err == nil {
								require.Contains(t, table, `"`+uplink+`" . `+mac.String(), "at look %d, swept at %d", looks, sweepAt)
							}
						}
					}
				}}
				require.NoError(t, n.Plug(ctx, ns, wiringtest.At("qr-leg", c.to)))
				ctx.look()
				require.Empty(t, wiringtest.Plan(t, n, ns, "qr-leg", c.to))
				require.NoError(t, n.Release(wait(t), "edge"))
				require.Empty(t, n.table())
				if !c.swept || sweepAt > looks {
					break
				}
			}
		})
	}
	w.announce()
}

// watched is a context that tells when somebody asks whether it has ended.
type watched struct {
	context.Context
	look func()
}

func (w *watched) Err() error { w.look(); return w.Context.Err() }

func macOf(ns namespace.NS, device string) (mac dataplane.MAC) {
	_ = netdev.In(ns.FD, func(h *netlink.Handle) error { // a device that is not there has none
		l, err := h.LinkByName(device)
		if err == nil {
			mac = dataplane.MAC(l.Attrs().HardwareAddr)
		}
		return err
	})
	return mac
}

// Whatever somebody does to the table is announced to who watches, Plan says it, Plug mends it, and
// what was let through meanwhile is forgotten.
func TestTableTampered(t *testing.T) {
	for name, c := range map[string]struct {
		nft  string
		plan string
	}{
		"table deleted":     {"delete table bridge l3kit_anycast", "table is missing"},
		"all flushed":       {"flush ruleset", "table is missing"},
		"chain flushed":     {"flush chain bridge l3kit_anycast forward", "table has other rules, sets or elements"},
		"rule added":        {"insert rule bridge l3kit_anycast forward accept", "table has other rules, sets or elements"},
		"chain added":       {"add chain bridge l3kit_anycast c", "table has other rules, sets or elements"},
		"set added":         {"add set bridge l3kit_anycast s { type mark; }", "table has other rules, sets or elements"},
		"element deleted":   {`delete element bridge l3kit_anycast legs { "vxlan-100" . fa:16:3e:0a:0a:0a }`, "1 elements missing"},
		"all of a set":      {"flush set bridge l3kit_anycast outer", "1 elements missing"},
		"address forgotten": {"flush set bridge l3kit_anycast addrs4", "1 elements missing"},
		"element added":     {`add element bridge l3kit_anycast legs { "vxlan-100" . fa:16:3e:00:00:15 }`, "1 elements too many"},
		"table dormant":     {"add table bridge l3kit_anycast { flags dormant; }", "table has other rules, sets or elements"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, overVXLAN)
			n := s.node()
			e, w := n.edge(), n.workload(11)
			requireReaches(w, e, gateway)
			drift := n.watch()
			good := n.table()
			n.nft(c.nft)
			require.Equal(t, "edge", next(t, drift))
			for _, d := range []namespace.InterfaceDriver{n, n.process()} {
				require.Equal(t, []string{"~ wiring bridge l3kit_anycast: " + c.plan}, wiringtest.Plan(t, d, e.ns, e.dev, e.port))
			}
			wiringtest.Plug(t, n, e.ns, e.dev, e.port)
			require.Equal(t, good, n.table())
			require.NoError(t, n.Unplug(wait(t), e.ns, e.dev))
			require.Empty(t, n.table())
		})
	}
}

// watch returns the routers of which the node's driver says that somebody may have changed them.
// Carriers, of which the kernel tells when it pleases, have come by then.
func (n *node) watch() <-chan string {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		list, err := n.links.LinkList()
		require.NoError(n.t, err)
		for _, l := range list {
			if l.Type() == "bridge" && l.Attrs().OperState != netlink.OperUp {
				return false
			}
		}
		return true
	}, 20*time.Second, 5*time.Millisecond)
	ctx, stop := context.WithCancel(n.t.Context())
	drift, begun, ended := make(chan string, 100), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.Watch(ctx, func(router string) { // it ends with ctx
			if router == "" {
				close(begun)
				return
			}
			drift <- router
		})
	}()
	<-begun
	n.t.Cleanup(func() { stop(); <-ended })
	return drift
}

// next waits for an announcement.
func next(t *testing.T, drift <-chan string) (router string) {
	t.Helper()
	select {
	case router = <-drift:
	case <-wait(t).Done():
		t.Fatal("nothing is announced")
	}
	return router
}

// Who watches is not told of a router because ports of others come and go, or because somebody
// writes other rules.
func TestOwnChangesAreNotTampering(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	e := n.edge()
	last, lastPort := n.nameless("last"), wiringtest.PortOn(s.carrier.network, "last", 7)
	wiringtest.Plug(t, n, last, "qr-last", lastPort)
	drift := n.watch()
	other := s.anycastPort("other")
	other.MAC[5]++
	other.Addrs = []netip.Prefix{netip.PrefixFrom(addr4(2), 24)}
	for range 3 {
		ns := n.nameless("other")
		wiringtest.Plug(t, n, ns, "qr-other", other)
		require.NoError(t, n.Release(wait(t), "other"))
	}
	n.nft("add table bridge mine")
	for range 2 { // the second time it has read all that happened before the first
		require.NoError(t, n.links.LinkSetAlias(link(t, n.links, "taplast"), ""))
		for router := ""; router != "last"; {
			router = next(t, drift)
			require.Contains(t, []string{"other", "last"}, router)
		}
		wiringtest.Plug(t, n, last, "qr-last", lastPort)
	}
	require.Empty(t, wiringtest.Plan(t, n, e.ns, e.dev, e.port))
}

// The operator of an existing bridge adds an interface to it, as a second uplink: whoever watches
// is told, and then it is contained as well.
func TestOperatorAddsUplink(t *testing.T) {
	s := newSite(t, overExisting)
	n := s.node()
	e, w := n.edge(), n.workload(11)
	requireReaches(w, e, gateway)
	drift := n.watch()
	require.NoError(t, n.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs("eth2"), PeerName: "far2"}))
	require.NoError(t, n.links.LinkSetMaster(link(t, n.links, "eth2"), link(t, n.links, "br-ex")))
	require.Equal(t, "edge", next(t, drift))
	require.Equal(t, []string{"~ wiring bridge l3kit_anycast: 6 elements missing"}, wiringtest.Plan(t, n, e.ns, e.dev, e.port))
	wiringtest.Plug(t, n, e.ns, e.dev, e.port)
	require.Contains(t, n.table(), `"eth2" . fa:16:3e:0a:0a:0a`)

	second := capture(t, n.ns, "eth2")
	for _, l := range []string{"eth2", "far2"} {
		require.NoError(t, n.links.LinkSetUp(link(t, n.links, l)))
	}
	e.announce()
	w.announce()
	second.awaits("the workload", fromMAC(w.port.MAC))
	require.Zero(t, second.count(fromMAC(anycastMAC)))

	require.NoError(t, n.links.LinkDel(link(t, n.links, "eth2")))
	require.Equal(t, "edge", next(t, drift))
	require.Equal(t, []string{"~ wiring bridge l3kit_anycast: 6 elements too many"}, wiringtest.Plan(t, n, e.ns, e.dev, e.port))
	wiringtest.Plug(t, n, e.ns, e.dev, e.port)
	w.announce() // so that the first uplink has something to show
}

// The host itself may have an address on an existing bridge. What it sends to the gateway goes to
// the edge, and not out by the uplink, whether or not the bridge knows where the MAC is.
func TestHostOnExistingBridge(t *testing.T) {
	s := newSite(t, overExisting)
	n := s.node()
	e, w := n.edge(), n.workload(11)
	requireReaches(w, e, gateway)
	wiringtest.Up(t, n.ns, "br-ex", "10.0.1.200/24")
	host := &box{t: t, ns: n.ns, dev: "br-ex", Handle: n.links}
	wiringtest.RequireReach(t, n.ns, e.ns, gateway.String())
	require.Equal(t, anycastMAC, host.neighbour(gateway))
	require.NoError(t, e.LinkSetDown(link(t, e.Handle, e.dev)))
	wiringtest.RequireNoReach(t, n.ns, e.ns, gateway.String())
	host.forget()
	wiringtest.RequireNoReach(t, n.ns, e.ns, gateway.String())
	requireReaches(w, host, netip.MustParseAddr("10.0.1.200"))
	w.announce()
	s.wires[0].awaits("the workload", fromMAC(w.port.MAC))
}

// A process that is killed after any of its system calls leaves what the next Plug completes, and
// what Sweep or Release takes away.
func TestTableOfKilledProcess(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	n.workload(11)
	leg, ns := s.anycastPort("leg"), n.nameless("edge")

	// Killed between the table and the port, or between the port and the table when it unplugs.
	gone := func() {
		wiringtest.Plug(t, n.process(), ns, "qr-leg", leg)
		require.NoError(t, n.links.LinkDel(link(t, n.links, "tapleg")))
	}
	gone()
	require.Equal(t, []string{"- wiring bridge l3kit_anycast: no anycast port is here"}, spareOf(t, n.process()))
	require.NoError(t, n.process().Sweep(wait(t), "nobody", nil))
	require.Empty(t, n.table())
	gone()
	require.NoError(t, n.process().Release(wait(t), "edge"))
	require.Empty(t, n.table())
	gone()
	require.NoError(t, n.process().Unplug(wait(t), ns, "qr-leg"))
	require.Empty(t, n.table())
	gone()
	other := s.anycastPort("other")
	other.MAC[5]++
	wiringtest.Plug(t, n.process(), n.nameless("other"), "qr-other", other)
	require.NotContains(t, n.table(), "tapleg", "the next anycast port's Plug sweeps, too")
	wiringtest.Plug(t, n.process(), ns, "qr-leg", leg)
	require.Contains(t, n.table(), "tapleg")
	require.NoError(t, n.Release(wait(t), "other"))

	// Killed with a part of the table lost: a fresh process completes it.
	good := n.table()
	n.nft(`flush set bridge l3kit_anycast addrs4; flush set bridge l3kit_anycast legs; flush set bridge l3kit_anycast outer`)
	fresh := n.process()
	wiringtest.Plug(t, fresh, ns, "qr-leg", leg)
	require.Equal(t, good, n.table())
	require.NoError(t, fresh.Release(wait(t), "edge"))
	require.Empty(t, n.table())
}

// A Plug whose context ends at any point leaves neither a port nor a table behind.
func TestTableOfEndedPlug(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	w := n.workload(11)
	ns := n.nameless("edge")
	for looks := 0; ; looks++ {
		err := n.Plug(&endsAfter{Context: t.Context(), looks: looks}, ns, wiringtest.At("qr-leg", s.anycastPort("leg")))
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, n.table(), "after %d looks", looks)
		_, err = n.links.LinkByName("tapleg")
		require.Error(t, err, "after %d looks", looks)
	}
	require.NotEmpty(t, n.table())
	w.announce()
}

// endsAfter is a context that ends after it was asked so many times whether it has.
type endsAfter struct {
	context.Context
	looks int
}

func (c *endsAfter) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// Processes on one host plug and unplug anycast ports, and ports outside, at the same time, while
// somebody else writes rules of his own. Whenever all are done, each port that is there is
// contained, and nothing else is in the table.
func TestTableOfTwoProcesses(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	w := n.workload(11)
	w.announce()
	n.nft("add table ip mine")
	const each = 4
	var ports []dataplane.Port
	var spaces []namespace.NS
	for i := range 2 * each {
		p := s.anycastPort(fmt.Sprintf("p%d", i))
		if p.MAC[5] = byte(i); i%each == 0 {
			p.Anycast, p.Outside = nil, true
		}
		p.Addrs = []netip.Prefix{netip.PrefixFrom(addr4(byte(i+1)), 24)}
		ports, spaces = append(ports, p), append(spaces, n.nameless(fmt.Sprintf("r%d", i)))
	}
	processes := []namespace.InterfaceDriver{n.process(), n.process()}
	for range 5 {
		there := make([]bool, len(ports))
		var wg sync.WaitGroup
		for i, p := range ports {
			wg.Go(func() {
				d, dev := processes[i/each], "qr-"+p.ID
				for range 4 {
					if err := d.Plug(wait(t), spaces[i], wiringtest.At(dev, p)); err != nil {
						t.Errorf("plug %s: %v", dev, err)
					}
					if there[i] = rand.IntN(2) == 0; there[i] {
						continue
					}
					if err := d.Unplug(wait(t), spaces[i], dev); err != nil {
						t.Errorf("unplug %s: %v", dev, err)
					}
				}
			})
		}
		for i := range 10 {
			n.nft(fmt.Sprintf("add chain ip mine c%d", i))
			n.nft(fmt.Sprintf("delete chain ip mine c%d", i))
		}
		wg.Wait()
		anycast := 0
		for i, p := range ports {
			if there[i] {
				if p.Anycast != nil {
					anycast++
				}
				require.Empty(t, wiringtest.Plan(t, n, spaces[i], "qr-"+p.ID, p))
			}
		}
		require.Empty(t, spareOf(t, n))
		require.Equal(t, anycast > 0, n.table() != "")
		for i, p := range ports {
			require.Equal(t, there[i] && p.Anycast != nil, strings.Contains(n.table(), p.MAC.String()), "%s in %s", p.ID, n.table())
		}
	}
}

// On this kernel anycast ports can be plugged; to find out writes nothing.
func TestCheckAnycast(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	wrote := n.writes()
	require.NoError(t, n.CheckAnycast(t.Context()))
	require.NoError(t, n.Check(t.Context()))
	require.False(t, wrote())
	require.Empty(t, strings.TrimSpace(n.nft("list", "ruleset")))
	n.edge()
	require.NoError(t, n.Check(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, n.CheckAnycast(ctx), context.Canceled)
	require.ErrorIs(t, n.Check(ctx), context.Canceled)
	n.workload(11).announce()

	d := n.process()
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.CheckAnycast(t.Context()), dataplane.ErrClosed)
	require.ErrorIs(t, d.Plug(t.Context(), n.nameless("r"), wiringtest.At("qr-x", s.anycastPort("x"))), dataplane.ErrClosed)
}

// A table that a process holds (nft -i, owner flag) is that process's, and not touched.
func TestTableOfAnotherOwner(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	n.workload(11).announce()
	release := n.own("l3kit_anycast")
	ns := n.nameless("edge")
	err := n.Plug(wait(t), ns, wiringtest.At("qr-leg", s.anycastPort("leg")))
	require.ErrorIs(t, err, dataplane.ErrForeign)
	_, err = n.links.LinkByName("tapleg")
	require.Error(t, err)
	ordinary := wiringtest.PortOn(s.carrier.network, "ordinary", 7)
	wiringtest.Plug(t, n, n.nameless("r2"), "qr-ordinary", ordinary)
	release()
	wiringtest.Plug(t, n, ns, "qr-leg", s.anycastPort("leg"))
}

// A kernel without nf_tables for bridges, or without a part of it, has no anycast ports: Plan, Plug
// and CheckAnycast say what it lacks, and nothing is left behind. All other ports work.
func TestKernelWithoutTablesForBridges(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	lacking := n.CheckAnycast(t.Context())
	if lacking == nil {
		return // see TestCheckAnycast
	}
	require.Regexp(t, "nft_meta_bridge|CONFIG_NF_TABLES", lacking.Error())
	w1, w2 := n.workload(11), n.workload(12)
	ns, p := n.nameless("edge"), wiringtest.At("qr-leg", s.anycastPort("leg"))
	_, planned := n.Plan(t.Context(), ns, p)
	for _, err := range []error{lacking, planned, n.Plug(wait(t), ns, p)} {
		require.ErrorIs(t, err, dataplane.ErrUnsupported)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := n.links.LinkByName("tapleg")
	require.Error(t, err)

	drift := n.watch()
	centre := n.withCentre()
	requireReaches(w1, w2, w2.addr())
	requireReaches(w1, centre, gateway)
	require.NoError(t, n.Check(t.Context()))
	require.Empty(t, spareOf(t, n))
	require.NoError(t, n.Sweep(wait(t), "nobody", nil))
	require.NoError(t, n.links.LinkSetMTU(link(t, n.links, "tapcentre"), 1400))
	require.Equal(t, "centre", next(t, drift))
	require.NoError(t, n.Release(wait(t), "centre"))
}

// A process is killed while it plugs and unplugs anycast ports. Whenever that is, the next process
// completes what it left, or takes it away.
func TestKilledWhilePlugging(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	n.workload(11).announce()
	ns, p := n.nameless("r0"), s.killedPort(0)
	for round := range 12 {
		n.kill(time.Duration(rand.IntN(40)) * time.Millisecond)
		if round%2 == 0 {
			wiringtest.Plug(t, n.process(), ns, "qr-leg0", p)
			require.Contains(t, n.table(), p.MAC.String())
		}
		fresh := n.process()
		for i := range 2 {
			require.NoError(t, fresh.Release(wait(t), fmt.Sprintf("r%d", i)))
		}
		require.Empty(t, n.table())
		require.Empty(t, spareOf(t, fresh))
	}
}

func (s *site) killedPort(i int) dataplane.Port {
	p := s.anycastPort(fmt.Sprintf("leg%d", i))
	p.MAC[5] = byte(i)
	return p
}

// kill has another process plug and unplug two ports again and again, for some time.
func (n *node) kill(after time.Duration) {
	n.t.Helper()
	host := os.NewFile(uintptr(must(unix.Dup(n.ns.FD))), "host")
	defer host.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPlugUntilKilled$", "-test.v")
	cmd.Env = append(os.Environ(), "PLUG_UNTIL_KILLED=1")
	cmd.ExtraFiles = []*os.File{host}
	out, err := cmd.StdoutPipe()
	require.NoError(n.t, err)
	require.NoError(n.t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "begun" {
		continue
	}
	require.NoError(n.t, lines.Err())
	time.Sleep(after)
	require.NoError(n.t, cmd.Process.Kill())
	require.Error(n.t, cmd.Wait())
	require.Equal(n.t, -1, cmd.ProcessState.ExitCode(), "it was killed, and did not end by itself")
}

func must(fd int, err error) int {
	if err != nil {
		panic(err)
	}
	return fd
}

// TestPlugUntilKilled is the process that kill starts.
func TestPlugUntilKilled(t *testing.T) {
	if os.Getenv("PLUG_UNTIL_KILLED") == "" {
		return // it is no test
	}
	s := &site{t: t, carrier: overVXLAN}
	n := &node{site: s, number: 1, ns: namespace.NS{FD: 3}}
	d := n.process()
	fmt.Println("\nbegun")
	for {
		for i := range 2 {
			ns, p, dev := n.nameless(fmt.Sprintf("r%d", i)), s.killedPort(i), fmt.Sprintf("qr-leg%d", i)
			if err := d.Plug(t.Context(), ns, wiringtest.At(dev, p)); err != nil {
				t.Fatal(err)
			}
			if err := d.Unplug(t.Context(), ns, dev); err != nil {
				t.Fatal(err)
			}
		}
	}
}
