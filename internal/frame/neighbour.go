package frame

import (
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// Neighbour is a question for the MAC of an address, or the answer to one: ARP (RFC 826) or
// neighbour discovery (RFC 4861), by the family of Target.
type Neighbour struct {
	Answer bool
	Target netip.Addr // whose MAC it is about
	// Asker is the address to answer to. In IPv4 it is unspecified when the asker has none; then it
	// is zero in an answer, too.
	Asker netip.Addr
}

var broadcast = dataplane.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Marshal writes the frame. To is the MAC of the one who is asked, or who asked; a question to a
// zero MAC goes to all of the link.
func (n Neighbour) Marshal(from, to dataplane.MAC) ([]byte, error) {
	if n.Target.Is4() {
		return n.arp(from, to)
	}
	return n.ndp(from, to)
}

func (n Neighbour) arp(from, to dataplane.MAC) ([]byte, error) {
	op, src, dst, owner := arp.OperationRequest, n.Asker, n.Target, dataplane.MAC{}
	if n.Answer {
		op, src, dst, owner = arp.OperationReply, n.Target, n.Asker, to
	}
	p, err := arp.NewPacket(op, net.HardwareAddr(from[:]), src, net.HardwareAddr(owner[:]), dst)
	if err != nil {
		return nil, err
	}
	b, err := p.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if to == (dataplane.MAC{}) {
		to = broadcast
	}
	return Frame{Dst: to, Src: from, Type: unix.ETH_P_ARP, Body: b}.Marshal(), nil
}

func (n Neighbour) ndp(from, to dataplane.MAC) ([]byte, error) {
	src, dst := n.Asker, n.Target
	hw := net.HardwareAddr(from[:])
	var m ndp.Message = &ndp.NeighborSolicitation{TargetAddress: n.Target, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: hw}}}
	if n.Answer {
		src, dst = n.Target, n.Asker
		m = &ndp.NeighborAdvertisement{
			Solicited: true, Override: true, TargetAddress: n.Target,
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: hw}},
		}
	} else if to == (dataplane.MAC{}) {
		group, err := ndp.SolicitedNodeMulticast(n.Target)
		if err != nil {
			return nil, err
		}
		dst = group
		low := group.As16()
		to = dataplane.MAC{0x33, 0x33, low[12], low[13], low[14], low[15]} // RFC 2464 7
	}
	b, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		return nil, err
	}
	p := Packet{Src: src, Dst: dst, Proto: unix.IPPROTO_ICMPV6, TTL: ndp.HopLimit}
	return Frame{Dst: to, Src: from, Type: unix.ETH_P_IPV6, Body: append(p.network(b), b...)}.Marshal(), nil
}

// Neighbour reads a question or an answer. What a host says about itself unasked is neither.
func (f Frame) Neighbour() (n Neighbour, ok bool) {
	switch f.Type {
	case unix.ETH_P_ARP:
		return f.readARP()
	case unix.ETH_P_IPV6:
		return f.readNDP()
	}
	return n, false
}

func (f Frame) readARP() (n Neighbour, ok bool) {
	var p arp.Packet
	if p.UnmarshalBinary(f.Body) != nil || p.SenderIP == p.TargetIP {
		return n, false
	}
	if p.Operation == arp.OperationReply {
		return Neighbour{Answer: true, Target: p.SenderIP, Asker: p.TargetIP}, true
	}
	return Neighbour{Target: p.TargetIP, Asker: p.SenderIP}, true
}

func (f Frame) readNDP() (n Neighbour, ok bool) {
	p, ok := ParsePacket(f.Body)
	if !ok || !p.IsICMP() || p.TTL != ndp.HopLimit {
		return n, false
	}
	m, err := ndp.ParseMessage(f.Body[ipv6Len:])
	if err != nil {
		return n, false
	}
	switch m := m.(type) {
	case *ndp.NeighborSolicitation:
		return Neighbour{Target: m.TargetAddress, Asker: p.Src}, true
	case *ndp.NeighborAdvertisement:
		return Neighbour{Answer: true, Target: m.TargetAddress, Asker: p.Dst}, m.Solicited
	}
	return n, false
}
