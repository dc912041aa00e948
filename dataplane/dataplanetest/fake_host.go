package dataplanetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// background is for calls to the fake host that nobody waits for.
var background = context.Background()

// fakeInside is a router to probe from. It serves nothing, and is not watched.
type fakeInside struct {
	net    *fakeNetwork
	router string
}

func (i fakeInside) Serve(uint16) error { return fmt.Errorf("a router serves nothing") }

func (i fakeInside) Watch() (Watch, error) { return &fakeWatch{}, nil }

func (i fakeInside) Stream(context.Context, netip.AddrPort, netip.AddrPort, time.Duration) (Stream, error) {
	return nil, fmt.Errorf("streams begin at workloads")
}

func (i fakeInside) Ask(ctx context.Context, to netip.AddrPort) (Seen, error) { return ask(ctx, i, to) }

func (n *fakeNode) Ask(ctx context.Context, to netip.AddrPort) (Seen, error) { return ask(ctx, n, to) }

// ask is an exchange: on the fake network nothing is sent again.
func ask(ctx context.Context, from Host, to netip.AddrPort) (Seen, error) {
	c, err := from.Dial(ctx, dataplane.UDP, netip.AddrPort{}, to)
	if err != nil {
		return Seen{}, err
	}
	defer c.Close()
	return c.Exchange(ctx, 0)
}

func (i fakeInside) Dial(ctx context.Context, proto dataplane.Proto, from, to netip.AddrPort) (Conn, error) {
	r, _ := i.net.host.Router(i.router)
	if !from.Addr().IsValid() {
		t := r.Trace(dataplane.Packet{Dst: to.Addr(), Proto: proto})
		from = netip.AddrPortFrom(t.Packet.Src, from.Port())
	}
	return dialFake(ctx, i.net, place{router: i.router}, nil, proto, from, to)
}

func (n *fakeNode) Serve(port uint16) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.services[port] = true
	return nil
}

func (n *fakeNode) serves(port uint16) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.services[port]
}

func (n *fakeNode) Dial(ctx context.Context, proto dataplane.Proto, from, to netip.AddrPort) (Conn, error) {
	if !from.Addr().IsValid() {
		from = netip.AddrPortFrom(n.source(to.Addr()), from.Port())
	}
	return dialFake(ctx, n.net, place{node: n}, n, proto, from, to)
}

func (n *fakeNode) source(to netip.Addr) netip.Addr {
	_, out, _ := n.way(to)
	for _, p := range n.spec.Ports[out].Addrs {
		if p.Addr().Is4() == to.Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// fakeConn is a conversation: a packet out and one back for each exchange.
type fakeConn struct {
	net   *fakeNetwork
	at    place
	node  *fakeNode // nil inside of a router
	proto dataplane.Proto
	local netip.AddrPort
	to    netip.AddrPort
	ttl   int
	hops  []hop // that it passes
	seen  Seen  // at its other end; the translation of a connection does not change while it lives
	open  bool
	reset bool // of TCP: it ended
	pmtu  int
}

func dialFake(ctx context.Context, n *fakeNetwork, at place, node *fakeNode, proto dataplane.Proto, from, to netip.AddrPort) (Conn, error) {
	if from.Port() == 0 {
		from = netip.AddrPortFrom(from.Addr(), uint16(32768+rand.Uint32N(28000)))
	}
	if proto == dataplane.ICMP {
		to = netip.AddrPortFrom(to.Addr(), 0)
	}
	c := &fakeConn{net: n, at: at, node: node, proto: proto, local: from, to: to, ttl: 64, pmtu: 1500}
	if proto == dataplane.TCP {
		if _, err := c.Exchange(ctx, 0); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *fakeConn) Local() netip.AddrPort { return c.local }
func (c *fakeConn) Close() error          { return nil }

func (c *fakeConn) SetTTL(hops int) error {
	c.ttl = hops
	return nil
}

// errSilence is what a wait for an answer ends with; here it ends at once.
func errSilence() error { return fmt.Errorf("no answer: %w", context.DeadlineExceeded) }

func (c *fakeConn) alive() bool {
	return !slices.ContainsFunc(c.hops, func(h hop) bool { return !h.flow.Alive() })
}

func (c *fakeConn) Exchange(ctx context.Context, payload int) (Seen, error) {
	if err := ctx.Err(); err != nil {
		return Seen{}, err
	}
	const headers, inBase64 = 80, 4.0 / 3
	if c.reset || c.proto == dataplane.TCP && c.open && !c.alive() {
		c.reset = true
		return Seen{}, syscall.ECONNRESET
	}
	if c.open && c.alive() && payload == 0 {
		c.count(headers)
		return c.seen, nil
	}
	size := min(int(float64(payload)*inBase64)+headers, c.pmtu)
	for { // again when a packet was too big
		d := datagram{proto: c.proto, src: c.local, dst: c.to, ttl: c.ttl, size: size}
		if c.node != nil && c.proto == dataplane.TCP && !c.open {
			d.mss = c.node.mss(c.to.Addr())
		}
		f := c.net.walk(c.at, d)
		if f.error != "" {
			c.complain(f)
		}
		switch {
		case f.error == errTooBig:
			c.pmtu = f.mtu
			size = f.mtu
			continue
		case f.error == errUnreachable:
			return Seen{}, syscall.ECONNREFUSED
		case !f.reply || !c.net.returns(f):
			return Seen{}, errSilence()
		}
		if d.mss != 0 && f.end.node != nil {
			c.node.catch(Packet{Src: c.to, Dst: c.local, Proto: unix.IPPROTO_TCP, MSS: c.net.answeredMSS(f)})
		}
		c.hops, c.open = f.hops, true
		c.count(size)
		if c.seen = (Seen{Dst: netip.AddrPortFrom(c.to.Addr(), 0)}); c.proto != dataplane.ICMP {
			c.seen = Seen{Host: f.end.name(), Src: f.packet.src, Dst: f.packet.dst}
		}
		return c.seen, nil
	}
}

// count has the routers on the way count a request and its answer.
func (c *fakeConn) count(size int) {
	for _, h := range c.hops {
		h.count(c.net.host, size)
	}
}

// complain brings an ICMP error back to the sender.
func (c *fakeConn) complain(f fate) {
	if c.node == nil {
		return
	}
	from := f.from
	for _, h := range slices.Backward(f.hops) {
		from = h.trace.ICMPError(from).Src
	}
	kinds := map[string][2]uint8{errUnreachable: {unreachable4, unreachable6}, errExceeded: {exceeded4, exceeded6}, errTooBig: {unreachable4, tooBig6}}
	kind := kinds[f.error][0]
	if c.to.Addr().Is6() {
		kind = kinds[f.error][1]
	}
	c.node.catch(Packet{
		Src: netip.AddrPortFrom(from, 0), Dst: netip.AddrPortFrom(c.local.Addr(), 0), Proto: unix.IPPROTO_ICMP,
		ICMP: &ICMP{Type: kind, MTU: uint32(f.mtu), About: &Packet{Src: c.local, Dst: c.to}},
	})
}

// see shows a packet that has arrived to those who watch.
func (n *fakeNode) see(d datagram) {
	p := Packet{Src: d.src, Dst: d.dst, Proto: unix.IPPROTO_UDP, MSS: d.mss}
	if d.proto == dataplane.ICMP {
		p.Proto, p.ICMP = unix.IPPROTO_ICMP, &ICMP{Type: 8}
		if d.dst.Addr().Is6() {
			p.Proto, p.ICMP.Type = unix.IPPROTO_ICMPV6, 128
		}
	}
	n.catch(p)
}

func (n *fakeNode) catch(p Packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.watches {
		w.packets = append(w.packets, p)
	}
}

// fakeWatch keeps what a workload received.
type fakeWatch struct {
	node    *fakeNode // nil: nothing to see
	packets []Packet
}

func (n *fakeNode) Watch() (Watch, error) {
	w := &fakeWatch{node: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watches[w] = true
	return w, nil
}

func (w *fakeWatch) Packets() ([]Packet, error) {
	if w.node == nil {
		return nil, nil
	}
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	packets := w.packets
	w.packets = nil
	return packets, nil
}

func (w *fakeWatch) Close() error {
	if w.node != nil {
		w.node.mu.Lock()
		defer w.node.mu.Unlock()
		delete(w.node.watches, w)
	}
	return nil
}

// fakeStream sends when it is looked at. A connection that has ended meanwhile has lost what would
// have been sent.
type fakeStream struct {
	mu      sync.Mutex
	conn    *fakeConn
	flow    Flow
	sources map[netip.AddrPort]bool
}

func (n *fakeNode) Stream(ctx context.Context, from, to netip.AddrPort, _ time.Duration) (Stream, error) {
	c, err := n.Dial(ctx, dataplane.UDP, from, to)
	if err != nil {
		return nil, err
	}
	s := &fakeStream{conn: c.(*fakeConn), sources: map[netip.AddrPort]bool{}}
	return s, s.send(ctx)
}

func (s *fakeStream) send(ctx context.Context) error {
	s.flow.Sent++
	if s.conn.open && !s.conn.alive() {
		s.flow.Sent++
		s.flow.Lost++
	}
	seen, err := s.conn.Exchange(ctx, 0)
	if err != nil {
		s.flow.Lost++
		return err
	}
	s.sources[seen.Src] = true
	return nil
}

func (s *fakeStream) Pause(ctx context.Context, echoes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range echoes {
		if err := s.send(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStream) Stop(ctx context.Context) Flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.send(ctx)
	s.flow.Sources = nil
	for src := range s.sources {
		s.flow.Sources = append(s.flow.Sources, src)
	}
	return s.flow
}
