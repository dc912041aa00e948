package differential

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// answer is what a backend did with a trial.
type answer struct {
	Fault    string     // a reason to look no further
	First    []sighting // what came of the packet
	Answered bool       // the router answers for the packet's destination, where the packet comes in
	Back     []sighting // what came of that which the receiver sent back
	Source   netip.Addr // what the kernel chose, for a packet of the router itself
	Data     []byte     // what the packet carried
}

func (a answer) String() string {
	var lines []string
	add := func(what string, seen []sighting) {
		for _, s := range seen {
			lines = append(lines, what+" "+s.String())
		}
		if len(seen) == 0 {
			lines = append(lines, what+" nothing")
		}
	}
	if a.Fault != "" {
		return a.Fault
	}
	add("first:", a.First)
	add("back: ", a.Back)
	if a.Answered {
		lines = append(lines, "answers for the destination's MAC")
	}
	return strings.Join(lines, "\n")
}

// try sends a packet through the router, plays its receiver, and tells what came of both.
func (s *site) try(p trial) (a answer) {
	if err := s.conntrack.Flush(); err != nil {
		return answer{Fault: err.Error()}
	}
	s.serial++
	a.Data = binary.BigEndian.AppendUint64([]byte("l3kit "), s.serial)
	var err error
	if p.In == "" {
		err = s.trySelf(p, &a)
	} else {
		err = s.tryWire(p, &a)
	}
	if err != nil {
		a.Fault = err.Error()
	}
	return a
}

func (s *site) tryWire(p trial, a *answer) error {
	port := s.ports[p.In]
	w, err := s.watch(func() error {
		if p.Dst.Is4() {
			if err := s.ask(p.Dst, port, asker); err != nil {
				return err
			}
		}
		return s.inject(port, p.packet(a.Data))
	})
	if a.First, a.Answered = w.seen, w.answered; err != nil {
		return err
	}
	return s.sendBack(p, a)
}

// ask asks for the MAC of an address. Of IPv4, the ringer asks in nobody's name, which is answered
// whatever the router thinks of sources (RFC 5227); the asker, to whom others must not answer
// either, in that of an address which nobody else has.
func (s *site) ask(target netip.Addr, port dataplane.Port, who dataplane.MAC) error {
	n := frame.Neighbour{Target: target, Asker: addr("fe80::ffff:1")}
	if target.Is4() {
		n.Asker = netip.IPv4Unspecified()
		if who == asker {
			n.Asker = addr("169.254.255.254")
		}
	}
	b, err := n.Marshal(who, port.MAC)
	if err != nil {
		return err
	}
	return s.wires.send(port.Network.ID, b)
}

func (s *site) inject(port dataplane.Port, p frame.Packet) error {
	return s.wires.send(port.Network.ID, frame.Carry(p, neighbourMAC(p.Src), port.MAC).Marshal())
}

// packet is the trial's first packet.
func (p trial) packet(data []byte) frame.Packet {
	f := frame.First(p.Packet, data)
	if f.MSS = p.MSS; f.Proto == 0 {
		f.Proto = otherNumber
	}
	if p.Kind == stray {
		f.Type = frame.EchoReply4
		if p.Dst.Is6() {
			f.Type = frame.EchoReply6
		}
	}
	return f
}

// delivered is the packet as it was forwarded, if it was.
func (a answer) delivered() (sighting, bool) {
	if len(a.First) != 1 || a.First[0].Port == "" || string(a.First[0].Data) != string(a.Data) {
		return sighting{}, false
	}
	s := a.First[0]
	return s, !s.IsEcho() || s.Type == frame.EchoRequest4 || s.Type == frame.EchoRequest6
}

// sendBack plays the receiver.
func (s *site) sendBack(p trial, a *answer) error {
	seen, ok := a.delivered()
	if !ok {
		return nil
	}
	w, err := s.watch(func() error { return s.inject(s.ports[seen.Port], p.back(seen.Packet)) })
	a.Back = w.seen
	return err
}

// back is what the receiver of a packet sends.
func (p trial) back(seen frame.Packet) frame.Packet {
	if p.ErrorFrom.IsValid() {
		from := p.ErrorFrom
		if from == p.Dst {
			from = seen.Dst // the receiver, by its own address
		}
		const hostUnreachable4, addressUnreachable6 = 1, 3
		f := frame.Packet{Src: from, Dst: seen.Src, Proto: unix.IPPROTO_ICMP, Type: frame.Unreachable4, Code: hostUnreachable4, Data: seen.Marshal()}
		if from.Is6() {
			f.Proto, f.Type, f.Code = unix.IPPROTO_ICMPV6, frame.Unreachable6, addressUnreachable6
		}
		return f
	}
	f := seen
	f.Src, f.Dst, f.SrcPort, f.DstPort, f.TTL = seen.Dst, seen.Src, seen.DstPort, seen.SrcPort, 0
	f.Data = append([]byte("re: "), seen.Data...)
	switch p.Proto {
	case dataplane.TCP:
		f.Flags, f.MSS = frame.SYN|frame.ACK, p.MSS
	case dataplane.ICMP:
		f.SrcPort, f.DstPort, f.Type = seen.SrcPort, 0, frame.EchoReply4
		if f.Src.Is6() {
			f.Type = frame.EchoReply6
		}
	}
	return f
}
