package dataplanetest

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
)

// fakeNetwork is the links between workloads and the routers of a [dataplane.FakeHost]. A packet is
// walked from its sender to its end in one go.
type fakeNetwork struct {
	host *dataplane.FakeHost
	open func(router string, p dataplane.Packet) (*dataplane.Flow, dataplane.Trace) // host.Open, but for tests of the suite
	asks func(ARP) []ARP                                                            // what a router asks its link; nil: just that

	raises bool // a router that clamps also makes segments larger

	mu      sync.Mutex
	nodes   []*fakeNode
	buckets map[bucket]uint64 // what has passed
}

// fakeNode is a workload.
type fakeNode struct {
	net  *fakeNetwork
	spec Workload

	mu       sync.Mutex
	services map[uint16]bool
	watches  map[*fakeWatch]bool
	ears     map[*fakeEar]bool
}

func (n *fakeNetwork) attach(w Workload) *fakeNode {
	for i := range w.Ports {
		if w.Ports[i].MTU == 0 {
			w.Ports[i].MTU = 1500
		}
	}
	node := &fakeNode{net: n, spec: w, services: map[uint16]bool{}, watches: map[*fakeWatch]bool{}, ears: map[*fakeEar]bool{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes = append(n.nodes, node)
	return node
}

// datagram is a packet on its way.
type datagram struct {
	proto    dataplane.Proto
	src, dst netip.AddrPort
	ttl      int
	size     int // bytes
	mss      uint16
}

// place is where a packet is: in a workload, or in a router.
type place struct {
	node   *fakeNode
	router string
	in     string     // port of the router that it came in by
	inAddr netip.Addr // address of the device that it came in by, from which errors are sent
}

func (p place) is(o place) bool { return p.node == o.node && p.router == o.router }

func (p place) name() string {
	if p.node == nil {
		return p.router
	}
	return p.node.spec.Name
}

// hop is a router that a packet has passed.
type hop struct {
	router string
	flow   *dataplane.Flow
	trace  dataplane.Trace
}

// fate is what has become of a packet.
type fate struct {
	end    place
	last   place    // the one before
	packet datagram // as it arrived
	hops   []hop
	reply  bool   // the router itself answers
	error  string // the ICMP error that came back: unreachable, exceeded, too big
	from   netip.Addr
	mtu    int
}

// The ICMP errors.
const (
	errUnreachable = "unreachable"
	errExceeded    = "exceeded"
	errTooBig      = "too big"
)

// walk sends a packet on its way from a place.
func (n *fakeNetwork) walk(from place, d datagram) fate {
	f := fate{end: from, packet: d}
	for first := true; ; first = false {
		var next place
		var ok bool
		if f.end.node != nil {
			next, ok = n.throughNode(&f, first)
		} else {
			next, ok = n.throughRouter(&f, first)
		}
		if !ok {
			return f
		}
		f.last, f.end = f.end, next
	}
}

// fails ends a walk with an ICMP error.
func (f *fate) fails(kind string) { f.error, f.from = kind, f.end.inAddr }

func (n *fakeNetwork) throughNode(f *fate, first bool) (next place, ok bool) {
	node, d := f.end.node, &f.packet
	if !first && node.has(d.dst.Addr()) {
		node.see(*d)
		if d.proto != dataplane.ICMP && !node.serves(d.dst.Port()) {
			f.fails(errUnreachable)
			f.from = d.dst.Addr()
		} else {
			f.reply = true
		}
		return place{}, false
	}
	if !first {
		if len(node.spec.Ports) < 2 {
			return place{}, false
		}
		if d.ttl--; d.ttl <= 0 {
			f.fails(errExceeded)
			return place{}, false
		}
	}
	via, out, found := node.way(d.dst.Addr())
	if !found {
		return place{}, false
	}
	p := node.spec.Ports[out]
	if !first && d.size > p.MTU {
		f.fails(errTooBig)
		f.mtu = p.MTU
		return place{}, false
	}
	return n.owner(p.Network.ID, via)
}

func (n *fakeNetwork) throughRouter(f *fate, first bool) (next place, ok bool) {
	d := &f.packet
	p := dataplane.Packet{In: f.end.in, Src: d.src.Addr(), Dst: d.dst.Addr(), Proto: d.proto, SrcPort: d.src.Port(), DstPort: d.dst.Port()}
	flow, t := n.open(f.end.router, p)
	switch t.Verdict {
	case dataplane.Local:
		f.reply = t.Answered
		if !t.Answered {
			f.fails(errUnreachable)
			f.from = d.dst.Addr()
		}
		return place{}, false
	case dataplane.Unreachable:
		f.fails(errUnreachable)
		return place{}, false
	case dataplane.Forwarded:
	default:
		return place{}, false
	}
	if d.ttl--; d.ttl <= 0 && !first {
		f.fails(errExceeded)
		return place{}, false
	}
	r, _ := n.host.Router(f.end.router)
	out := portOf(r, t.Out)
	if !first && d.size > out.MTU {
		f.fails(errTooBig)
		f.mtu = out.MTU
		return place{}, false
	}
	if n.exceeds(f.end.router, r, t, d.size) {
		return place{}, false
	}
	f.hops = append(f.hops, hop{f.end.router, flow, t})
	d.mss = n.clamp(d.mss, t)
	d.src, d.dst = netip.AddrPortFrom(t.Src, d.src.Port()), netip.AddrPortFrom(t.Dst, cmp.Or(t.DstPort, d.dst.Port()))
	via := t.NextHops[pick(t.Packet, len(t.NextHops))]
	n.resolve(r, out, t.Src, via)
	return n.owner(out.Network.ID, via)
}

// resolve has a router ask a link for a neighbour. The sender of an ARP request is the source of
// the packet if that is the router's own, or else an address of its port (arp_solicit).
func (n *fakeNetwork) resolve(r dataplane.Router, out dataplane.Port, src, target netip.Addr) {
	if target.Is6() {
		n.broadcast(out.Network.ID, func(node *fakeNode) { node.catch(solicitation(target)) })
		return
	}
	sender := src
	if !isFloating(r, src) {
		for _, a := range out.Addrs {
			if a.Addr().Is4() {
				sender = a.Addr()
				break
			}
		}
	}
	asked := []ARP{{MAC: out.MAC, Sender: sender, Target: target}}
	if n.asks != nil {
		asked = n.asks(asked[0])
	}
	for _, a := range asked {
		n.broadcast(out.Network.ID, func(node *fakeNode) { node.hear(a) })
	}
}

// broadcast calls fn for each workload whose eth0 is on a network.
func (n *fakeNetwork) broadcast(network string, fn func(*fakeNode)) {
	n.mu.Lock()
	nodes := slices.Clone(n.nodes)
	n.mu.Unlock()
	for _, node := range nodes {
		if len(node.spec.Ports) > 0 && node.spec.Ports[0].Network.ID == network {
			fn(node)
		}
	}
}

// pick chooses among next hops, the same for all packets of a connection.
func pick(p dataplane.Packet, of int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.String()))
	return int(h.Sum32()>>8) % of
}

func portOf(r dataplane.Router, id string) dataplane.Port {
	for _, p := range portsOf(r) {
		if p.ID == id {
			return p
		}
	}
	return dataplane.Port{}
}

// portsOf returns all ports of a router, that to the transit and the gateway included.
func portsOf(r dataplane.Router) []dataplane.Port {
	ports := slices.Clone(r.Ports)
	if r.Transit != nil {
		ports = append(ports, r.Transit.Port)
	}
	if r.Gateway != nil {
		ports = append(ports, r.Gateway.Port)
	}
	return ports
}

// owner finds who has an address on a network.
func (n *fakeNetwork) owner(network string, a netip.Addr) (place, bool) {
	n.mu.Lock()
	nodes := slices.Clone(n.nodes)
	n.mu.Unlock()
	for _, node := range nodes {
		for _, p := range node.spec.Ports {
			if p.Network.ID == network && holds(p, a) {
				return place{node: node, inAddr: a}, true
			}
		}
	}
	ids, _ := dataplane.NewFake(n.host).List(background)
	for _, id := range ids {
		r, _ := n.host.Router(id)
		for _, p := range portsOf(r) {
			floating := r.Gateway != nil && p.ID == r.Gateway.ID && (isFloating(r, a) || slices.Contains(r.ForwardingAddrs(), a))
			if p.Network.ID == network && (floating || holds(p, a) || a == linkLocalOf(p.MAC)) {
				return place{router: id, in: p.ID, inAddr: a}, true
			}
		}
	}
	return place{}, false
}

func holds(p dataplane.Port, a netip.Addr) bool {
	return slices.ContainsFunc(p.Addrs, func(s netip.Prefix) bool { return s.Addr() == a })
}

func (n *fakeNode) has(a netip.Addr) bool {
	return slices.Contains(n.spec.Local, a) || slices.ContainsFunc(n.spec.Ports, func(p dataplane.Port) bool { return holds(p, a) })
}

// way is the neighbour and the port that a workload sends to an address by.
func (n *fakeNode) way(a netip.Addr) (via netip.Addr, out int, ok bool) {
	link := func(a netip.Addr) int {
		return slices.IndexFunc(n.spec.Ports, func(p dataplane.Port) bool {
			return slices.ContainsFunc(p.Addrs, func(s netip.Prefix) bool { return s.Contains(a) })
		})
	}
	if out = link(a); out >= 0 {
		return a, out, true
	}
	longest := -1
	for _, r := range n.spec.Routes {
		if r.Dest.Contains(a) && r.Dest.Bits() > longest {
			via, longest = r.NextHop, r.Dest.Bits()
		}
	}
	for _, h := range n.spec.NextHops {
		if longest < 0 && h.Is4() == a.Is4() {
			via, longest = h, 0
		}
	}
	return via, max(link(via), 0), longest >= 0
}

// returns says that the answer to a packet finds its way back: the receiver sends it to where the
// packet came from.
func (n *fakeNetwork) returns(f fate) bool {
	if f.end.node == nil || len(f.hops) == 0 && f.last.node == nil {
		return true
	}
	if slices.ContainsFunc(f.hops, func(h hop) bool { return h.trace.OneWay }) {
		return false
	}
	src := f.packet.src.Addr()
	if f.end.node.has(src) {
		return len(f.hops) == 0 // from itself, by a router: the answer would not go there again
	}
	via, out, ok := f.end.node.way(src)
	if !ok {
		return false
	}
	back, ok := n.owner(f.end.node.spec.Ports[out].Network.ID, via)
	return ok && back.is(f.last)
}
