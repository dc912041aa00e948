package differential

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// sighting is a packet that the router sent, or took.
type sighting struct {
	Port string        // that it left by; empty: the router itself took it
	Hop  dataplane.MAC // neighbour that it was sent to
	frame.Packet
}

func (s sighting) String() string {
	if s.Port == "" {
		return fmt.Sprintf("to the router itself: %s", s.Packet)
	}
	return fmt.Sprintf("by %s to %s: %s", s.Port, s.Hop, s.Packet)
}

// asker asks, with a packet, for the MAC of the packet's destination.
var asker = dataplane.MAC{0x02, 0xff}

// ringer asks behind a packet for an address that the router has. Each time it is somebody else, so
// that no answer is taken for another.
func (s *site) ringer() dataplane.MAC {
	s.serial++
	m := dataplane.MAC{0x02, 0xfe}
	binary.BigEndian.PutUint32(m[2:], uint32(s.serial))
	return m
}

// watch is a look at what a packet causes.
type watch struct {
	*site
	seen     []sighting
	answered bool // the asker was
	ringer   dataplane.MAC
	rang     bool // the ringer was answered
	resolved bool // a neighbour was asked for since it last rang, and a packet waited for that which follows the answer
}

// watch lets send put something on the wires, and returns when all that it causes has happened.
func (s *site) watch(send func() error) (*watch, error) {
	w := &watch{site: s}
	if err := s.discard(); err != nil {
		return w, err
	}
	if err := send(); err != nil {
		return w, err
	}
	until := time.Now().Add(patience)
	for {
		port, target, ok := s.bell()
		if !ok {
			return w, nil // without an address there is no port, and nowhere to go
		}
		w.ringer = s.ringer()
		if err := s.ask(target, port, w.ringer); err != nil {
			return w, err
		}
		for w.rang, w.resolved = false, false; !w.rang; {
			f, network, err := s.wires.next(until)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return w, fmt.Errorf("the router does not answer for its own address %s", target)
			}
			if err != nil {
				return w, err
			}
			if err := w.hear(f, network); err != nil {
				return w, err
			}
		}
		if !w.resolved {
			return w, nil
		}
	}
}

// settle waits until each port carries frames, and has its addresses. A bridge lets frames of a new
// device pass a little after the device is up, and the kernel makes IPv6 addresses its own in the
// background (addrconf_dad_work), also those that need no duplicate address detection.
func (s *site) settle() error {
	until := time.Now().Add(patience)
	for _, p := range allPorts(s.router) {
		own := metadataOn(s.router, p)
		if speaksIPv6(s.router, p) {
			own = append(own, linkLocal(p.MAC))
		}
		for _, a := range p.Addrs {
			own = append(own, a.Addr())
		}
		if g := s.router.Gateway; g != nil && g.ID == p.ID && g.FloatingIPsOnly {
			for _, f := range s.router.FloatingIPs {
				own = append(own, f.Addr)
			}
		}
		for _, a := range own {
			if err := s.await(p, a, until); err != nil {
				return err
			}
		}
	}
	return nil
}

// await asks for an address until there is an answer.
func (s *site) await(p dataplane.Port, own netip.Addr, until time.Time) error {
	const again = 2 * time.Millisecond
	w := &watch{site: s}
	for resend := time.Now(); !w.rang; {
		if now := time.Now(); now.After(until) {
			return fmt.Errorf("port %s does not answer for its own address %s", p.ID, own)
		} else if !now.Before(resend) {
			w.ringer = s.ringer()
			if err := s.ask(own, p, w.ringer); err != nil {
				return err
			}
			resend = now.Add(again)
		}
		f, network, err := s.wires.next(resend)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err == nil {
			err = w.hear(f, network)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// speaksIPv6 says that a port has IPv6, and so a link-local address.
func speaksIPv6(r dataplane.Router, p dataplane.Port) bool {
	is6 := func(a netip.Prefix) bool { return a.Addr().Is6() }
	over6 := func(r dataplane.Route) bool { return r.NextHop.Is6() }
	if t := r.Transit; t != nil && t.ID == p.ID {
		linkLocal := func(r dataplane.Route) bool { return r.NextHop.Is6() && r.NextHop.IsLinkLocalUnicast() }
		return slices.ContainsFunc(t.Centre, netip.Addr.Is6) || slices.ContainsFunc(t.Routes, over6) || slices.ContainsFunc(r.Routes, linkLocal)
	}
	g := r.Gateway
	return slices.ContainsFunc(p.Addrs, is6) ||
		g != nil && g.ID == p.ID && (slices.ContainsFunc(g.NextHops, netip.Addr.Is6) || slices.ContainsFunc(g.OnLink, is6))
}

// linkLocal is made from a MAC (RFC 4291 appendix A).
func linkLocal(m dataplane.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// discard forgets what was on the wires before: announcements, which the router sends when it
// likes.
func (s *site) discard() error {
	w := &watch{site: s}
	for {
		f, network, err := s.wires.poll()
		if network == "" || err != nil {
			return err
		}
		if err := w.hear(f, network); err != nil {
			return err
		}
	}
}

// hear takes note of a frame, and plays the neighbour who is asked for.
func (w *watch) hear(f frame.Frame, network string) error {
	port, ok := w.portOf(f.Src)
	if !ok {
		return nil
	}
	if n, is := f.Neighbour(); is {
		switch {
		case n.Answer:
			w.answered = w.answered || f.Dst == asker
			w.rang = w.rang || f.Dst == w.ringer
			return nil
		default:
			w.resolved = true
			n.Answer = true
			b, err := n.Marshal(neighbourMAC(n.Target), f.Src)
			if err != nil {
				return err
			}
			return w.wires.send(network, b)
		}
	}
	if f.Type != unix.ETH_P_IP && f.Type != unix.ETH_P_IPV6 {
		return nil
	}
	p, ok := frame.ParsePacket(f.Body)
	if !ok {
		return fmt.Errorf("port %s sent what is no packet: %x", port.ID, f.Body)
	}
	if !housekeeping(p) {
		w.seen = append(w.seen, sighting{port.ID, f.Dst, p})
	}
	return nil
}

// housekeeping is what a router says by itself on IPv6 links: multicast listener reports (behind an
// extension header, RFC 9777), router and neighbour discovery, and redirects.
func housekeeping(p frame.Packet) bool {
	const hopByHop = 0
	if p.Proto == hopByHop {
		return true
	}
	return p.Src.Is6() && p.IsICMP() && (slices.Contains([]uint8{133, 134, 135, 136, 137}, p.Type))
}
