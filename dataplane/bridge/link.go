package bridge

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// Constants of linux/veth.h, linux/if_link.h and linux/rtnetlink.h that golang.org/x/sys/unix
// lacks.
const (
	vethInfoPeer     = 1      // VETH_INFO_PEER
	addrGenModeNone  = 1      // IN6_ADDR_GEN_MODE_NONE
	extMaskSkipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS

	brStateForwarding = 3 // BR_STATE_FORWARDING of linux/if_bridge.h
	operUp            = 6 // IF_OPER_UP of linux/if.h
)

// link is a device as the kernel describes it (RTM_NEWLINK). It is never changed once decoded.
type link struct {
	index   int
	name    string
	kind    string // IFLA_INFO_KIND; empty for hardware
	mark    mark   // of its alias
	up      bool   // administratively
	mtu     int
	mac     dataplane.MAC
	master  int  // index of the bridge that it is a port of; 0: none
	lower   int  // IFLA_LINK: a veth's peer, a VLAN's parent
	lowerNS int  // namespace of lower, by its ID in the namespace that was asked; see sameNS
	quiet   bool // the kernel gives it no IPv6 address by itself

	carrier    bool
	oper       uint8 // IFLA_OPERSTATE
	forwarding bool  // as a bridge's port

	bridge bridgeInfo
	vxlan  vxlanInfo
	vlan   uint16 // VLAN ID
}

// bridgeInfo are the settings that we have an opinion on. The zero value is our opinion.
type bridgeInfo struct {
	snooping     bool
	stp          bool
	forwardDelay uint32 // hundredths of a second
}

type vxlanInfo struct {
	vni      uint32
	local    netip.Addr
	port     uint16
	learning bool
}

// decode reads the payload of an RTM_NEWLINK message.
func decode(payload []byte) (*link, error) {
	if len(payload) < unix.SizeofIfInfomsg {
		return nil, errors.New("short link message")
	}
	l := &link{
		index:   nlmsg.Int(payload[4:8]),
		up:      nlmsg.Uint32(payload[8:12])&unix.IFF_UP != 0,
		lowerNS: sameNS,
		quiet:   true,
	}
	for kind, v := range after(unix.SizeofIfInfomsg, payload) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.name = nlmsg.Text(v)
		case unix.IFLA_IFALIAS:
			l.mark = parseMark(nlmsg.Text(v))
		case unix.IFLA_MTU:
			l.mtu = nlmsg.Int(v)
		case unix.IFLA_ADDRESS:
			if len(v) == len(l.mac) {
				l.mac = dataplane.MAC(v)
			}
		case unix.IFLA_MASTER:
			l.master = nlmsg.Int(v)
		case unix.IFLA_LINK:
			l.lower = nlmsg.Int(v)
		case unix.IFLA_CARRIER:
			l.carrier = nlmsg.Uint8(v) != 0
		case unix.IFLA_OPERSTATE:
			l.oper = nlmsg.Uint8(v)
		case unix.IFLA_LINK_NETNSID:
			l.lowerNS = nlmsg.Int(v)
		case unix.IFLA_LINKINFO:
			l.decodeInfo(v)
		case unix.IFLA_AF_SPEC:
			l.quiet = quiet(v)
		}
	}
	if l.mtu < minIPv6MTU {
		l.quiet = true // a message about the MTU is sent before IPv6 leaves the device
	}
	return l, nil
}

func (l *link) decodeInfo(info []byte) {
	for kind, v := range nlmsg.Attributes(info) { // the kernel puts the kind before the data
		switch kind {
		case unix.IFLA_INFO_KIND:
			l.kind = nlmsg.Text(v)
		case unix.IFLA_INFO_SLAVE_DATA:
			for kind, v := range nlmsg.Attributes(v) {
				if kind == unix.IFLA_BRPORT_STATE {
					l.forwarding = nlmsg.Uint8(v) == brStateForwarding
				}
			}
		case unix.IFLA_INFO_DATA:
			switch l.kind {
			case "bridge":
				l.bridge.decode(v)
			case "vxlan":
				l.vxlan.decode(v)
			case "vlan":
				for kind, v := range nlmsg.Attributes(v) {
					if kind == unix.IFLA_VLAN_ID {
						l.vlan = nlmsg.Uint16(v)
					}
				}
			}
		}
	}
}

func (b *bridgeInfo) decode(data []byte) {
	for kind, v := range nlmsg.Attributes(data) {
		switch kind {
		case unix.IFLA_BR_MCAST_SNOOPING:
			b.snooping = nlmsg.Uint8(v) != 0
		case unix.IFLA_BR_STP_STATE:
			b.stp = nlmsg.Uint32(v) != 0
		case unix.IFLA_BR_FORWARD_DELAY:
			b.forwardDelay = nlmsg.Uint32(v)
		}
	}
}

func (x *vxlanInfo) decode(data []byte) {
	for kind, v := range nlmsg.Attributes(data) {
		switch kind {
		case unix.IFLA_VXLAN_ID:
			x.vni = nlmsg.Uint32(v)
		case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
			x.local = nlmsg.Addr(v)
		case unix.IFLA_VXLAN_PORT:
			if len(v) == 2 {
				x.port = binary.BigEndian.Uint16(v)
			}
		case unix.IFLA_VXLAN_LEARNING:
			x.learning = nlmsg.Uint8(v) != 0
		}
	}
}

// quiet reads the IPv6 address generation mode from what each address family says about a device.
// No IPv6 is quiet, too.
func quiet(families []byte) bool {
	for family, v := range nlmsg.Attributes(families) {
		if family != unix.AF_INET6 {
			continue
		}
		for kind, v := range nlmsg.Attributes(v) {
			if kind == unix.IFLA_INET6_ADDR_GEN_MODE {
				return nlmsg.Uint8(v) == addrGenModeNone
			}
		}
	}
	return true
}
