package namespace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

func addrs(list ...string) []netip.Addr {
	var a []netip.Addr
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

func via(dest, hop string) dataplane.Route {
	return dataplane.Route{Dest: netip.MustParsePrefix(dest), NextHop: netip.MustParseAddr(hop)}
}

// anEdge is threeLegs on a host with some of its workloads. Another edge is 169.254.64.2, the
// centre 169.254.64.99.
func anEdge() dataplane.Router {
	r := threeLegs()
	r.Ports[0].Anycast = &dataplane.Anycast{Neighbours: addrs("10.0.1.5", "10.0.1.6", "10.0.1.8", "fd00:1::8", "fd00:1::9")}
	r.Ports[1].Anycast = &dataplane.Anycast{Neighbours: addrs("10.0.2.8", "10.0.2.9")}
	r.Gateway = &dataplane.Gateway{
		Port:            dataplane.Port{ID: "gw-1", Network: dataplane.Network{ID: "net-ext"}, MAC: mac(13), MTU: 1500},
		NextHops:        addrs("198.51.100.1"),
		OnLink:          prefixes("203.0.113.0/24"),
		FloatingIPsOnly: true,
		Hairpin:         netip.MustParseAddr("203.0.113.10"),
	}
	r.FloatingIPs = append(r.FloatingIPs, fip("f2", "203.0.113.21", "10.0.2.9"))
	r.Routes = append(r.Routes, via("192.0.2.0/24", "203.0.113.7"), via("10.0.2.128/25", "10.0.2.9"), via("10.7.0.0/16", "169.254.64.2"))
	r.Transit = &dataplane.Transit{
		Port: dataplane.Port{ID: "tr", Network: dataplane.Network{ID: "net-tr"}, MAC: mac(21), MTU: 1500, Addrs: prefixes("169.254.64.1/18")},
		Routes: []dataplane.Route{
			via("10.0.1.7/32", "169.254.64.2"), via("10.0.2.7/32", "169.254.64.2"), via("fd00:1::7/128", "fe80::2"),
			via("10.0.1.0/24", "169.254.64.99"), via("10.0.2.0/24", "169.254.64.99"), via("10.0.3.0/24", "169.254.64.99"),
			via("fd00:1::/64", "fe80::99"),
		},
		Centre: addrs("169.254.64.99", "fe80::99"),
		External: []dataplane.Route{
			via("203.0.113.27/32", "169.254.64.2"), via("203.0.113.10/32", "169.254.64.99"), via("203.0.113.0/24", "169.254.64.98"),
			via("2001:db8::/64", "fe80::2"),
		},
		Elsewhere: addrs("10.0.1.6"),
	}
	return r
}

// theCentre is the centre to the same edges. It has the ID of the others, into which it may turn.
func theCentre() dataplane.Router {
	r := threeLegs()
	for i := range r.Ports {
		r.Ports[i].Outside, r.Ports[i].MAC = true, mac(byte(31+i))
	}
	r.FloatingIPs = []dataplane.FloatingIP{fip("f6", "203.0.113.26", "10.0.1.6")}
	r.Transit = &dataplane.Transit{
		Port: dataplane.Port{ID: "tr", Network: dataplane.Network{ID: "net-tr"}, MAC: mac(39), MTU: 1500, Addrs: prefixes("169.254.64.99/18")},
		Routes: []dataplane.Route{
			via("10.0.1.5/32", "169.254.64.1"), via("10.0.1.6/32", "169.254.64.1"), via("10.0.1.7/32", "169.254.64.2"),
			via("10.0.2.7/32", "169.254.64.2"), via("fd00:1::7/128", "fe80::2"),
		},
		External:  []dataplane.Route{via("203.0.113.20/32", "169.254.64.1")},
		Elsewhere: addrs("10.0.1.5", "10.0.1.7"),
	}
	return r
}

func instance(base dataplane.Router, fns ...func(*dataplane.Router)) dataplane.Router {
	for _, fn := range fns {
		fn(&base)
	}
	return base
}

// instances are states beside variants.
func instances() []dataplane.Router {
	return []dataplane.Router{
		anEdge(),
		theCentre(),
		instance(anEdge(), func(r *dataplane.Router) { r.Gateway, r.FloatingIPs, r.Routes = nil, nil, r.Routes[:5] }),
		instance(anEdge(), func(r *dataplane.Router) { r.FloatingIPs = nil }), // the gateway has no address
		instance(anEdge(), func(r *dataplane.Router) { // all floating IPs replaced
			r.FloatingIPs, r.Transit.Elsewhere = []dataplane.FloatingIP{fip("f3", "203.0.113.23", "10.0.1.6")}, nil
		}),
		instance(anEdge(), func(r *dataplane.Router) { r.Gateway.ID = "gw" }), // the device of the other gateway
		instance(anEdge(), func(r *dataplane.Router) { r.Ports[0].Addrs = prefixes("10.0.1.254/24", "fd00:1::fe/64") }),
		instance(anEdge(), func(r *dataplane.Router) {
			r.Transit.Addrs, r.Transit.Centre[0] = prefixes("169.254.64.3/18"), addrs("169.254.64.98")[0]
		}),
		// One address is all that there is of a subnet.
		instance(anEdge(), func(r *dataplane.Router) {
			r.Ports[1].Addrs, r.Ports[1].Anycast.Neighbours = prefixes("10.0.2.1/32"), nil
			r.Routes, r.FloatingIPs, r.Transit.Elsewhere = nil, nil, nil
		}),
		instance(anEdge(), func(r *dataplane.Router) { // IPv6 only
			r.Gateway, r.FloatingIPs, r.Routes, r.Transit.External, r.Transit.Elsewhere = nil, nil, nil, nil, nil
			r.Ports, r.Transit.Centre = r.Ports[:1], r.Transit.Centre[1:]
			r.Ports[0].Addrs, r.Ports[0].Anycast.Neighbours = r.Ports[0].Addrs[1:], addrs("fd00:1::8")
			r.Transit.Routes = r.Transit.Routes[2:3]
		}),
	}
}

func TestAnInstanceIsMadeAsWanted(t *testing.T) {
	for name, r := range map[string]dataplane.Router{"edge": anEdge(), "centre": theCentre()} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			plan, err := b.Plan(t.Context(), r)
			require.NoError(t, err)
			require.Equal(t, plan, b.apply(t, r))
			require.Equal(t, want(r), b.observed(t, "r1"))
			require.Empty(t, b.apply(t, r).Steps)
			b.in(t, "r1", func(h *netlink.Handle) {
				for dev, scope := range map[string]netlink.Scope{"qr-web": netlink.SCOPE_UNIVERSE, "qt-tr": netlink.SCOPE_LINK} {
					l, err := h.LinkByName(dev)
					require.NoError(t, err)
					list, err := h.AddrList(l, netlink.FAMILY_V4)
					require.NoError(t, err)
					require.Len(t, list, 1)
					require.EqualValues(t, scope, list[0].Scope, dev)
					require.Equal(t, name == "edge" && dev == "qr-web", list[0].Flags&unix.IFA_F_NOPREFIXROUTE != 0, dev)
				}
			})
			require.Equal(t, "1", b.sysctl(t, "ipv4/conf/qt-tr/accept_local"))
			require.Equal(t, map[string]string{"edge": "1", "centre": "0"}[name], b.sysctl(t, "ipv4/fwmark_reflect"))

			b.reopen(t) // a new process finds everything as it is
			p := b.apply(t, r)
			require.Len(t, p.Steps, 1, "%s", p)
			require.Equal(t, dataplane.KindRules, p.Steps[0].Kind, "the firewall of this test forgets with its process")
		})
	}
}

// sysctl reads a setting in the namespace of r1.
func (b *bench) sysctl(t *testing.T, name string) (value string) {
	t.Helper()
	require.NoError(t, b.inside(t, func() error {
		v, err := readShort("/proc/sys/net/"+name, make([]byte, 16))
		value = string(v)
		return err
	}))
	return value
}

// inside runs fn in the namespace of r1.
func (b *bench) inside(t *testing.T, fn func() error) error {
	t.Helper()
	f, err := netns.Open(filepath.Join(b.dir, dataplane.NamespaceName("r1")))
	require.NoError(t, err)
	defer f.Close()
	return netns.Do(int(f.Fd()), fn)
}

// The kernel sends each packet where the model says. The test stands in for the firewall: it marks
// what a firewall marks.
func TestTheKernelRoutesAnInstanceAsTheModel(t *testing.T) {
	hosts := []string{
		"10.0.1.5", "10.0.1.6", "10.0.1.7", "10.0.1.77", "10.0.2.7", "10.0.2.8", "10.0.2.9", "10.0.2.77", "10.0.2.200", "10.0.3.7",
		"10.7.0.1", "10.8.0.1", "10.9.0.1", "192.0.2.9", "8.8.8.8", "203.0.113.77", "203.0.113.20", "203.0.113.27", "203.0.113.10", "198.51.100.1",
		"fd00:1::8", "fd00:1::7", "fd00:1::77", "fd00:8::1", "2001:db8::9", "2001:db8:9::1",
	}
	for i, r := range append(instances(), threeLegs()) {
		require.NoError(t, r.Validate(), i)
		b := newBench(t)
		b.apply(t, r)
		m := dataplane.NewModel(r)
		fixed := map[netip.Addr]bool{}
		for _, f := range r.FloatingIPs {
			fixed[f.Fixed] = true
		}
		routed := 0
		b.in(t, "r1", func(h *netlink.Handle) {
			names := map[string]string{} // devices by port
			for dev, p := range portsByDevice(r) {
				names[p.ID] = dev
			}
			for in, dev := range names {
				for _, src := range addrs(hosts...) {
					for _, dst := range addrs(hosts...) {
						trace := m.Trace(dataplane.Packet{In: in, Src: src, Dst: dst, Proto: dataplane.UDP})
						if src == dst || src.Is4() != dst.Is4() || trace.Verdict != dataplane.Forwarded || trace.Dst != dst {
							continue
						}
						mark := uint32(0)
						gateway := r.Gateway != nil && in == r.Gateway.ID
						switch {
						case !isEdge(r):
						case r.Gateway == nil && in == r.Transit.ID:
						case gateway || in != r.Transit.ID && fixed[src]:
							mark = MarkFloatingIP
						case in != r.Transit.ID && slices.Contains(r.Transit.Elsewhere, src) && floats(r, dst):
							mark = MarkToCentre
						}
						found, err := h.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{Mark: mark, Iif: dev, SrcAddr: src.AsSlice()})
						require.NoError(t, err, "state %d: %s %s → %s", i, dev, src, dst)
						next := dst
						if found[0].Gw != nil {
							next = addr(found[0].Gw)
						}
						l, err := h.LinkByIndex(found[0].LinkIndex)
						require.NoError(t, err)
						ways := m.Paths(dataplane.Packet{In: in, Src: src, Dst: dst, Proto: dataplane.UDP})
						require.True(t, slices.ContainsFunc(ways, func(w dataplane.Trace) bool {
							return names[w.Out] == l.Attrs().Name && slices.Contains(w.NextHops, next)
						}), "state %d: %s %s → %s mark %#x: by %s to %s, not as\n%v", i, dev, src, dst, mark, l.Attrs().Name, next, trace)
						routed++
					}
				}
			}
		})
		require.Greater(t, routed, 10, "state %d", i)
	}
}

// floats says that an instance knows an address for that of the outside of a router: a floating IP
// here, or what another instance has.
func floats(r dataplane.Router, a netip.Addr) bool {
	return slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == a }) ||
		slices.ContainsFunc(r.Transit.External, func(x dataplane.Route) bool { return x.Dest == host(a) })
}

// What others do to an instance is noticed, named, announced, and mended.
func TestWhatOthersBreakOfAnInstanceIsMended(t *testing.T) {
	device := func(h *netlink.Handle, dev string) netlink.Link {
		l, err := h.LinkByName(dev)
		require.NoError(t, err)
		return l
	}
	mask := func(mark uint32) *uint32 { return &mark }
	aRule := func(pref, table int, mark uint32) *netlink.Rule {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table = netlink.FAMILY_V4, pref, table
		if mark != 0 {
			r.Mark, r.Mask = mark, mask(mark)
		}
		return r
	}
	damages := map[string]struct {
		do    func(h *netlink.Handle) error
		named string
		kind  dataplane.Kind
	}{
		"rule to the centre": {func(h *netlink.Handle) error { return h.RuleDel(aRule(1, tableToCentre, MarkToCentre)) },
			"+ policy-rule pref 1 fwmark 0x40000/0x40000 lookup 262144", dataplane.KindPolicyRule},
		"rule of floating IPs": {func(h *netlink.Handle) error { return h.RuleDel(aRule(32766, tableFloating, MarkFloatingIP)) },
			"+ policy-rule pref 32766 fwmark 0x20000/0x20000 lookup 131072", dataplane.KindPolicyRule},
		"rule of main": {func(h *netlink.Handle) error { return h.RuleDel(aRule(32766, tableMain, 0)) },
			"+ policy-rule pref 32766 lookup main", dataplane.KindPolicyRule},
		"rule of main later": {func(h *netlink.Handle) error {
			return errors.Join(h.RuleDel(aRule(32766, tableMain, 0)), h.RuleAdd(aRule(32766, tableMain, 0)))
		}, "~ policy-rule pref 32766 fwmark 0x20000/0x20000 lookup 131072: after main, was before", dataplane.KindPolicyRule},
		"rule of local back": {func(h *netlink.Handle) error { return h.RuleAdd(aRule(0, unix.RT_TABLE_LOCAL, 0)) },
			"- policy-rule pref 0 lookup local", dataplane.KindPolicyRule},
		"neighbour": {func(h *netlink.Handle) error {
			return h.RouteDel(&netlink.Route{Dst: ipnet("10.0.1.5/32"), Scope: netlink.SCOPE_LINK})
		},
			"+ route 10.0.1.5/32: dev qr-web src 10.0.1.1", dataplane.KindRoute},
		"neighbour of IPv6": {func(h *netlink.Handle) error { return h.RouteDel(&netlink.Route{Dst: ipnet("fd00:1::8/128")}) },
			"+ route fd00:1::8/128: dev qr-web", dataplane.KindRoute},
		"route of floating IPs": {func(h *netlink.Handle) error {
			return h.RouteDel(&netlink.Route{Dst: ipnet("203.0.113.0/24"), Table: tableFloating, Scope: netlink.SCOPE_LINK})
		}, "+ route 203.0.113.0/24 table 131072: dev qg-gw-1", dataplane.KindRoute},
		"route to the centre": {func(h *netlink.Handle) error {
			return h.RouteDel(&netlink.Route{Dst: ipnet("0.0.0.0/0"), Table: tableToCentre})
		}, "+ route default (IPv4) table 262144: via 169.254.64.99 dev qt-tr", dataplane.KindRoute},
		"route to a floating IP": {func(h *netlink.Handle) error {
			return h.RouteDel(&netlink.Route{Dst: ipnet("203.0.113.27/32"), Table: tableRest})
		}, "+ route 203.0.113.27/32 table default: via 169.254.64.2 dev qt-tr", dataplane.KindRoute},
		"route added": {func(h *netlink.Handle) error {
			return h.RouteAdd(&netlink.Route{Dst: ipnet("8.8.0.0/16"), Table: tableRest, LinkIndex: device(h, "qt-tr").Attrs().Index})
		}, "- route 8.8.0.0/16 table default", dataplane.KindRoute},
		"prefix route": {func(h *netlink.Handle) error {
			l := device(h, "qr-web")
			return errors.Join(h.AddrDel(l, mustAddr("10.0.1.1/24")), h.AddrAdd(l, mustAddr("10.0.1.1/24")))
		}, "~ address qr-web 10.0.1.1/24: scope universe noprefixroute, was scope universe", dataplane.KindAddress},
		"prefix route of IPv6": {func(h *netlink.Handle) error { return h.AddrReplace(device(h, "qr-web"), mustAddr("fd00:1::1/64")) },
			"~ address qr-web fd00:1::1/64: scope universe noprefixroute, was scope universe", dataplane.KindAddress},
		"scope": {func(h *netlink.Handle) error {
			l := device(h, "qt-tr")
			return errors.Join(h.AddrDel(l, mustAddr("169.254.64.1/18")), h.AddrAdd(l, mustAddr("169.254.64.1/18")))
		}, "~ address qt-tr 169.254.64.1/18: scope link, was scope universe", dataplane.KindAddress},
		"link down and up": {func(h *netlink.Handle) error {
			l := device(h, "qr-web")
			return errors.Join(h.LinkSetDown(l), h.LinkSetUp(l))
		}, "+ address qr-web fe80::f816:3eff:fe00:1/64", ""},
		"transit down and up": {func(h *netlink.Handle) error {
			l := device(h, "qt-tr")
			return errors.Join(h.LinkSetDown(l), h.LinkSetUp(l))
		}, "+ address qt-tr fe80::f816:3eff:fe00:15/64", ""},
		"gateway down and up": {func(h *netlink.Handle) error {
			l := device(h, "qg-gw-1")
			return errors.Join(h.LinkSetDown(l), h.LinkSetUp(l))
		}, "+ route 203.0.113.0/24 table 131072: dev qg-gw-1", ""},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, anEdge())
			require.Empty(t, b.apply(t, anEdge()).Steps)
			announced, err := b.Watch(t.Context())
			require.NoError(t, err)
			b.in(t, "r1", func(h *netlink.Handle) { require.NoError(t, damage.do(h)) })
			drift, ok := heard(t, announced)
			require.True(t, ok)
			require.Equal(t, "r1", drift.Router)
			if damage.kind != "" {
				require.Equal(t, damage.kind, drift.Kind)
			}
			p, err := b.Plan(t.Context(), anEdge())
			require.NoError(t, err)
			require.Contains(t, p.String(), damage.named)
			require.Equal(t, p, b.apply(t, anEdge()))
			require.Equal(t, want(anEdge()), b.observed(t, "r1"))
			require.Empty(t, b.apply(t, anEdge()).Steps)
		})
	}
}

func TestASettingOfAnInstanceThatOthersChangeIsMended(t *testing.T) {
	for name, r := range map[string]dataplane.Router{"edge": anEdge(), "centre": theCentre()} {
		settings := ofInstance(r)
		require.Len(t, settings, map[string]int{"edge": 2, "centre": 1}[name])
		for _, s := range settings {
			t.Run(name+" "+s.name, func(t *testing.T) {
				b := newBench(t)
				b.apply(t, r)
				require.NoError(t, b.inside(t, func() error { return os.WriteFile(s.path(), []byte("0"), 0) }))
				p := b.apply(t, r)
				require.Contains(t, p.String(), "~ sysctl "+s.dotted()+": 1, was 0")
				require.Equal(t, "1", b.sysctl(t, s.name))
				require.Empty(t, b.apply(t, r).Steps)
			})
		}
	}
}

func TestAnyInstanceLeadsToAnyOther(t *testing.T) {
	b := newBench(t)
	states := append(instances(), threeLegs(), dataplane.Router{ID: "r1"})
	lead := func(i, j int) {
		to := states[j]
		plan, err := b.Plan(t.Context(), to)
		require.NoError(t, err)
		done := b.apply(t, to)
		require.Equal(t, plan, done)
		require.Equal(t, want(to), b.observed(t, "r1"), "from %d to %d:\n%s", i, j, done)
		require.Empty(t, b.apply(t, to).Steps, "from %d to %d", i, j)
	}
	for i, state := range states {
		b.apply(t, state)
		for j := range i {
			lead(i, j)
			lead(j, i)
		}
	}
}

func TestAnEdgeThatBecomesCentralHasNoRulesAndMarksNothing(t *testing.T) {
	for name, fresh := range map[string]bool{"by the same process": false, "by another": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, anEdge())
			require.Equal(t, edgeRules(), b.observed(t, "r1").rules)
			if fresh {
				b.reopen(t)
			}
			b.apply(t, threeLegs())
			b.in(t, "r1", func(h *netlink.Handle) {
				rules, err := h.RuleList(netlink.FAMILY_V4)
				require.NoError(t, err)
				require.Len(t, rules, 3)
				require.Equal(t, []int{prefLocal, prefMain, prefDefault}, []int{rules[0].Priority, rules[1].Priority, rules[2].Priority})
				for _, table := range []int{tableFloating, tableToCentre, tableRest} {
					routes, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
					require.NoError(t, err)
					require.Empty(t, routes)
				}
			})
			require.Equal(t, "0", b.sysctl(t, "ipv4/fwmark_reflect"))
			require.Equal(t, want(threeLegs()), b.observed(t, "r1"))
		})
	}
}

// While a leg becomes anycast, and while it becomes an ordinary one again, its neighbours are on
// the link, and it has its address, all the time.
func TestNeighboursStayReachableWhileALegBecomesAnycast(t *testing.T) {
	b := newBench(t)
	for _, r := range []dataplane.Router{threeLegs(), anEdge(), threeLegs()} {
		known := b.registry.all["r1"]
		if known == nil {
			b.apply(t, r)
			continue
		}
		require.NoError(t, b.eachAction(t, r, func(at int) {
			b.in(t, "r1", func(h *netlink.Handle) {
				for _, dst := range addrs("10.0.1.5", "fd00:1::8") {
					routes, err := h.RouteGet(dst.AsSlice())
					require.NoError(t, err)
					l, err := h.LinkByIndex(routes[0].LinkIndex)
					require.NoError(t, err)
					require.Equal(t, "qr-web", l.Attrs().Name, "action %d: to %s", at, dst)
				}
			})
		}))
		require.Equal(t, want(r), b.observed(t, "r1"))
	}
}

// eachAction applies a router the long way, and calls fn after each action.
func (b *bench) eachAction(t *testing.T, r dataplane.Router, fn func(at int)) error {
	t.Helper()
	k, err := b.registry.take(t.Context(), r.ID)
	require.NoError(t, err)
	defer b.registry.leave(k)
	j, err := b.longJob(t.Context(), k.site, r, false, false)
	require.NoError(t, err)
	for i := range j.actions {
		do := j.actions[i].do
		j.actions[i].do = func(ctx context.Context) error {
			err := do(ctx)
			fn(i)
			return err
		}
	}
	return j.run(t.Context())
}

func TestAFailureAtAnInstanceIsTakenBack(t *testing.T) {
	boom := errors.New("boom")
	states := instances()
	for i, pair := range [][2]dataplane.Router{
		{threeLegs(), anEdge()}, {anEdge(), threeLegs()}, {anEdge(), theCentre()}, {theCentre(), anEdge()},
		{anEdge(), states[3]}, {states[3], anEdge()}, {anEdge(), states[4]}, {threeLegs(), states[5]}, {states[5], threeLegs()}, {anEdge(), states[6]},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			b := newBench(t)
			for at := i % 2; ; at += 2 { // all others would take too long
				b.apply(t, pair[0])
				before, rules := b.observed(t, "r1"), b.rules(t)
				err, ok := b.sabotaged(t, pair[1], at, (at/2+i)%2 == 0, boom)
				if !ok {
					break
				}
				require.ErrorIs(t, err, boom)
				if !errors.Is(err, dataplane.ErrNewInForce) {
					require.ErrorIs(t, err, dataplane.ErrOldInForce, "action %d", at)
					require.Equal(t, before, b.observed(t, "r1"), "action %d", at)
					require.Equal(t, rules, b.rules(t), "action %d", at)
				}
				b.apply(t, pair[1])
				require.Equal(t, want(pair[1]), b.observed(t, "r1"), "action %d", at)
				require.Len(t, b.rules(t), len(wantRules(pair[1])), "action %d", at)
			}
		})
	}
}

// Rules may be written again, or taken back before they were written, as after a failure half-way.
func TestRulesAreWrittenOnce(t *testing.T) {
	b := newBench(t)
	b.apply(t, threeLegs())
	before, s := b.rules(t), b.registry.all["r1"].site
	require.NoError(t, s.writeRules(t.Context(), edgeRules(), standardRules()))
	require.Equal(t, before, b.rules(t))
	for range 2 {
		require.NoError(t, s.writeRules(t.Context(), standardRules(), edgeRules()))
		require.Equal(t, edgeRules(), b.observed(t, "r1").rules)
		require.Len(t, b.rules(t), len(edgeRules()))
	}
	require.NoError(t, s.writeRules(t.Context(), edgeRules(), standardRules()))
	require.Equal(t, before, b.rules(t))
}

// rules lists the rules of r1, whosever they are.
func (b *bench) rules(t *testing.T) (list []string) {
	t.Helper()
	b.in(t, "r1", func(h *netlink.Handle) {
		rules, err := h.RuleList(netlink.FAMILY_V4)
		require.NoError(t, err)
		for _, r := range rules {
			list = append(list, fmt.Sprintf("%s mark %#x", r, r.Mark))
		}
	})
	return list
}

// crowded is an edge with many neighbours, and many elsewhere.
func crowded(n int) dataplane.Router {
	r := anEdge()
	r.Ports[0].Addrs[0] = netip.MustParsePrefix("10.0.1.1/16")
	r.Ports, r.Routes, r.FloatingIPs = r.Ports[:1], []dataplane.Route{via("10.9.0.0/16", "10.0.1.6")}, []dataplane.FloatingIP{fip("f", "203.0.113.20", "10.0.1.5")}
	at := func(a, b byte, i int) netip.Addr {
		return netip.AddrFrom4([4]byte{a, b, byte(i/250 + 100), byte(i%250 + 1)})
	}
	for i := range n {
		r.Ports[0].Anycast.Neighbours = append(r.Ports[0].Anycast.Neighbours, at(10, 0, i))
		r.Transit.Routes = append(r.Transit.Routes, dataplane.Route{Dest: host(at(10, 99, i)), NextHop: addrs("169.254.64.2")[0]})
		r.Transit.External = append(r.Transit.External, dataplane.Route{Dest: host(at(198, 18, i)), NextHop: addrs("169.254.64.2")[0]})
		r.Transit.Elsewhere = append(r.Transit.Elsewhere, at(10, 0, i))
	}
	r.Transit.Routes = slices.DeleteFunc(r.Transit.Routes, func(x dataplane.Route) bool { return x.Dest == netip.MustParsePrefix("10.0.1.0/24") })
	r.Transit.Routes = append(r.Transit.Routes, via("10.99.0.0/16", "169.254.64.99"))
	return r
}

// One more of something costs the same whether there are ten or a thousand: so many requests to the
// kernel, and no look at what there is.
func TestTheQuickWayOfAnInstanceWritesTheDifferenceOnly(t *testing.T) {
	changes := []struct {
		name     string
		change   func(*dataplane.Router)
		requests uint32
		since    Delta
	}{
		{"a neighbour", func(r *dataplane.Router) {
			r.Ports[0].Anycast.Neighbours = append(r.Ports[0].Anycast.Neighbours, addrs("10.0.1.20")...)
		}, 1, Delta{Neighbours: Difference[Neighbour]{Added: []Neighbour{{"web", addrs("10.0.1.20")[0]}}}}},
		{"a workload elsewhere", func(r *dataplane.Router) {
			r.Transit.Routes = append(r.Transit.Routes, via("10.99.0.1/32", "169.254.64.2"))
		},
			1, Delta{Routes: Difference[dataplane.Route]{Added: []dataplane.Route{via("10.99.0.1/32", "169.254.64.2")}}}},
		{"it moves", func(r *dataplane.Router) {
			r.Transit.Routes[len(r.Transit.Routes)-1].NextHop = addrs("169.254.64.3")[0]
		},
			1, Delta{Routes: Difference[dataplane.Route]{
				Removed: []dataplane.Route{via("10.99.0.1/32", "169.254.64.2")}, Added: []dataplane.Route{via("10.99.0.1/32", "169.254.64.3")}}}},
		{"one of IPv6", func(r *dataplane.Router) {
			r.Transit.Routes = append(r.Transit.Routes, via("fd00:1::70/128", "fe80::2"))
		},
			1, Delta{Routes: Difference[dataplane.Route]{Added: []dataplane.Route{via("fd00:1::70/128", "fe80::2")}}}},
		{"a floating IP elsewhere", func(r *dataplane.Router) {
			r.Transit.External = slices.Insert(slices.Clone(r.Transit.External), 1, via("203.0.113.30/32", "169.254.64.2"))
		}, 1, Delta{Remote: Difference[dataplane.Route]{Added: []dataplane.Route{via("203.0.113.30/32", "169.254.64.2")}}}},
		{"a fixed address", func(r *dataplane.Router) { r.Transit.Elsewhere = append(r.Transit.Elsewhere, addrs("10.0.1.20")...) },
			0, Delta{Elsewhere: Difference[netip.Addr]{Added: addrs("10.0.1.20")}}},
		{"a neighbour comes from elsewhere, with its floating IP", func(r *dataplane.Router) {
			last := len(r.Transit.Routes) - 2
			r.Transit.Routes = slices.Delete(slices.Clone(r.Transit.Routes), last, last+1)
			r.Transit.External = slices.Delete(slices.Clone(r.Transit.External), 1, 2)
			r.Ports[0].Anycast.Neighbours = append(r.Ports[0].Anycast.Neighbours, addrs("10.0.99.1")...)
			r.FloatingIPs = append(r.FloatingIPs, fip("g", "203.0.113.30", "10.0.99.1"))
		}, 4, Delta{
			Added:      []dataplane.FloatingIP{fip("g", "203.0.113.30", "10.0.99.1")},
			Neighbours: Difference[Neighbour]{Added: []Neighbour{{"web", addrs("10.0.99.1")[0]}}},
			Routes:     Difference[dataplane.Route]{Removed: []dataplane.Route{via("10.99.0.1/32", "169.254.64.3")}},
			Remote:     Difference[dataplane.Route]{Removed: []dataplane.Route{via("203.0.113.30/32", "169.254.64.2")}},
		}},
		{"it leaves", func(r *dataplane.Router) {
			r.Ports[0].Anycast.Neighbours = r.Ports[0].Anycast.Neighbours[:len(r.Ports[0].Anycast.Neighbours)-1]
			r.FloatingIPs = r.FloatingIPs[:1]
		}, 3, Delta{ // its address, its route, and what the kernel knows of its MAC
			Removed:    []dataplane.FloatingIP{fip("g", "203.0.113.30", "10.0.99.1")},
			Neighbours: Difference[Neighbour]{Removed: []Neighbour{{"web", addrs("10.0.99.1")[0]}}},
		}},
	}
	for _, n := range []int{10, 1000} {
		b := newBench(t)
		r := crowded(n)
		b.apply(t, r)
		s := b.registry.all["r1"].site
		for _, c := range changes {
			r = r.Clone()
			c.change(&r)
			require.NoError(t, r.Validate(), c.name)
			before, asked := s.write.seq, len(b.firewall.changes)
			if s.read != nil {
				s.read.Close()
				s.read = nil
			}
			plan, err := b.Plan(t.Context(), r)
			require.NoError(t, err)
			require.Equal(t, before, s.write.seq, "%s: Plan touches nothing", c.name)
			require.Equal(t, plan, b.apply(t, r))
			require.Equal(t, c.requests, s.write.seq-before, "%s of %d: %s", c.name, n, plan)
			require.Nil(t, s.read, "%s of %d: nothing is listed", c.name, n)
			require.Len(t, b.firewall.changes, asked+1, c.name)
			require.Equal(t, &c.since, b.firewall.changes[asked].Since, c.name)
			require.Empty(t, b.apply(t, r).Steps)
		}
		require.Equal(t, want(r), b.observed(t, "r1"))
		b.reopen(t)
		p := b.apply(t, r)
		require.Len(t, p.Steps, 1, "%s", p)
	}
}

// What the quick way cannot know to be right is left to Validate, and what changes more than its
// own routes to the long way.
func TestTheQuickWayOfAnInstanceIsNotTakenTooFar(t *testing.T) {
	base := anEdge()
	tests := map[string]struct {
		change func(*dataplane.Router)
		fault  string // empty: the router is valid
	}{
		"a neighbour with a floating IP leaves": {func(r *dataplane.Router) { r.Ports[0].Anycast.Neighbours = r.Ports[0].Anycast.Neighbours[1:] }, "FloatingIPs[0].Fixed"},
		"a next hop leaves":                     {func(r *dataplane.Router) { r.Ports[1].Anycast.Neighbours = r.Ports[1].Anycast.Neighbours[1:] }, "Routes[2].NextHop"},
		"a neighbour twice": {func(r *dataplane.Router) {
			r.Ports[0].Anycast.Neighbours = append(r.Ports[0].Anycast.Neighbours, addrs("10.0.1.5")...)
		}, "is there twice"},
		"a neighbour of no subnet": {func(r *dataplane.Router) {
			r.Ports[0].Anycast.Neighbours = append(r.Ports[0].Anycast.Neighbours, addrs("10.0.2.5")...)
		}, "is in no subnet of the port"},
		"a route twice": {func(r *dataplane.Router) {
			r.Transit.Routes = append(r.Transit.Routes, via("10.0.1.7/32", "169.254.64.3"))
		}, "is also Transit.Routes[0].Dest"},
		"a floating IP elsewhere that is here": {func(r *dataplane.Router) {
			r.Transit.External = append(r.Transit.External, via("203.0.113.20/32", "169.254.64.3"))
		}, "is also a floating IP of this instance"},
		"a floating IP here that is elsewhere": {func(r *dataplane.Router) {
			r.FloatingIPs = append(r.FloatingIPs, fip("f3", "203.0.113.27", "10.0.1.8"))
		}, "is also a floating IP of this instance"},
		"translated here and elsewhere": {func(r *dataplane.Router) { r.Transit.Elsewhere = addrs("10.0.1.5") }, "has a floating IP of this instance"},
		"translated elsewhere and here": {func(r *dataplane.Router) {
			r.FloatingIPs = append(r.FloatingIPs, fip("f3", "203.0.113.23", "10.0.1.6"))
		}, "has a floating IP of this instance"},
		"a floating IP of a remote": {func(r *dataplane.Router) {
			r.FloatingIPs = append(r.FloatingIPs, fip("f3", "203.0.113.23", "10.0.1.7"))
		}, "is not a neighbour"},
		"an extra route comes to lie inside": {func(r *dataplane.Router) {
			r.Transit.Routes = append(r.Transit.Routes, via("10.9.0.0/16", "169.254.64.2"))
		}, ""},
		"the only floating IPs go": {func(r *dataplane.Router) { r.FloatingIPs = nil }, ""},
		"the only floating IPs are replaced": {func(r *dataplane.Router) {
			r.FloatingIPs = []dataplane.FloatingIP{fip("f3", "203.0.113.23", "10.0.1.8")}
		}, ""},
		"an ordinary leg":  {func(r *dataplane.Router) { r.Ports[0].Anycast = nil }, ""},
		"another next hop": {func(r *dataplane.Router) { r.Transit.Centre = addrs("169.254.64.98", "fe80::99") }, ""},
		"another hairpin":  {func(r *dataplane.Router) { r.Gateway.Hairpin = addrs("203.0.113.11")[0] }, ""},
		"IPv6 outside": {func(r *dataplane.Router) {
			r.Transit.External = append(r.Transit.External, via("2001:db8:7::/64", "fe80::2"))
		}, ""},
		"many at the same time": {func(r *dataplane.Router) {
			for i := range maxDelta + 1 {
				r.Transit.Routes = append(r.Transit.Routes, dataplane.Route{
					Dest: host(netip.AddrFrom4([4]byte{10, 0, 3, 0}).Next()), NextHop: addrs("169.254.64.2")[0]})
				r.Transit.Routes[len(r.Transit.Routes)-1].Dest = host(netip.AddrFrom4([4]byte{10, 0, byte(100 + i/250), byte(1 + i%250)}))
			}
		}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, base)
			r := base.Clone()
			test.change(&r)
			_, err := b.Apply(t.Context(), r)
			if test.fault != "" {
				require.ErrorContains(t, err, test.fault)
				require.Equal(t, want(base), b.observed(t, "r1"))
				return
			}
			require.NoError(t, err)
			require.Equal(t, want(r), b.observed(t, "r1"))
			require.Nil(t, b.firewall.changes[len(b.firewall.changes)-1].Since)
		})
	}
}

// IPv6 over the transit needs an address there.
func TestTheTransitGetsItsIPv6AddressWithTheFirstWay(t *testing.T) {
	r := theCentre()
	r.Transit.Routes = r.Transit.Routes[:4]
	b := newBench(t)
	b.apply(t, r)
	six := linkLocal(r.Transit.MAC)
	require.NotContains(t, b.observed(t, "r1").links["qt-tr"].addrs, six)
	for range 2 {
		b.apply(t, theCentre())
		require.Contains(t, b.observed(t, "r1").links["qt-tr"].addrs, six)
		require.Equal(t, want(theCentre()), b.observed(t, "r1"))
		b.apply(t, r)
		require.Equal(t, want(r), b.observed(t, "r1"))
	}
}

// The kernel forgets the MAC of a neighbour that moves to another host.
func TestANeighbourThatMovesIsForgotten(t *testing.T) {
	for _, long := range []bool{false, true} {
		b := newBench(t)
		r := anEdge()
		b.apply(t, r)
		entries := func() (list []string) {
			b.in(t, "r1", func(h *netlink.Handle) {
				l, err := h.LinkByName("qr-web")
				require.NoError(t, err)
				known, err := h.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
				require.NoError(t, err)
				for _, n := range known {
					if !n.IP.IsMulticast() { // the kernel reports groups at random times (IGMP)
						list = append(list, n.IP.String())
					}
				}
				slices.Sort(list)
			})
			return list
		}
		b.in(t, "r1", func(h *netlink.Handle) {
			l, err := h.LinkByName("qr-web")
			require.NoError(t, err)
			for _, ip := range []string{"10.0.1.5", "10.0.1.6"} {
				require.NoError(t, h.NeighSet(&netlink.Neigh{
					LinkIndex: l.Attrs().Index, IP: net.ParseIP(ip), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 5}, State: netlink.NUD_REACHABLE,
				}))
			}
		})
		require.Equal(t, []string{"10.0.1.5", "10.0.1.6"}, entries())
		if long {
			b.reopen(t)
		}
		r.Ports[0].Anycast.Neighbours = slices.Delete(slices.Clone(r.Ports[0].Anycast.Neighbours), 1, 2)
		r.Transit.Routes = append(r.Transit.Routes, via("10.0.1.6/32", "169.254.64.2"))
		r.Transit.Elsewhere = nil
		b.apply(t, r)
		require.Equal(t, []string{"10.0.1.5"}, entries(), "the long way: %t", long)
	}
}

func TestACentreIsListedAndInspectedByItsOwnName(t *testing.T) {
	b := newBench(t)
	centre := theCentre()
	centre.ID = dataplane.CentreID("r1")
	b.apply(t, anEdge())
	b.apply(t, centre) // beside the edge
	require.FileExists(t, filepath.Join(b.dir, "qrouter-r1"))
	require.FileExists(t, filepath.Join(b.dir, "snat-r1"))
	b.reopen(t)
	all, err := b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1", "snat-r1"}, all)
	in, err := b.Inspect(t.Context(), "snat-r1")
	require.NoError(t, err)
	require.Contains(t, in.Held, dataplane.HeldAddr{Addr: addrs("203.0.113.10")[0]})
	require.Contains(t, in.Held, dataplane.HeldAddr{Addr: addrs("169.254.64.99")[0]}, "and so its transit, which nobody else must get")
	in, err = b.Inspect(t.Context(), "r1")
	require.NoError(t, err)
	require.Contains(t, in.Held, dataplane.HeldAddr{Addr: addrs("203.0.113.20")[0]})
	require.NotContains(t, in.Held, dataplane.HeldAddr{Addr: addrs("203.0.113.10")[0]}, "it is the hairpin's, and the centre's")

	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "snat-theirs"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "qrouter-snat-r2"), []byte(mark("snat-r2")), 0o600))
	b.apply(t, anEdge())
	b.apply(t, centre)
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	require.NoError(t, netns.Remove(b.dir, "snat-r1"))
	requireAnnounced(t, announced, "snat-r1", dataplane.KindNamespace)
	all, err = b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1"}, all)
	require.NoError(t, b.Delete(t.Context(), "snat-r1"))
}

// After a failover its neighbours on the transit must learn the centre's MAC, too.
func TestAnnounceTellsTheTransit(t *testing.T) {
	b := newBench(t)
	b.apply(t, theCentre())
	k := b.registry.all["r1"].site
	k.announcer.close()
	k.announcer = newAnnouncer(k.NS, k.log)
	require.NoError(t, b.Announce(t.Context(), "r1"))
	k.announcer.mu.Lock()
	defer k.announcer.mu.Unlock()
	require.Contains(t, k.announcer.latest, netip.MustParsePrefix("169.254.64.99/18"))
	require.NotContains(t, k.announcer.latest, linkLocal(theCentre().Transit.MAC))
}
