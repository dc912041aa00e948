package explain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// How long a check waits. Most are over in a millisecond. But a router asks for a silent neighbour
// only once a second, and gives up after three (arp(7)); then it tells the sender, for whom it may
// have to ask as well.
const (
	checkTime  = 2 * time.Second
	settleTime = 8 * time.Second
)

// check sends a packet through the router and says what the kernel did with it. No host is needed
// at either end: the packet is put on the cable of the port that it arrives by, and what leaves is
// seen on the router's own devices. If the packet has to wait there for the MAC of the next hop,
// the question for that tells the way, and the connection that the kernel has noted tells the
// translation.
func (h Host) check(ctx context.Context, r dataplane.Router, p dataplane.Packet, paths []dataplane.Trace) (*finding, error) {
	if p.In == "" {
		return nil, errors.New("--check is for packets that arrive by a port, and this one the router itself sends")
	}
	s, err := openSite(h, r, p.In)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if p, err = s.flows.unused(p); err != nil {
		return nil, err
	}
	if err := s.settle(ctx, p, paths); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	f, err := s.send(ctx, p)
	if err := errors.Join(err, s.flows.forget(p)); err != nil {
		return nil, err
	}
	f.compare(paths)
	return f, nil
}

// probe is a packet on its way.
type probe struct {
	*site
	packet  dataplane.Packet
	sent    frame.Packet
	ringer  dataplane.MAC // asks behind it for the router's own MAC
	rang    bool          // and was answered: the packet has been dealt with
	tracked bool          // and not dropped
	asked   netip.Addr    // neighbour that the router asked for, to send the packet or what it answers to the packet
	askedBy string        // on the link of that port
}

// send puts the packet on the cable and watches.
func (s *site) send(ctx context.Context, p dataplane.Packet) (*finding, error) {
	mark := make([]byte, 16)
	rand.Read(mark)
	w := &probe{site: s, packet: p, sent: frame.First(p, append([]byte("l3kit probe "), mark...)), ringer: dataplane.MAC{2}} // locally administered
	copy(w.ringer[1:], mark)
	w.sent.TTL = 2 // the router takes one hop, and whoever is next forwards the packet no further
	if err := w.transmit(); err != nil {
		return nil, err
	}
	for {
		f, device, err := s.receive(ctx)
		last := errors.Is(err, context.DeadlineExceeded)
		if err != nil && !last {
			return nil, err
		}
		if !last {
			if found := w.hear(f, device); found != nil {
				return found, nil
			}
		}
		if w.rang || last {
			if found, err := w.conclude(last); found != nil || err != nil {
				return found, err
			}
		}
	}
}

// transmit sends the packet, and behind it a question that the router's kernel answers by itself.
// One CPU carries both through the router, one after the other; so once there is an answer,
// whatever became of the packet has happened. A gateway without an address cannot be asked.
func (w *probe) transmit() error {
	frames := [][]byte{frame.Carry(w.sent, w.ringer, w.mac).Marshal()}
	if own, ok := w.own(); ok {
		question := frame.Neighbour{Target: own, Asker: netip.IPv4Unspecified()} // asked in nobody's name: nothing is learned from it (RFC 5227)
		if own.Is6() {
			question.Asker = netip.MustParseAddr("fe80::ffff:1")
		}
		b, err := question.Marshal(w.ringer, w.mac)
		if err != nil {
			return err
		}
		frames = append(frames, b)
	}
	return onOneCPU(func() error {
		for _, f := range frames {
			if err := w.cable.put(f); err != nil {
				return err
			}
		}
		return nil
	})
}

// hear returns what a frame that the router sent by a port tells of the packet; nil if that is
// nothing, or not enough.
func (w *probe) hear(f frame.Frame, port string) *finding {
	if n, ok := f.Neighbour(); ok {
		switch {
		case n.Answer && f.Dst == w.ringer:
			w.rang = true
		case !n.Answer && !w.asked.IsValid() && (!w.rang || w.tracked):
			w.asked, w.askedBy = n.Target, port
		}
		return nil
	}
	if f.Type != unix.ETH_P_IP && f.Type != unix.ETH_P_IPV6 {
		return nil
	}
	got, ok := frame.ParsePacket(f.Body)
	if !ok {
		return nil
	}
	toSender := got.Src == w.packet.Dst && got.Dst == w.packet.Src
	switch quoted, isError := got.About(); {
	case string(got.Data) == string(w.sent.Data) && got.Type == w.sent.Type:
		found := w.finding(dataplane.Forwarded)
		found.Out, found.Src, found.Dst, found.DstPort = port, got.Src, got.Dst, got.DstPort
		return found
	case string(got.Data) == string(w.sent.Data) && toSender:
		found := w.finding(dataplane.Local)
		found.Reply = true
		return found
	case got.Proto == unix.IPPROTO_TCP && got.Flags&frame.RST != 0 && toSender && got.DstPort == w.packet.SrcPort:
		return w.finding(dataplane.Local)
	case isError && got.Dst == w.packet.Src && quoted.Src == w.packet.Src && quoted.Dst == w.packet.Dst && quoted.SrcPort == w.packet.SrcPort:
		if nobodyListens(got) {
			return w.finding(dataplane.Local)
		}
		return w.finding(dataplane.Unreachable)
	}
	return nil
}

// nobodyListens tells the ICMP errors of a host without the service (RFC 792, RFC 4443 3.1) from
// those of a router without a way.
func nobodyListens(p frame.Packet) bool {
	const protocol4, port4, port6 = 2, 3, 4
	if p.Src.Is4() {
		return p.Type == frame.Unreachable4 && (p.Code == protocol4 || p.Code == port4)
	}
	return p.Type == frame.Unreachable6 && p.Code == port6
}

// conclude says what became of a packet that was dealt with but not seen; nil if more may come. It
// waits for a neighbour's MAC, or is gone.
func (w *probe) conclude(last bool) (*finding, error) {
	src, dst := w.packet.Src, w.packet.Dst
	var dstPort uint16
	if src.Is4() {
		c, found, err := w.flows.find(w.packet)
		if err != nil {
			return nil, err
		}
		if w.tracked = found; found {
			src, dst = c.TupleReply.IP.DestinationAddress, c.TupleReply.IP.SourceAddress
			dstPort = c.TupleReply.Proto.SourcePort
		}
	}
	switch asked := w.asked.IsValid(); {
	case w.owns(dst) && (w.tracked || asked): // the router's answer waits
		found := w.finding(dataplane.Local)
		found.Reply = w.packet.Proto == dataplane.ICMP
		return found, nil
	case w.tracked && !asked && !last: // it was asked before, and will be again
		return nil, nil
	case w.tracked && !asked:
		return nil, fmt.Errorf("the kernel forwarded %s, and did not show where to", w.packet)
	case !w.tracked && w.noWay(src, dst): // the ICMP error waits
		return w.finding(dataplane.Unreachable), nil
	case asked && (w.tracked || src.Is6() || w.leadsTo(dst)): // without the router's rules the kernel tracks nothing
		found := w.finding(dataplane.Forwarded)
		found.Out, found.NextHop, found.Src, found.Dst, found.DstPort = w.askedBy, w.asked, src, dst, dstPort
		return found, nil
	}
	return w.finding(dataplane.Dropped), nil
}

// leadsTo says that an address is reached by the neighbour that was asked for.
func (w *probe) leadsTo(a netip.Addr) bool {
	return slices.ContainsFunc(dataplane.NewModel(w.router).Paths(dataplane.Packet{Dst: a}), func(t dataplane.Trace) bool {
		return t.Out == w.askedBy && slices.Contains(t.NextHops, w.asked)
	})
}

func (w *probe) finding(v dataplane.Verdict) *finding { return &finding{Packet: w.packet, Verdict: v} }
