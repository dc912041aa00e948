package nftables

import (
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/nfnetlink"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

const (
	tableName = "l3kit"
	tableText = "ip " + tableName // for people: family and name
)

// family is an address family of nf_tables (enum nf_inet_hooks of linux/netfilter.h), which has
// tables of its own.
type family byte

const (
	ipv4 family = unix.NFPROTO_IPV4
	ipv6 family = unix.NFPROTO_IPV6
)

// families are those that a router may have a table in.
var families = []family{ipv4, ipv6}

// String is the family's name in nft(8).
func (f family) String() string {
	if f == ipv6 {
		return "ip6"
	}
	return "ip"
}

// table is the family's table for people: family and name.
func (f family) table() string { return f.String() + " " + tableName }

// Attributes of linux/netfilter/nf_tables.h that package unix does not name.
const (
	nftaSetExpr        = 0x11
	nftaSetExpressions = 0x12
)

// maxElementBytes bounds the elements in one message. The list of them is one attribute, whose
// length has 16 bits; and the kernel sends a message that it refuses back whole, which has to fit
// into [nfnetlink.ReceiveBuffer].
const maxElementBytes = 24 << 10

const elementBytes = 32 // enough for most

// batch is a transaction in the making: all its messages take effect at one instant, or none does.
type batch struct {
	family   family // of messages to come
	messages []netlink.Message
	texts    []string // what each message does, for errors
	err      error    // the first that could not be encoded
}

func (b *batch) add(text string, kind uint16, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder)) {
	text = b.family.table() + ": " + text
	m, err := nfnetlink.Message(byte(b.family), kind, flags, fill)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", text, err)
	}
	b.messages = append(b.messages, m)
	b.texts = append(b.texts, text)
}

func (b *batch) addTable(flags uint32) {
	b.add("add table", unix.NFT_MSG_NEWTABLE, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, tableName)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	})
}

func (b *batch) deleteTable() {
	b.add("delete table", unix.NFT_MSG_DELTABLE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, tableName)
	})
}

func (b *batch) addChain(c *chain) {
	b.add("add chain "+c.name, unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, tableName)
		ae.String(unix.NFTA_CHAIN_NAME, c.name)
		if c.hook == (hook{}) {
			return
		}
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, c.hook.number)
			ae.Int32(unix.NFTA_HOOK_PRIORITY, c.hook.priority)
			return nil
		})
		ae.Uint32(unix.NFTA_CHAIN_POLICY, c.hook.policy)
		ae.String(unix.NFTA_CHAIN_TYPE, c.hook.kind)
	})
}

func (b *batch) deleteChain(name string) {
	b.add("delete chain "+name, unix.NFT_MSG_DELCHAIN, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, tableName)
		ae.String(unix.NFTA_CHAIN_NAME, name)
	})
}

func (b *batch) flushChain(name string) {
	b.add("flush chain "+name, unix.NFT_MSG_DELRULE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, tableName)
		ae.String(unix.NFTA_RULE_CHAIN, name)
	})
}

func (b *batch) addRule(c *chain, r rule) {
	b.add("add rule to chain "+c.name, unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, tableName)
		ae.String(unix.NFTA_RULE_CHAIN, c.name)
		ae.Do(unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, r.marshal)
		if len(r.userdata) > 0 {
			ae.Bytes(unix.NFTA_RULE_USERDATA, r.userdata)
		}
	})
}

func (r rule) marshal() ([]byte, error) {
	if r.wire != nil {
		return writable(r.wire)
	}
	ae := netlink.NewAttributeEncoder()
	for _, e := range r.exprs {
		ae.Do(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, func() ([]byte, error) { return expr.Marshal(byte(ipv4), e) })
	}
	return ae.Encode()
}

func (b *batch) addSet(s *set) {
	b.add("add set "+s.name, unix.NFT_MSG_NEWSET, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, tableName)
		ae.String(unix.NFTA_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_SET_ID, uint32(len(b.messages))) // demanded; rules and elements go by the name
		for t, v := range s.definition {
			ae.Bytes(t, []byte(v))
		}
	})
}

func (b *batch) deleteSet(name string) {
	b.add("delete set "+name, unix.NFT_MSG_DELSET, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, tableName)
		ae.String(unix.NFTA_SET_NAME, name)
	})
}

// addElements adds those elements of s that have these keys.
func (b *batch) addElements(s *set, keys []string) {
	b.elements("add elements to "+s.name, unix.NFT_MSG_NEWSETELEM, netlink.Create, s, keys, func(list []byte, key string) []byte {
		e := s.elements[key]
		if e.wire != nil {
			return appendElement(list, e.wire)
		}
		return s.marshal(list, key, e.value)
	})
}

// deleteElements deletes what s holds under these keys.
func (b *batch) deleteElements(s *set, keys []string) {
	b.elements("delete elements from "+s.name, unix.NFT_MSG_DELSETELEM, 0, s, keys, func(list []byte, key string) []byte {
		return s.marshal(list, key, "")
	})
}

// elements writes as many messages as the elements under these keys need.
func (b *batch) elements(text string, kind uint16, flags netlink.HeaderFlags, s *set, keys []string, marshal func(list []byte, key string) []byte) {
	for len(keys) > 0 {
		n := 0
		list := make([]byte, 0, min(len(keys)*elementBytes, maxElementBytes))
		for ; n < len(keys) && len(list) < maxElementBytes; n++ {
			list = marshal(list, keys[n])
		}
		b.add(text, kind, flags, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
			ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
			ae.Bytes(unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_LIST_ELEMENTS, list)
		})
		keys = keys[n:]
	}
}

// marshal appends the element of a key. An interval is two elements: where it begins, and where
// what is not in it begins again, unless that is beyond the last address.
func (s *set) marshal(list []byte, key, value string) []byte {
	switch {
	case s.intervals():
	case value != "" && s.limits():
		wire := marshalElement(key, "", 0)
		return appendElement(list, nlmsg.Append(wire, unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_EXPR, limiter(value)))
	default:
		return appendElement(list, marshalElement(key, value, 0))
	}
	start, end, flags := cutInterval(key)
	if start != "" {
		list = appendElement(list, marshalElement(start, "", flags))
	}
	if end != "" {
		list = appendElement(list, marshalElement(end, "", unix.NFT_SET_ELEM_INTERVAL_END))
	}
	return list
}

func appendElement(list, wire []byte) []byte {
	return nlmsg.Append(list, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, wire)
}

func marshalElement(key, value string, flags uint32) []byte {
	wire := appendData(make([]byte, 0, 64), unix.NFTA_SET_ELEM_KEY, key)
	if value != "" {
		wire = appendData(wire, unix.NFTA_SET_ELEM_DATA, value)
	}
	if flags != 0 {
		wire = nlmsg.Append(wire, unix.NFTA_SET_ELEM_FLAGS, bigEndian(flags))
	}
	return wire
}

func appendData(b []byte, typ uint16, value string) []byte {
	var data [32]byte // a device's name or an IPv6 address, the longest values, and the header
	return nlmsg.Append(b, unix.NLA_F_NESTED|typ, nlmsg.Append(data[:0], unix.NFTA_DATA_VALUE, value))
}
