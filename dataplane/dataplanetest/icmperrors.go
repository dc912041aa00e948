package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

func errorClauses() []clause {
	const why = "An ICMP error about a translated flow reaches its original sender, translated back: it quotes the packet as the sender sent it. Without it, " +
		"path MTU discovery fails, and large transfers hang while small ones work; and a closed port looks like a dead host."
	return []clause{
		{name: "P13-unreachable", why: why, test: unreachable},
		{name: "P13-time-exceeded", why: why, test: timeExceeded},
		{name: "P13-path-mtu", why: why, test: pathMTU},
	}
}

// complaint is an ICMP error that a probe must cause.
type complaint struct {
	from   string
	to     netip.Addr
	ttl    int // zero: the system's
	size   int // bytes of payload
	sender netip.Addr
	src    netip.Addr // what the sender shows as its source; zero: itself
	kinds  [2]uint8   // ICMP types of IPv4 and of IPv6
	port   uint16
}

const (
	unreachable4, unreachable6 = 3, 1 // RFC 792, RFC 4443
	exceeded4, exceeded6       = 11, 3
	tooBig6                    = 2
	solicited6                 = 135 // a question for a neighbour, RFC 4861
	closedPort                 = 9   // discard, which nobody serves
)

// complain causes errors, all at once.
func (s *scene) complain(port uint16, kinds [2]uint8, list ...complaint) {
	for _, c := range list {
		s.host(c.from)
	}
	var wg sync.WaitGroup
	for _, c := range list {
		c.port, c.kinds = port, kinds
		wg.Go(func() {
			if err := s.complained(c); err != nil {
				s.failf("a datagram from %s to %s: %w", c.from, c.to, err)
			}
		})
	}
	wg.Wait()
}

// complained sends a datagram and looks for the error that comes back.
func (s *scene) complained(c complaint) error {
	watch, err := s.hosts[c.from].Watch()
	if err != nil {
		return err
	}
	defer watch.Close()
	ctx, cancel := s.soon()
	defer cancel()
	to := netip.AddrPortFrom(c.to, c.port)
	conn, err := s.hosts[c.from].Dial(ctx, dataplane.UDP, netip.AddrPort{}, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.ttl > 0 {
		if err := conn.SetTTL(c.ttl); err != nil {
			return err
		}
	}
	trying, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() { // it may fail at once by the very error, or not at all
		defer close(done)
		_, _ = conn.Exchange(trying, c.size)
	}()
	defer func() { stop(); <-done }()
	kind := c.kinds[0]
	if c.to.Is6() {
		kind = c.kinds[1]
	}
	src := c.sender
	if c.src.IsValid() {
		src = c.src
	}
	var heard []Packet
	for {
		packets, err := watch.Packets()
		if err != nil {
			return err
		}
		for _, p := range packets {
			if p.Sent || p.ICMP == nil || p.ICMP.About == nil {
				continue
			}
			heard = append(heard, p)
			if p.ICMP.Type == kind && p.Src.Addr() == src && p.ICMP.About.Src == conn.Local() && p.ICMP.About.Dst == to {
				return s.agrees(c, conn.Local(), p)
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no ICMP error of type %d from %s about %s → %s came back, but %v", kind, src, conn.Local(), to, heard)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// agrees compares with what the model says about the error.
func (s *scene) agrees(c complaint, local netip.AddrPort, got Packet) error {
	a := attempt{probe: probe{from: c.from, proto: dataplane.UDP, to: c.to, port: c.port, via: "r1"}, scene: s}
	t, ok := a.trace(local)
	if !ok || s.routers["r1"].Trace(dataplane.Packet{Dst: c.sender, Proto: dataplane.ICMP}).Verdict == dataplane.Local {
		return nil // the router's own error is about a packet that it has not translated for good
	}
	if want := t.ICMPError(c.sender); want.Src != got.Src.Addr() || want.Dst != got.Dst.Addr() {
		return fmt.Errorf("the clause is kept, but Trace expects the error as %s, not %s\n    Trace: %s", want, got, t)
	}
	return nil
}

func unreachable(s *scene) {
	s.host("edge")
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(busy(), snat(on)))
		s.cast("web2", "app1", "internet")
		s.complain(closedPort, [2]uint8{unreachable4, unreachable6}, []complaint{
			{from: "db1", to: outsideAddr, sender: outsideAddr},                 // shared SNAT
			{from: "db1", to: internetAddr, sender: internetAddr},               // the same from further away
			{from: "web1", to: outsideAddr, sender: outsideAddr},                // out by a floating IP
			{from: "outside", to: fip1, sender: web1Addr, src: fip1},            // in by a floating IP
			{from: "internet", to: fip2, sender: app1Addr, src: fip2},           //
			{from: "web2", to: fip1, sender: web1Addr, src: fip1},               // hairpin
			{from: "db1", to: app1Addr, sender: app1Addr},                       // east-west
			{from: "web1", to: internetAddr6, sender: internetAddr6},            // IPv6
			{from: "web1", to: app1Addr6, sender: app1Addr6},                    //
			{from: "outside", to: addr("fd00:1::10"), sender: web1Addr6},        //
			{from: "db1", to: addr("203.0.113.1"), sender: addr("203.0.113.1")}, // the next router itself
		}...)
	}
}

func timeExceeded(s *scene) {
	s.host("edge")
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(busy(), snat(on)))
		s.host("internet")
		s.complain(servicePort, [2]uint8{exceeded4, exceeded6}, []complaint{
			{from: "db1", to: internetAddr, ttl: 1, sender: addr("10.0.3.1")},    // at the router itself: what traceroute shows first
			{from: "db1", to: internetAddr, ttl: 2, sender: addr("203.0.113.1")}, // beyond it
			{from: "web1", to: internetAddr, ttl: 2, sender: addr("203.0.113.1")},
			{from: "web1", to: internetAddr6, ttl: 1, sender: addr("fd00:1::1")},
			{from: "web1", to: internetAddr6, ttl: 2, sender: addr("2001:db8:1::1")},
		}...)
	}
}

// pathMTU puts a narrow link between the router's next hop and the internet, and sends through it.
func pathMTU(s *scene) {
	s.cast("strait", "strait2", "internet", "web1", "db1", "app1")
	const large = 1000 // of payload: more than narrowMTU as a datagram, less than the router's own MTU
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		r := with(busy(), snat(on))
		s.apply(r)
		s.fail(s.transfer("db1", netip.AddrPortFrom(internetAddr, servicePort)))
		s.fail(s.transfer("web1", netip.AddrPortFrom(internetAddr, servicePort)))
		s.fail(s.transfer("web1", netip.AddrPortFrom(internetAddr6, servicePort)))
		s.fail(s.transfer("internet", netip.AddrPortFrom(fip2, servicePort)))
		s.fail(s.transfer("internet", netip.AddrPortFrom(addr("fd00:2::10"), servicePort)))
	}
	s.during("the error itself")
	s.attach(newcomer("fresh", "web", "10.0.1.20", "fd00:1::20")) // they know nothing of the path's MTU yet
	s.attach(newcomer("fresh2", "web", "10.0.1.21", "fd00:1::21"))
	s.apply(with(busy(), floating(fip3, addr("10.0.1.21"))))
	s.complain(servicePort, [2]uint8{unreachable4, tooBig6},
		complaint{from: "fresh", to: internetAddr, size: large, sender: addr("203.0.113.1")},
		complaint{from: "fresh2", to: internetAddr, size: large, sender: addr("203.0.113.1")},
		complaint{from: "fresh", to: internetAddr6, size: large, sender: addr("2001:db8:1::1")},
		complaint{from: "fresh2", to: internetAddr6, size: large, sender: addr("2001:db8:1::1")},
	)
}

// newcomer is another workload inside.
func newcomer(name, network string, a4, a6 string) Workload {
	w := workload("web1")
	w.Name = name
	w.Ports[0].Network.ID = network + "-net"
	w.Ports[0].Addrs = prefixes(a4+"/24", a6+"/64")
	return w
}

// transfer sends so much that it fails unless both ends find out what the path takes.
func (s *scene) transfer(from string, to netip.AddrPort) error {
	ctx, cancel := s.soon()
	defer cancel()
	c, err := s.host(from).Dial(ctx, dataplane.TCP, netip.AddrPort{}, to)
	if err != nil {
		return fmt.Errorf("a transfer from %s to %s: %w", from, to, err)
	}
	defer c.Close()
	_, err = c.Exchange(ctx, 100_000)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("it hangs: a large packet was lost, and nobody was told")
	}
	if err != nil {
		return fmt.Errorf("a transfer from %s to %s: %w", from, to, err)
	}
	return nil
}
