package namespace

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// memory is the router that was applied last, and the links that it had then: what can be trusted
// for as long as nobody else writes.
type memory struct {
	router dataplane.Router // a copy of our own
	links  map[string]link
	owner  string // that the namespace has; empty: it may have any
	fips   fipIndex
}

// fipIndex tells which IDs and addresses floating IPs use.
type fipIndex struct {
	ids   map[string]struct{}
	addrs map[netip.Addr]struct{} // floating and fixed: the two never meet in a valid router
}

// maxDelta bounds the difference that is worth the short way.
const maxDelta = 1000

func remember(r dataplane.Router, links map[string]link) *memory {
	m := &memory{router: r.Clone(), links: links, fips: fipIndex{
		ids:   make(map[string]struct{}, len(r.FloatingIPs)),
		addrs: make(map[netip.Addr]struct{}, 2*len(r.FloatingIPs)),
	}}
	m.fips.add(r.FloatingIPs)
	return m
}

func (x fipIndex) add(fips []dataplane.FloatingIP) {
	for _, f := range fips {
		x.ids[f.ID] = struct{}{}
		x.addrs[f.Addr], x.addrs[f.Fixed] = struct{}{}, struct{}{}
	}
}

func (x fipIndex) remove(fips []dataplane.FloatingIP) {
	for _, f := range fips {
		delete(x.ids, f.ID)
		delete(x.addrs, f.Addr)
		delete(x.addrs, f.Fixed)
	}
}

func (x fipIndex) has(f dataplane.FloatingIP) bool {
	_, id := x.ids[f.ID]
	_, addr := x.addrs[f.Addr]
	_, fixed := x.addrs[f.Fixed]
	return id || addr || fixed
}

// delta is the difference between the router remembered and another, if that is in floating IPs
// alone, small, and valid. It finds out without looking at each floating IP more than once, and
// examines only those that differ.
type delta struct {
	Delta
	start, end int                    // what is replaced of the list remembered
	by         []dataplane.FloatingIP // what it is replaced by
}

func (m *memory) delta(want dataplane.Router) (delta, bool) {
	if !sameButFloatingIPs(m.router, want) {
		return delta{}, false
	}
	have := m.router.FloatingIPs
	short := min(len(have), len(want.FloatingIPs))
	start := 0
	for start < short && have[start] == want.FloatingIPs[start] {
		start++
	}
	tail := 0
	for tail < short-start && have[len(have)-1-tail] == want.FloatingIPs[len(want.FloatingIPs)-1-tail] {
		tail++
	}
	d := delta{start: start, end: len(have) - tail, by: want.FloatingIPs[start : len(want.FloatingIPs)-tail]}
	old := have[d.start:d.end]
	if len(old)+len(d.by) > maxDelta {
		return delta{}, false
	}
	d.Removed, d.Added = without(old, d.by), without(d.by, old)
	return d, m.valid(want, d)
}

// valid says that the router remembered with the difference is valid. It may say no of one that is:
// then [dataplane.Router.Validate] decides.
func (m *memory) valid(want dataplane.Router, d delta) bool {
	if len(d.Added) == 0 {
		return true
	}
	m.fips.remove(d.Removed)
	clash := slices.ContainsFunc(d.Added, m.fips.has)
	m.fips.add(d.Removed)
	want.FloatingIPs = d.Added
	return !clash && want.Validate() == nil
}

// without lists what is in a and not in b.
func without(a, b []dataplane.FloatingIP) []dataplane.FloatingIP {
	if len(a) == 0 {
		return nil
	}
	in := make(map[dataplane.FloatingIP]struct{}, len(b))
	for _, f := range b {
		in[f] = struct{}{}
	}
	var rest []dataplane.FloatingIP
	for _, f := range a {
		if _, ok := in[f]; !ok {
			rest = append(rest, f)
		}
	}
	return rest
}

// learn makes the difference part of what is remembered.
func (m *memory) learn(d delta) {
	m.router.FloatingIPs = slices.Replace(m.router.FloatingIPs, d.start, d.end, d.by...)
	m.fips.remove(d.Removed)
	m.fips.add(d.Added)
	if m.router.Gateway == nil {
		return
	}
	addrs := m.links[dataplane.GatewayDevice(m.router.Gateway.ID)].addrs
	for _, f := range d.Removed {
		delete(addrs, host(f.Addr))
	}
	for _, f := range d.Added {
		addrs[host(f.Addr)] = struct{}{}
	}
}

// sameButFloatingIPs reports whether b asks for a with other floating IPs.
func sameButFloatingIPs(a, b dataplane.Router) bool {
	return a.ID == b.ID && (a.Owner == b.Owner || b.Owner == "") && sameGateway(a.Gateway, b.Gateway) &&
		slices.EqualFunc(a.Ports, b.Ports, samePort) && slices.Equal(a.Routes, b.Routes)
}

func sameGateway(a, b *dataplane.Gateway) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.SNAT == b.SNAT && slices.Equal(a.NextHops, b.NextHops) && slices.Equal(a.OnLink, b.OnLink) && samePort(a.Port, b.Port)
}

func samePort(a, b dataplane.Port) bool {
	return a.ID == b.ID && a.Network == b.Network && a.MAC == b.MAC && a.MTU == b.MTU && slices.Equal(a.Addrs, b.Addrs)
}

// withIndexes completes links as wanted by the indexes that the kernel gave them.
func withIndexes(links map[string]link, index map[string]int) map[string]link {
	links = maps.Clone(links)
	for name, l := range links {
		l.index = index[name]
		links[name] = l
	}
	return links
}
