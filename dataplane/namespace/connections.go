package namespace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/conntrack"
	"github.com/l3kit/l3kit/internal/netns"
)

// A connection is stale when the router, as it is wanted now, would not forward its first packet,
// or would translate it in another way. The model tells so of any connection, without knowledge of
// what the router was before; so it also finds what a process killed half-way has left to do. But
// it has to be asked about every connection of the namespace. When the router is known to have been
// another one until now that differs in few floating IPs alone, the connections that this can have
// touched are known by their addresses, and the kernel picks them.

// staleness is where to look for stale connections.
type staleness struct {
	router  dataplane.Router // as it is wanted
	touched []touch          // nil: everywhere
}

// touch is a pattern of connections that a change may have made stale.
type touch struct {
	conntrack.Filter
	all bool // every connection that matches is stale, and none that has begun since the rules changed matches

	// rare marks connections that hardly ever exist. With a large table, which the kernel walks for
	// each pattern, they are ended right after the change, and not as a part of it.
	rare bool
}

// large is the number of connections from which on a walk of the table takes longer than everything
// else in a change.
const large = 20_000

func everywhere(r dataplane.Router) staleness { return staleness{router: r} }

// maxTouches bounds the patterns to look for. The kernel walks its whole table for each, in about a
// tenth of the time that it takes to hand over all of it.
const maxTouches = 12

// touchedBy lists what a change can have made stale. Of floating IPs, by P5 to P8:
//
//   - of one that goes: what came in by it, and what left with its address;
//   - of one that comes: what left its host with another address; and what went to its address when
//     that was somebody else's.
//
// Of port forwardings, what went to their ports; to all ports of an address, if that comes or goes.
//
// Of hosts that come to a link, or leave it, or that are translated elsewhere from now on: what
// they have begun; and of the former also what leads to them. Of floating IPs that other instances
// have, what leads to them through a gateway without SNAT. Another way to somebody who was inside
// before, and beyond the transit, makes no difference.
func touchedBy(r dataplane.Router, d Delta) staleness {
	where := staleness{router: r, touched: []touch{}}
	if len(d.Removed)+len(d.Added) > 0 && !where.floating(d) {
		return everywhere(r)
	}
	where.forwarding(d)
	moved := map[netip.Addr]bool{} // and whether to look for what leads there, too
	for _, n := range slices.Concat(d.Neighbours.Removed, d.Neighbours.Added) {
		moved[n.Addr] = true
	}
	for _, a := range slices.Concat(d.Elsewhere.Removed, d.Elsewhere.Added) {
		if _, known := moved[a]; !known {
			moved[a] = false
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(moved), netip.Addr.Compare) {
		if !a.Is4() { // only IPv4 is translated
			continue
		}
		where.touched = append(where.touched, touch{Filter: conntrack.Filter{OrigSrc: a}})
		if moved[a] {
			where.touched = append(where.touched, touch{Filter: conntrack.Filter{ReplySrc: a}})
		}
	}
	if g := r.Gateway; g != nil && !g.SNAT && !g.FloatingIPsOnly { // to these it shows its address all the same
		for _, x := range slices.Concat(d.Remote.Removed, d.Remote.Added) {
			if x.Dest.IsSingleIP() {
				where.touched = append(where.touched, touch{Filter: conntrack.Filter{OrigDst: x.Dest.Addr()}})
			}
		}
	}
	if len(where.touched) > maxTouches || !withinSubnets(r, slices.Concat(d.Routes.Removed, d.Routes.Added)) {
		return everywhere(r)
	}
	return where
}

// withinSubnets says that all routes lead to single addresses that other ways make part of the
// inside, or are of IPv6.
func withinSubnets(r dataplane.Router, routes []dataplane.Route) bool {
	if len(routes) > maxTouches {
		return false
	}
	return !slices.ContainsFunc(routes, func(x dataplane.Route) bool {
		a := x.Dest.Addr()
		return a.Is4() && (!x.Dest.IsSingleIP() ||
			!slices.ContainsFunc(r.Ports, func(p dataplane.Port) bool { return onSubnet(p, a) }) &&
				!slices.ContainsFunc(r.Transit.Routes, func(y dataplane.Route) bool { return y.Dest != x.Dest && y.Dest.Contains(a) }))
	})
}

// floating adds the patterns of floating IPs. It returns false if there would be too many, or none
// that are certain.
func (where *staleness) floating(d Delta) bool {
	r := where.router
	removed, added := pairsOf(d.Removed), pairsOf(d.Added)
	gone, come := lacking(removed, added), lacking(added, removed)
	hairpin := r.Gateway.HairpinAddr()
	if 2*len(gone)+3*len(come) > maxTouches || !hairpin.IsValid() {
		return false
	}
	all := func(f conntrack.Filter) { where.touched = append(where.touched, touch{Filter: f, all: true}) }
	used := map[netip.Addr]bool{} // addresses that floating IPs had or stood for
	for _, p := range gone {
		used[p.floating], used[p.fixed] = true, true
		in := touch{Filter: conntrack.Filter{OrigDst: p.floating, ReplySrc: p.fixed}, all: true}
		in.all = !slices.Contains(d.ForwardingAddrs.Added, p.floating) // which may lead there as well
		where.touched = append(where.touched, in)
		all(conntrack.Filter{OrigSrc: p.fixed, ReplyDst: p.floating})
	}
	for _, p := range come {
		if !used[p.fixed] {
			// With SNAT on, that is all that left the router; else what went to floating IPs.
			all(conntrack.Filter{OrigSrc: p.fixed, ReplyDst: hairpin})
		}
		if !used[p.fixed] && !r.Gateway.SNAT {
			where.touched = append(where.touched, touch{Filter: conntrack.Filter{OrigSrc: p.fixed, ReplyDst: p.fixed}})
		}
		if !used[p.floating] {
			f := conntrack.Filter{OrigDst: p.floating, ReplySrc: p.floating}
			toCentre := r.Transit != nil && len(r.Transit.Elsewhere) > 0 // by these it is reached as before
			where.touched = append(where.touched, touch{Filter: f, all: !toCentre, rare: !toCentre})
			if isEdge(r) { // somebody beyond the transit may have had it
				where.touched = append(where.touched, touch{Filter: conntrack.Filter{OrigSrc: p.floating}})
			}
		}
	}
	return true
}

// forwarding adds the patterns of port forwardings.
func (where *staleness) forwarding(d Delta) {
	whole := map[netip.Addr]bool{}
	known := map[conntrack.Filter]bool{}
	look := func(f conntrack.Filter) {
		if !known[f] {
			known[f] = true
			where.touched = append(where.touched, touch{Filter: f})
		}
	}
	for _, a := range slices.Concat(d.ForwardingAddrs.Removed, d.ForwardingAddrs.Added) {
		whole[a] = true
		look(conntrack.Filter{OrigDst: a})
	}
	for _, f := range slices.Concat(d.Forwardings.Removed, d.Forwardings.Added) {
		switch {
		case whole[f.Addr]:
		case f.Ports.Len() == 1:
			look(conntrack.Filter{OrigDst: f.Addr, Proto: numberOf(f.Proto), OrigDstPort: f.Ports.First})
		default:
			look(conntrack.Filter{OrigDst: f.Addr, Proto: numberOf(f.Proto)})
		}
	}
}

// numberOf returns the number of a protocol of which ports are forwarded.
func numberOf(p dataplane.Proto) uint8 {
	switch p {
	case dataplane.TCP:
		return unix.IPPROTO_TCP
	case dataplane.SCTP:
		return unix.IPPROTO_SCTP
	default:
		return unix.IPPROTO_UDP
	}
}

// protoOf is the inverse of numberOf. Any protocol of which no ports are forwarded will do for the
// others.
func protoOf(number uint8) dataplane.Proto {
	switch number {
	case unix.IPPROTO_TCP:
		return dataplane.TCP
	case unix.IPPROTO_SCTP:
		return dataplane.SCTP
	case unix.IPPROTO_UDP:
		return dataplane.UDP
	default:
		return dataplane.ICMP
	}
}

// pair is what translation knows of a floating IP.
type pair struct{ floating, fixed netip.Addr }

func pairsOf(fips []dataplane.FloatingIP) []pair {
	list := make([]pair, len(fips))
	for i, f := range fips {
		list[i] = pair{f.Addr, f.Fixed}
	}
	return list
}

// lacking lists what is in a and not in b.
func lacking(a, b []pair) []pair {
	if len(a) > maxTouches {
		return a // too many to look for one by one, whatever they are
	}
	return slices.DeleteFunc(slices.Clone(a), func(p pair) bool { return slices.Contains(b, p) })
}

// find lists the stale connections. Without any connection it costs one read.
func (s *site) find(ctx context.Context, where staleness) (list []conntrack.Connection, err error) {
	if n, err := s.connectionCount(); err != nil || n == 0 {
		return nil, err
	}
	err = s.withConntrack(func(c *conntrack.Conn) error {
		stale := staleIn(where.router)
		patterns := where.touched
		if patterns == nil {
			patterns = []touch{{}}
		}
		for _, p := range patterns {
			found, err := c.List(ctx, p.Filter, stale)
			if err != nil {
				return opError("list connections of router", s.Router, err)
			}
			list = append(list, found...)
		}
		return nil
	})
	slices.SortFunc(list, conntrack.Connection.Compare) // one may match two patterns
	return slices.CompactFunc(list, func(a, b conntrack.Connection) bool { return a.Compare(b) == 0 }), err
}

// end ends the stale connections: their next packet begins a new one, by the rules that are in
// force now. It returns how many it has ended, as far as the kernel tells.
//
// New addresses are announced before: with many connections on the host this may take a while, and
// the neighbours need not wait for it.
func (s *site) end(ctx context.Context, where staleness) (ended []conntrack.Connection, n int, err error) {
	before, err := s.connectionCount()
	if err != nil || before == 0 {
		return nil, 0, err
	}
	s.announcer.told()
	s.ending.Wait()
	if where.touched == nil {
		list, err := s.find(ctx, where)
		if err != nil || len(list) == 0 {
			return nil, 0, err
		}
		err = s.withConntrack(func(c *conntrack.Conn) error { return c.End(ctx, list) })
		return list, len(list), opError("end connections of router", s.Router, err)
	}
	stale := staleIn(where.router)
	var rare []conntrack.Filter
	err = s.withConntrack(func(c *conntrack.Conn) error {
		for _, t := range where.touched {
			if t.rare && before >= large {
				rare = append(rare, t.Filter)
				continue
			}
			if t.all {
				if err := c.EndMatching(ctx, t.Filter); err != nil {
					return err
				}
				continue
			}
			list, err := c.List(ctx, t.Filter, stale)
			if err == nil {
				err = c.End(ctx, list)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, opError("end connections of router", s.Router, err)
	}
	s.endLater(rare)
	after, err := s.connectionCount() // the kernel does not say how many a filter has matched
	return nil, max(before-after, 0), err
}

// endLater ends connections in the background.
func (s *site) endLater(filters []conntrack.Filter) {
	if len(filters) == 0 {
		return
	}
	s.ending.Go(func() {
		ctx, cancel := detach(context.Background())
		defer cancel()
		err := s.withConntrack(func(c *conntrack.Conn) error {
			for _, f := range filters {
				if err := c.EndMatching(ctx, f); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.log.Warn("cannot end connections to addresses that have become floating IPs", "router", s.Router, "err", err)
		}
	})
}

func (s *site) withConntrack(fn func(*conntrack.Conn) error) error {
	c, err := s.tracking.Open(s.FD)
	if err != nil {
		return opError("open conntrack socket", "", err)
	}
	return errors.Join(fn(c), c.Close())
}

// connectionCount reads how many connections the namespace has; none if the kernel tracks none.
func (s *site) connectionCount() (n int, err error) {
	err = netns.Do(s.FD, func() error {
		b, err := readShort("/proc/sys/net/netfilter/nf_conntrack_count", make([]byte, 16))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		n, err = strconv.Atoi(string(b))
		return err
	})
	return n, opError("count connections of router", s.Router, err)
}

// endConnections ends the connections that are stale when its turn comes. planned is what a Plan
// has listed, and nothing in an Apply, which finds out as it goes.
func (s *site) endConnections(where staleness, planned []conntrack.Connection) action {
	steps := where.steps(planned, len(planned))
	return action{
		final: true,
		found: &steps,
		do: func(ctx context.Context) error {
			list, n, err := s.end(ctx, where)
			steps = where.steps(list, n)
			return err
		},
	}
}

// steps says of which kind the connections are.
func (where staleness) steps(list []conntrack.Connection, n int) []dataplane.Step {
	if n == 0 {
		return nil
	}
	var detail string
	if where.touched != nil {
		detail = where.touched[0].String()
	} else {
		detail = fmt.Sprintf("%s → %s", list[0].Orig.Src, list[0].Orig.Dst)
	}
	if len(where.touched) > 1 || len(list) > 1 {
		detail += ", …"
	}
	return []dataplane.Step{{
		Op: dataplane.Remove, Kind: dataplane.KindConnections, Object: strconv.Itoa(n), Detail: detail, Disturbs: true,
	}}
}

// judge tells which connections are stale.
type judge struct {
	model   *dataplane.Model
	ports   []string         // all but the gateway
	anycast []dataplane.Port // of those
	gateway string
	transit string
	only    bool // the gateway is for floating IPs only
	known   map[addresses]bool

	forwarding set[netip.Addr] // addresses of port forwardings
}

// addresses are what the model needs to know of a connection. Neither translation nor routing looks
// at ports, but for the choice between routes of equal cost, of which all are tried, and for ports
// that are forwarded.
type addresses struct {
	origSrc, origDst, replySrc, replyDst netip.Addr
	forwarded                            // zero where no forwarding is concerned
}

// forwarded is the port that was asked for, and the one that it leads to.
type forwarded struct {
	proto     uint8
	asked, to uint16
}

// maxKnown bounds what a judge remembers.
const maxKnown = 1 << 12

func newJudge(r dataplane.Router) *judge {
	j := &judge{model: dataplane.NewModel(r), known: map[addresses]bool{}, forwarding: set[netip.Addr]{}}
	for _, f := range r.PortForwardings {
		j.forwarding[f.Addr] = struct{}{}
	}
	for _, p := range r.Ports {
		j.ports = append(j.ports, p.ID)
		if p.Anycast != nil {
			j.anycast = append(j.anycast, p)
		}
	}
	if r.Transit != nil {
		j.transit = r.Transit.ID
		j.ports = append(j.ports, j.transit)
	}
	if r.Gateway != nil {
		j.gateway, j.only = r.Gateway.ID, r.Gateway.FloatingIPsOnly
	}
	return j
}

// staleIn returns a function that tells which connections are stale. The model is made when the
// first one is seen.
func staleIn(r dataplane.Router) func(*conntrack.Connection) bool {
	judge := sync.OnceValue(func() *judge { return newJudge(r) })
	return func(c *conntrack.Connection) bool { return judge().stale(c) }
}

// stale reports whether the router would no longer translate and forward the connection as it was.
func (j *judge) stale(c *conntrack.Connection) bool {
	key := addresses{origSrc: c.Orig.Src, origDst: c.Orig.Dst, replySrc: c.Reply.Src, replyDst: c.Reply.Dst}
	if c.Orig.DstPort != c.Reply.SrcPort || j.forwarding.has(c.Orig.Dst) {
		key.forwarded = forwarded{c.Orig.Proto, c.Orig.DstPort, c.Reply.SrcPort}
	}
	answer, ok := j.known[key]
	if !ok {
		answer = j.decide(key)
		if len(j.known) == maxKnown {
			clear(j.known)
		}
		j.known[key] = answer
	}
	return answer
}

// decide compares the connection's translation with what the model says of its first packet. What
// no router forwards, such as multicast that the kernel itself sends, is tracked all the same, and
// is nobody's business.
func (j *judge) decide(a addresses) bool {
	anyone := j.model.Trace(dataplane.Packet{Dst: a.origDst}) // sent by the router itself, which nothing filters
	switch {
	case anyone.Verdict == dataplane.Dropped:
		return false
	case anyone.Verdict == dataplane.Local && isMetadata(a.origDst) && a.replySrc == a.origDst && a.replyDst == a.origSrc:
		return false // whoever says that it is outside is told nothing
	}
	p := dataplane.Packet{Src: a.origSrc, Dst: a.origDst, Proto: protoOf(a.proto), DstPort: a.asked}
	return !slices.ContainsFunc(j.entries(a), func(in string) bool {
		p.In = in
		return slices.ContainsFunc(j.model.Paths(p), func(t dataplane.Trace) bool {
			goes := t.Verdict == dataplane.Forwarded || t.Verdict == dataplane.Local
			return goes && t.Dst == a.replySrc && t.Src == a.replyDst && t.DstPort == a.to
		})
	})
}

// entries lists the ports by which the connection's first packet may have come; conntrack does not
// record it. The source's own port is the one that its subnet or an extra route is behind; a source
// behind the default route has come from outside, unless it was translated as only those from
// inside are. The empty port stands for the router itself.
//
// At an edge the transit leads to whatever is not on a link: to hosts that are there all the same,
// and to the outside, which the gateway leads to as well.
func (j *judge) entries(a addresses) []string {
	in, ok := j.model.PortTo(a.origSrc)
	switch {
	case ok && in == j.transit && in != "":
		ports := []string{in}
		for _, p := range j.anycast {
			if onSubnet(p, a.origSrc) {
				ports = append(ports, p.ID)
			}
		}
		if j.only {
			ports = append(ports, j.gateway)
		}
		return ports
	case ok && in != j.gateway:
		return []string{in}
	case a.replyDst != a.origSrc || j.gateway == "":
		return j.ports
	}
	return []string{j.gateway}
}
