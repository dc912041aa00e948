package lab

import (
	"encoding/binary"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tunnel is what a packet carries that goes from one host's tunnel endpoint to another's.
type Tunnel struct {
	Type  string  // vxlan, geneve or gre
	ID    uint32  // VNI, or key
	Inner *Packet // nil if the frame inside is no IP packet, such as an ARP message, or cut off
}

const (
	vxlanPort, genevePort = 4789, 6081 // of IANA
	vlanTag               = 0x8100
	transparentEthernet   = 0x6558 // of RFC 1701: what GRE and Geneve carry is a frame
)

// parseTunnel reads what follows an outer UDP header with that destination port, or for GRE the
// outer IP header; nil if it is no tunnel's.
func parseTunnel(proto uint8, port uint16, b []byte) *Tunnel {
	switch {
	case proto == unix.IPPROTO_UDP && port == vxlanPort && len(b) >= 8 && b[0]&0x08 != 0: // RFC 7348, section 5
		return &Tunnel{Type: "vxlan", ID: binary.BigEndian.Uint32(b[4:]) >> 8, Inner: parseFrame(b[8:])}
	case proto == unix.IPPROTO_UDP && port == genevePort && len(b) >= 8 && binary.BigEndian.Uint16(b[2:]) == transparentEthernet: // RFC 8926, section 3
		options := 8 + int(b[0]&0x3f)*4
		return &Tunnel{Type: "geneve", ID: binary.BigEndian.Uint32(b[4:]) >> 8, Inner: parseFrame(b[min(options, len(b)):])}
	case proto == unix.IPPROTO_GRE && len(b) >= 4 && binary.BigEndian.Uint16(b[2:]) == transparentEthernet: // RFC 2784 and RFC 2890
		const checksum, key, sequence = 0x80, 0x20, 0x10
		t := &Tunnel{Type: "gre"}
		at := 4
		if b[0]&checksum != 0 {
			at += 4
		}
		if b[0]&key != 0 && len(b) >= at+4 {
			t.ID = binary.BigEndian.Uint32(b[at:])
			at += 4
		}
		if b[0]&sequence != 0 {
			at += 4
		}
		t.Inner = parseFrame(b[min(at, len(b)):])
		return t
	}
	return nil
}

// parseFrame reads an Ethernet frame with an IP packet, tagged or not.
func parseFrame(b []byte) *Packet {
	const header = 14
	if len(b) < header {
		return nil
	}
	kind := binary.BigEndian.Uint16(b[header-2:])
	b = b[header:]
	if kind == vlanTag && len(b) >= 4 {
		kind = binary.BigEndian.Uint16(b[2:])
		b = b[4:]
	}
	if kind != unix.ETH_P_IP && kind != unix.ETH_P_IPV6 {
		return nil
	}
	p, ok := parse(b)
	if !ok {
		return nil
	}
	return &p
}

// FloodPeers returns the addresses of the hosts that a VXLAN device of the machine floods to.
func (l *Lab) FloodPeers(device string) (peers []string, err error) {
	h, err := l.Enter(l.HostNS)
	if err != nil {
		return nil, err
	}
	err = h.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		list, err := netlink.NeighList(link.Attrs().Index, unix.AF_BRIDGE)
		for _, n := range list {
			if n.IP != nil {
				peers = append(peers, n.IP.String())
			}
		}
		return err
	})
	return peers, err
}
