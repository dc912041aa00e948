package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

func clampingClauses() []clause {
	return []clause{{
		name: "clamped-segments",
		why: "A router that clamps lowers what both ends of a TCP connection announce to what fits the ports that it passes, and raises " +
			"nothing. Otherwise a connection hangs at its first large segment where ICMP errors get lost, or where a host believes in an MTU " +
			"that its network has not. A router that does not clamp leaves segments alone. Switching ends no connection.",
		test: clamping,
	}}
}

func clamps(on bool) func(*dataplane.Router) {
	return func(r *dataplane.Router) { r.ClampMSS = on }
}

// handshake is a connection, and what its ends announce.
type handshake struct {
	from     string
	to       netip.Addr
	at       string
	sent, by uint16 // what the two ends' own MTU allows
	most     uint16 // what the router lets pass; 0: all
}

func clamping(s *scene) {
	small := workload("db1")
	small.Name, small.Ports = "small", []dataplane.Port{{Network: dataplane.Network{ID: "db-net"}, Addrs: prefixes("10.0.3.30/24", "fd00:3::30/64"), MTU: 1300}}
	s.attach(small)
	s.cast("web1", "web2", "app1", "db1", "outside")
	mtu := func(web, ext int) func(*dataplane.Router) {
		return func(r *dataplane.Router) { r.Ports[0].MTU, r.Gateway.MTU = web, ext }
	}
	r := with(busy(), mtu(1400, 1450), clamps(true))
	s.apply(with(r, clamps(false)))
	s.during("not clamped")
	s.shake(
		handshake{"web1", outsideAddr, "outside", 1460, 1460, 0},
		handshake{"web1", outsideAddr6, "outside", 1440, 1440, 0},
	)
	open := s.begin([]talk{in1, out1, shared1, east, six, forwarded1}, false)
	s.during("clamped")
	s.apply(r)
	s.shake(
		handshake{"web1", outsideAddr, "outside", 1460, 1460, 1360},
		handshake{"outside", fip1, "web1", 1460, 1460, 1360},
		handshake{"app1", outsideAddr, "outside", 1460, 1460, 1410},
		handshake{"db1", outsideAddr, "outside", 1460, 1460, 1410},
		handshake{"db1", fip1, "web1", 1460, 1460, 1360}, // a hairpin
		handshake{"web1", db1Addr, "db1", 1460, 1460, 1360},
		handshake{"app1", db1Addr, "db1", 1460, 1460, 1460},
		handshake{"small", app1Addr, "app1", 1260, 1460, 1460},
		handshake{"web1", addr("10.0.3.30"), "small", 1460, 1260, 1360},
		handshake{"web1", outsideAddr6, "outside", 1440, 1440, 1340},
		handshake{"outside", app1Addr6, "app1", 1440, 1440, 1390},
		handshake{"small", addr("fd00:2::10"), "app1", 1240, 1440, 1440},
	)
	s.during("the MTU changes")
	s.apply(with(r, mtu(1300, 1350)))
	s.shake(
		handshake{"web1", outsideAddr, "outside", 1460, 1460, 1260},
		handshake{"app1", outsideAddr6, "outside", 1440, 1440, 1290},
	)
	s.during("not clamped any more")
	s.apply(with(r, clamps(false)))
	s.shake(handshake{"web1", outsideAddr, "outside", 1460, 1460, 0}, handshake{"web1", outsideAddr6, "outside", 1440, 1440, 0})
	open.expectSame(s)
}

// shake opens connections, one after the other.
func (s *scene) shake(list ...handshake) {
	for _, h := range list {
		if err := s.shakeOne(h); err != nil {
			s.failf("%s to %s: %w", h.from, h.to, err)
		}
	}
}

func (s *scene) shakeOne(h handshake) error {
	s.cast(h.from, h.at)
	client, err := s.host(h.from).Watch()
	s.must(err)
	defer client.Close()
	server, err := s.host(h.at).Watch()
	s.must(err)
	defer server.Close()
	ctx, cancel := s.soon()
	defer cancel()
	c, err := s.host(h.from).Dial(ctx, dataplane.TCP, netip.AddrPort{}, netip.AddrPortFrom(h.to, servicePort))
	if err != nil {
		return err
	}
	defer c.Close()
	seen, err := announced(server, func(p Packet) bool { return p.Dst.Port() == servicePort })
	answered, err2 := announced(client, func(p Packet) bool { return p.Src == netip.AddrPortFrom(h.to, servicePort) })
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	bound := h.most
	if bound == 0 {
		bound = max(h.sent, h.by)
	}
	a := attempt{probe: probe{from: h.from, proto: dataplane.TCP, to: h.to, port: servicePort, via: "r1"}, scene: s}
	t, _ := a.trace(c.Local())
	switch {
	case seen != min(h.sent, bound):
		return fmt.Errorf("%s is announced segments of %d bytes, want %d", h.at, seen, min(h.sent, bound))
	case answered != min(h.by, bound):
		return fmt.Errorf("%s is announced segments of %d bytes, want %d", h.from, answered, min(h.by, bound))
	case t.MaxMSS != h.most:
		return fmt.Errorf("the clause is kept, but Trace allows segments of %d bytes, not %d\n    Trace: %s", t.MaxMSS, h.most, t)
	}
	return nil
}

// announced is the maximum segment size that a host has received.
func announced(w Watch, from func(Packet) bool) (uint16, error) {
	packets, err := w.Packets()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(packets, func(p Packet) bool { return !p.Sent && p.MSS != 0 && from(p) })
	if i < 0 {
		return 0, fmt.Errorf("no maximum segment size is announced: %w", context.DeadlineExceeded)
	}
	return packets[i].MSS, nil
}
