package dataplanetest

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

func counterClauses() []clause {
	return []clause{{
		name: "counters-are-exact",
		why: "Counters count each packet that passes by a floating IP, once and in its direction, and only those. They survive changes to other floating IPs, " +
			"the move of the floating IP to another fixed address, and the process. Whoever bills by them would otherwise bill the wrong customer.",
		test: counting,
	}}
}

// counts reads the counters of r1 from a dataplane, or ends the clause.
func (s *scene) counts(dp dataplane.Dataplane) map[netip.Addr]dataplane.Counters {
	c, ok := dp.(dataplane.CounterReader)
	if !ok {
		panic(abort{notApplicable("this dataplane does not count")})
	}
	all, err := c.Counters(s.ctx, "r1")
	s.must(err)
	return all
}

// counted wants exactly these packets to have passed since before, and bytes with them.
func (s *scene) counted(before map[netip.Addr]dataplane.Counters, in, out uint64) map[netip.Addr]dataplane.Counters {
	now := s.counts(s.dp)
	const header = 28 // of IPv4 and UDP
	for direction, t := range map[string]struct {
		was, is dataplane.Traffic
		want    uint64
	}{"in": {before[fip1].In, now[fip1].In, in}, "out": {before[fip1].Out, now[fip1].Out, out}} {
		if n := t.is.Packets - t.was.Packets; n != t.want {
			s.failf("%d packets counted %s, not %d", n, direction, t.want)
		}
		if n := t.is.Bytes - t.was.Bytes; n < t.want*header {
			s.failf("%d bytes counted %s for %d packets", n, direction, t.want)
		}
	}
	if now[fip2] != before[fip2] {
		s.failf("another floating IP counts: %+v, was %+v", now[fip2], before[fip2])
	}
	return now
}

func counting(s *scene) {
	s.apply(busy())
	s.during("a new router")
	for _, f := range []netip.Addr{fip1, fip2} {
		if c, ok := s.counts(s.dp)[f]; !ok || c != (dataplane.Counters{}) {
			s.failf("%s begins with %+v", f, c)
		}
	}
	// So that nothing has to be resolved later, and no packet is sent twice.
	s.check(probe{from: "outside", proto: dataplane.UDP, to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
		probe{from: "web2", proto: dataplane.UDP, to: db1Addr, at: "db1", sees: web2Addr})
	ask := func(from string, to netip.Addr) {
		ctx, cancel := s.soon()
		defer cancel()
		if _, err := s.host(from).Ask(ctx, netip.AddrPortFrom(to, servicePort)); err != nil {
			s.fail(fmt.Errorf("%s to %s: %w", from, to, err))
		}
	}
	at := s.counts(s.dp)
	s.during("a question from outside, and its answer")
	ask("outside", fip1)
	at = s.counted(at, 1, 1)
	s.during("a question to the outside, and its answer")
	ask("web1", outsideAddr)
	at = s.counted(at, 1, 1)
	s.during("a question that no floating IP has to do with")
	ask("web2", db1Addr)
	at = s.counted(at, 0, 0)

	s.during("a floating IP comes, another goes, and one moves")
	s.apply(with(busy(), unbound(fip1), unbound(fip2), floating(fip1, web2Addr), floating(fip3, web1Addr)))
	want := map[netip.Addr]dataplane.Counters{fip1: at[fip1], fip3: {}}
	if now := s.counts(s.dp); !maps.Equal(now, want) {
		s.failf("the counters are %+v, not %+v", now, want)
	}
	s.during("a fresh process")
	fresh, err := s.h.Reopen()
	s.must(err)
	s.closeLater(fresh)
	if now := s.counts(fresh); !maps.Equal(now, want) {
		s.failf("the counters are %+v, not %+v", now, want)
	}
	s.during("a router that is not there")
	if _, err := fresh.(dataplane.CounterReader).Counters(s.ctx, "never-was"); !errors.Is(err, os.ErrNotExist) {
		s.failf("the error is %v, not ErrNotExist", err)
	}
}

// floatingIPs returns the floating IPs of a router that a connection is translated by: that which
// its first packet was sent to, and that which it seems to come from. Either may be the zero Addr.
func floatingIPs(r dataplane.Router, t dataplane.Trace) (to, from netip.Addr) {
	if t.Dst != t.Packet.Dst && isFloating(r, t.Packet.Dst) {
		to = t.Packet.Dst
	}
	if t.Src != t.Packet.Src && isFloating(r, t.Src) {
		from = t.Src
	}
	return to, from
}

func isFloating(r dataplane.Router, a netip.Addr) bool {
	return slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == a })
}

// count adds a packet and its answer to the counters of a fake host.
func (h hop) count(host *dataplane.FakeHost, size int) {
	r, _ := host.Router(h.router)
	to, from := floatingIPs(r, h.trace)
	one := dataplane.Traffic{Packets: 1, Bytes: uint64(size)}
	for _, f := range []netip.Addr{to, from} {
		if f.IsValid() {
			host.Count(h.router, f, dataplane.Counters{In: one, Out: one})
		}
	}
}
