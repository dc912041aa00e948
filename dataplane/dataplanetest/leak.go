package dataplanetest

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

func leakClauses() []clause {
	return []clause{{
		name: "no-leak-in-changes",
		why: "While a router comes up, changes, and is taken away, no packet ever meets half of it: nothing leaves by the gateway untranslated, and no connection " +
			"from outside gets in, not even for an instant. The upstream router would learn private addresses, and connections begun then would stay wrong.",
		test: leaks,
	}}
}

// leaks changes floating IPs, and the whole router, under load from inside and from outside.
func leaks(s *scene) {
	s.cast("web1", "app1", "db1", "outside")
	outside, err := s.hosts["outside"].Watch()
	s.must(err)
	s.closeLater(outside)
	inside, err := s.hosts["db1"].Watch()
	s.must(err)
	s.closeLater(inside)

	load, stop := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	var rounds atomic.Int64
	senders := []talk{{from: "web1", to: outsideAddr}, {from: "db1", to: outsideAddr}, {from: "outside", to: fip1}, {from: "outside", to: db1Addr}}
	for _, l := range senders {
		host := s.hosts[l.from]
		wg.Go(func() { s.press(load, host, l, &rounds) })
	}
	apply := func(r dataplane.Router) { // and let every sender meet it
		s.apply(r)
		for goal := rounds.Load() + 2*int64(len(senders)); rounds.Load() < goal && load.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
	}
	bound := with(plain(), floating(fip1, web1Addr), floating(fip2, app1Addr))
	func() {
		defer func() { stop(); wg.Wait() }()
		for range 4 {
			apply(bound)
			for range 3 {
				apply(with(bound, unbound(fip1)))
				apply(bound)
				apply(with(bound, unbound(fip1), unbound(fip2), floating(fip1, app1Addr)))
				apply(with(bound, func(r *dataplane.Router) { r.Gateway.Addrs = prefixes("203.0.113.4/24", "2001:db8:1::2/64") }))
			}
			s.remove("r1")
		}
		s.apply(bound)
	}()
	if rounds.Load() == 0 {
		s.failf("nothing was sent, so that nothing is proved")
	}
	private := prefixes("10.0.0.0/8")[0]
	s.never(outside, "left untranslated", func(p Packet) bool {
		// An error tells what it is about: that may be what outside itself has asked for, db1, but
		// no other.
		tells := p.ICMP != nil && p.ICMP.About != nil && p.ICMP.About.Dst.Addr() != db1Addr && private.Contains(p.ICMP.About.Dst.Addr())
		return !p.Sent && (tells || private.Contains(p.Src.Addr()))
	})
	s.never(inside, "came in from outside", func(p Packet) bool { return !p.Sent && (isRequest(p) || p.ICMP == nil && p.Dst.Port() == intrusion) })
	s.during("after all of it")
	s.check(
		probe{from: "web1", to: outsideAddr, at: "outside", sees: fip1},
		probe{from: "db1", to: outsideAddr, at: "outside", sees: gatewayAddr},
		probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
	)
}

// intrusion is the port that is asked for from outside; answers to connections from inside come to
// other ones.
const intrusion = servicePort + 1

// press begins connections without an end: new ones, and one that stays.
func (s *scene) press(ctx context.Context, host Host, l talk, rounds *atomic.Int64) {
	to := netip.AddrPortFrom(l.to, servicePort)
	if l.from == "outside" && l.to != fip1 {
		to = netip.AddrPortFrom(l.to, intrusion)
	}
	try := func(c Conn) {
		short, cancel := context.WithTimeout(ctx, 3*time.Millisecond)
		defer cancel()
		_, _ = c.Exchange(short, 0)
	}
	lasting, err := host.Dial(ctx, dataplane.UDP, netip.AddrPort{}, to)
	if err != nil {
		s.failf("load from %s: %w", l.from, err)
		return
	}
	defer lasting.Close()
	for ctx.Err() == nil {
		for _, proto := range []dataplane.Proto{dataplane.UDP, dataplane.ICMP} {
			c, err := host.Dial(ctx, proto, netip.AddrPort{}, to)
			if err == nil {
				try(c)
				c.Close()
			}
		}
		try(lasting)
		rounds.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *scene) never(w Watch, what string, bad func(Packet) bool) {
	packets, err := w.Packets()
	s.fail(err)
	n := 0
	var first Packet
	for _, p := range packets {
		if bad(p) {
			if n == 0 {
				first = p
			}
			n++
		}
	}
	if n > 0 {
		s.fail(fmt.Errorf("%d of %d packets %s; the first: %s", n, len(packets), what, first))
	}
}
