package bridge

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/nlmsg"
	"github.com/l3kit/l3kit/internal/wiring"
)

type encode = func(*netlink.AttributeEncoder)

// request makes an rtnetlink message: a family header, then attributes.
func request(kind uint16, flags netlink.HeaderFlags, header []byte, attrs encode) netlink.Message {
	data := header
	if attrs != nil {
		ae := netlink.NewAttributeEncoder()
		attrs(ae)
		b, err := ae.Encode()
		if err != nil {
			panic(err) // of values that no port or network has: one attribute of 64 KiB
		}
		data = append(data, b...)
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   data,
	}
}

// after returns the attributes behind a message's family header of n bytes.
func after(n int, payload []byte) iter.Seq2[uint16, []byte] {
	return nlmsg.Attributes(payload[min(n, len(payload)):])
}

// ifinfomsg is the header of link messages. flags are set, and only those.
func ifinfomsg(index int, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg, 512)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], flags)
	return b
}

// newLink creates a device. It is down; what creation does not take (alias, IPv6 mode) is for
// messages that follow in the same batch.
func newLink(index int, kind, name string, attrs, data encode) netlink.Message {
	return request(unix.RTM_NEWLINK, netlink.Acknowledge|netlink.Create|netlink.Excl, ifinfomsg(index, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		if attrs != nil {
			attrs(ae)
		}
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_KIND, kind)
			if data != nil {
				ae.Nested(unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) error { data(ae); return nil })
			}
			return nil
		})
	})
}

// peer is the other end of a new veth.
type peer struct {
	ns    int // file descriptor of its namespace; negative: the same
	index int // 0: the kernel chooses
	name  string
	mac   dataplane.MAC
}

// newVeth creates both ends at once, with one MTU.
func newVeth(index int, name string, mtu, master int, p peer) netlink.Message {
	mac := wiring.HostMAC()
	return newLink(index, "veth", name, func(ae *netlink.AttributeEncoder) {
		vethEnd(ae, mtu, mac)
		ae.Uint32(unix.IFLA_MASTER, uint32(master))
	}, func(ae *netlink.AttributeEncoder) {
		ae.Do(vethInfoPeer, func() ([]byte, error) {
			end := netlink.NewAttributeEncoder()
			end.String(unix.IFLA_IFNAME, p.name)
			vethEnd(end, mtu, p.mac)
			if p.ns >= 0 {
				end.Uint32(unix.IFLA_NET_NS_FD, uint32(p.ns))
			}
			b, err := end.Encode()
			return append(ifinfomsg(p.index, 0), b...), err
		})
	})
}

// vethEnd is what both ends have alike. Unasked the kernel makes as many queues as there are
// processors, and then waits, with its lock on all links held, until it may leave all but one of
// them unused (veth_init_queues); so one is asked for.
func vethEnd(ae *netlink.AttributeEncoder, mtu int, mac dataplane.MAC) {
	ae.Uint32(unix.IFLA_MTU, uint32(mtu))
	ae.Bytes(unix.IFLA_ADDRESS, mac[:])
	ae.Uint32(unix.IFLA_NUM_TX_QUEUES, 1)
	ae.Uint32(unix.IFLA_NUM_RX_QUEUES, 1)
}

// newBridge creates a bridge that forwards at once, floods multicast like any switch without
// snooping, and keeps its MAC whatever ports come.
func newBridge(index int, name string) netlink.Message {
	mac := wiring.HostMAC()
	return newLink(index, "bridge", name, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFLA_ADDRESS, mac[:])
	}, bridgeSettings)
}

func bridgeSettings(ae *netlink.AttributeEncoder) {
	ae.Uint32(unix.IFLA_BR_FORWARD_DELAY, 0)
	ae.Uint32(unix.IFLA_BR_STP_STATE, 0)
	ae.Uint8(unix.IFLA_BR_MCAST_SNOOPING, 0)
}

func newVLAN(index int, name string, parent, master int, vid uint16) netlink.Message {
	return newLink(index, "vlan", name, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_LINK, uint32(parent))
		ae.Uint32(unix.IFLA_MASTER, uint32(master))
	}, func(ae *netlink.AttributeEncoder) {
		ae.Uint16(unix.IFLA_VLAN_ID, vid)
	})
}

// newVXLAN creates a tunnel device. It names no underlying device, so that routing may choose one,
// and its MTU has no limit but the port's.
func newVXLAN(index int, name string, mtu, master int, v vxlanInfo) netlink.Message {
	return newLink(index, "vxlan", name, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_MTU, uint32(mtu))
		ae.Uint32(unix.IFLA_MASTER, uint32(master))
	}, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_VXLAN_ID, v.vni)
		ae.Uint8(unix.IFLA_VXLAN_LEARNING, 1)
		ae.Bytes(unix.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, v.port))
		if v.local.Is4() {
			ae.Bytes(unix.IFLA_VXLAN_LOCAL, v.local.AsSlice())
		} else {
			ae.Bytes(unix.IFLA_VXLAN_LOCAL6, v.local.AsSlice())
		}
	})
}

// setLink changes attributes of a device.
func setLink(index int, attrs encode) netlink.Message {
	return request(unix.RTM_SETLINK, netlink.Acknowledge, ifinfomsg(index, 0), attrs)
}

func setMark(index int, m mark) netlink.Message {
	return setLink(index, func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.IFLA_IFALIAS, []byte(m.String())) })
}

func setMaster(index, master int) netlink.Message {
	return setLink(index, func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_MASTER, uint32(master)) })
}

func setMTU(index, mtu int) netlink.Message {
	return setLink(index, func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_MTU, uint32(mtu)) })
}

func setMAC(index int, mac dataplane.MAC) netlink.Message {
	return setLink(index, func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.IFLA_ADDRESS, mac[:]) })
}

// setQuiet keeps the kernel from giving the device an IPv6 address by itself, and so from speaking
// on the network.
func setQuiet(index int) netlink.Message {
	return setLink(index, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.IFLA_AF_SPEC, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.AF_INET6, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, addrGenModeNone)
				return nil
			})
			return nil
		})
	})
}

func setBridge(index int) netlink.Message {
	return request(unix.RTM_NEWLINK, netlink.Acknowledge, ifinfomsg(index, 0), func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_KIND, "bridge")
			ae.Nested(unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) error { bridgeSettings(ae); return nil })
			return nil
		})
	})
}

func setUp(index int) netlink.Message {
	return request(unix.RTM_SETLINK, netlink.Acknowledge, ifinfomsg(index, unix.IFF_UP), nil)
}

func delLink(index int) netlink.Message {
	return request(unix.RTM_DELLINK, netlink.Acknowledge, ifinfomsg(index, 0), nil)
}

var zeroMAC = make([]byte, 6)

// flood adds or deletes a peer to which a VXLAN device sends what it cannot send to one peer alone:
// a forwarding entry for the zero MAC.
func flood(kind uint16, index int, peer netip.Addr) netlink.Message {
	var flags netlink.HeaderFlags = netlink.Acknowledge
	if kind == unix.RTM_NEWNEIGH {
		flags |= netlink.Create | netlink.Append
	}
	ndmsg := make([]byte, unix.SizeofNdMsg, 64)
	ndmsg[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(ndmsg[4:], uint32(index))
	binary.NativeEndian.PutUint16(ndmsg[8:], unix.NUD_NOARP|unix.NUD_PERMANENT)
	ndmsg[10] = unix.NTF_SELF
	return request(kind, flags, ndmsg, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.NDA_LLADDR, zeroMAC)
		ae.Bytes(unix.NDA_DST, peer.AsSlice())
	})
}

func delAddress(index int, a address) netlink.Message {
	ifaddrmsg := make([]byte, unix.SizeofIfAddrmsg, 32)
	ifaddrmsg[0] = unix.AF_INET6
	ifaddrmsg[1] = byte(a.Bits())
	binary.NativeEndian.PutUint32(ifaddrmsg[4:], uint32(index))
	return request(unix.RTM_DELADDR, netlink.Acknowledge, ifaddrmsg, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_ADDRESS, a.Addr().AsSlice())
	})
}
