package dataplanetest

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// fakeEar keeps the ARP messages that a workload has heard.
type fakeEar struct {
	node  *fakeNode
	heard []ARP
}

func (n *fakeNode) Listen() (Ear, error) {
	e := &fakeEar{node: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ears[e] = true
	return e, nil
}

func (n *fakeNode) hear(a ARP) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for e := range n.ears {
		e.heard = append(e.heard, a)
	}
}

func (e *fakeEar) Heard() ([]ARP, error) {
	e.node.mu.Lock()
	defer e.node.mu.Unlock()
	heard := e.heard
	e.heard = nil
	return heard, nil
}

func (e *fakeEar) Close() error {
	e.node.mu.Lock()
	defer e.node.mu.Unlock()
	delete(e.node.ears, e)
	return nil
}

// solicitation is a neighbour solicitation as it arrives (RFC 4861 4.3).
func solicitation(target netip.Addr) Packet {
	return Packet{
		Src: netip.AddrPortFrom(netip.IPv6Unspecified(), 0), Dst: netip.AddrPortFrom(solicitedNode(target), 0),
		Proto: unix.IPPROTO_ICMPV6, ICMP: &ICMP{Type: solicited6},
	}
}

// solicitedNode is the multicast address that neighbour solicitations for an address go to (RFC
// 4291 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// linkLocalOf is the link-local address that is made from a MAC (RFC 4291 appendix A).
func linkLocalOf(m dataplane.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}
