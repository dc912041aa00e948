package bridge

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/nfnetlink"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// transaction is a list of messages to nf_tables in the making: all take effect at one instant, or
// none does.
type transaction struct {
	table    string
	messages []netlink.Message
	texts    []string // what each message does, for errors
	err      error    // the first that could not be encoded
}

func (b *transaction) add(text string, kind uint16, flags netlink.HeaderFlags, fill nfnetlink.Fill) {
	m, err := nfnetlink.Message(family, kind, flags, fill)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", text, err)
	}
	b.messages, b.texts = append(b.messages, m), append(b.texts, text)
}

func (b *transaction) deleteTable() {
	b.add("delete table", unix.NFT_MSG_DELTABLE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.table)
	})
}

// addTable adds the table with empty sets.
func (b *transaction) addTable(s shape) {
	b.add("add table", unix.NFT_MSG_NEWTABLE, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.table)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, s.flags)
	})
	for _, name := range slices.Sorted(maps.Keys(s.sets)) {
		b.add("add set "+name, unix.NFT_MSG_NEWSET, netlink.Create, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_SET_TABLE, b.table)
			ae.String(unix.NFTA_SET_NAME, name)
			ae.Uint32(unix.NFTA_SET_ID, uint32(len(b.messages))) // demanded; rules and elements go by the name
			for kind, v := range s.sets[name] {
				ae.Bytes(kind, []byte(v))
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(s.chains)) {
		b.addChain(name, s.chains[name])
	}
}

func (b *transaction) addChain(name string, c chain) {
	b.add("add chain "+name, unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, b.table)
		ae.String(unix.NFTA_CHAIN_NAME, name)
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, c.hook.number)
			ae.Int32(unix.NFTA_HOOK_PRIORITY, c.hook.priority)
			return nil
		})
		ae.Uint32(unix.NFTA_CHAIN_POLICY, c.hook.policy)
		ae.String(unix.NFTA_CHAIN_TYPE, c.hook.kind)
	})
	for _, r := range c.rules {
		b.add("add rule to chain "+name, unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_RULE_TABLE, b.table)
			ae.String(unix.NFTA_RULE_CHAIN, name)
			ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) error {
				for _, e := range r.exprs {
					ae.Do(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, func() ([]byte, error) { return expr.Marshal(family, e) })
				}
				return nil
			})
			ae.Bytes(unix.NFTA_RULE_USERDATA, []byte(r.userdata))
		})
	}
}

// maxElementBytes bounds the elements in one message: the list of them is one attribute, whose
// length has 16 bits, and a message that the kernel refuses comes back whole.
const maxElementBytes = 24 << 10

// elements adds or deletes elements.
func (b *transaction) elements(kind uint16, flags netlink.HeaderFlags, e elements) {
	text := "add elements to "
	if kind == unix.NFT_MSG_DELSETELEM {
		text = "delete elements from "
	}
	for _, set := range slices.Sorted(maps.Keys(e)) {
		var list []byte
		flush := func() {
			if len(list) == 0 {
				return
			}
			elems := list
			b.add(text+set, kind, flags, func(ae *netlink.AttributeEncoder) {
				ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
				ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
				ae.Bytes(unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_LIST_ELEMENTS, elems)
			})
			list = nil
		}
		for _, key := range slices.Sorted(maps.Keys(e[set])) {
			list = appendElement(list, key)
			if len(list) >= maxElementBytes {
				flush()
			}
		}
		flush()
	}
}

func appendElement(list []byte, key string) []byte {
	return nlmsg.AppendNested(list, unix.NFTA_LIST_ELEM, func(b []byte) []byte {
		return nlmsg.AppendNested(b, unix.NFTA_SET_ELEM_KEY, func(b []byte) []byte {
			return nlmsg.Append(b, unix.NFTA_DATA_VALUE, key)
		})
	})
}

// explain names the part of nf_tables that the kernel lacks, if that is why it refused a message.
func (b *transaction) explain(refused int, err error) error {
	if refused < 0 {
		return err
	}
	kind := b.messages[refused].Header.Type & 0xff
	switch {
	case kind == unix.NFT_MSG_NEWRULE && errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: the kernel lacks an expression of nf_tables for bridges (module nft_meta_bridge): %w", dataplane.ErrUnsupported, err)
	case (kind == unix.NFT_MSG_NEWTABLE || kind == unix.NFT_MSG_NEWCHAIN) &&
		(errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)):
		return fmt.Errorf("%w: the kernel lacks nf_tables for bridges (CONFIG_NF_TABLES_BRIDGE): %w", dataplane.ErrUnsupported, err)
	}
	return fmt.Errorf("%s: %w", b.texts[refused], err)
}
