package nftables

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/nfnetlink"
)

// tableOwned is NFT_TABLE_F_OWNER: the table belongs to a process that has it open, and goes with
// it (since 5.12).
const tableOwned = 2

// read returns the tables as they are, and the generation at which all of them were so.
func (s *socket) read(ctx context.Context) (ruleset, uint32, error) {
	for {
		if err := ctx.Err(); err != nil {
			return ruleset{}, 0, err
		}
		before, err := s.Generation()
		if err != nil {
			return ruleset{}, 0, err
		}
		rs, readErr := s.readTables(ctx)
		after, err := s.Generation()
		if err != nil {
			return ruleset{}, 0, err
		}
		if before != after {
			continue // somebody wrote meanwhile: what was read may be a mixture
		}
		return rs, after, readErr
	}
}

func (s *socket) readTables(ctx context.Context) (rs ruleset, err error) {
	if rs.ip, err = s.readTable(ctx, ipv4); err != nil {
		return rs, failure.Of("read", ipv4.table(), err)
	}
	if rs.ip6, err = s.readTable(ctx, ipv6); err != nil {
		return rs, failure.Of("read", ipv6.table(), err)
	}
	return rs, nil
}

// readTable returns nil if there is no such table.
func (s *socket) readTable(ctx context.Context, f family) (*table, error) {
	t := &table{family: f}
	err := s.askTable(f, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_TABLE_FLAGS {
				t.flags = ad.Uint32()
			}
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if t.flags&tableOwned != 0 {
		return nil, dataplane.ErrForeign
	}
	if err := s.readSets(ctx, t); err != nil {
		return nil, err
	}
	return t, s.readChains(t)
}

// askTable asks for the table itself; there being none is ENOENT.
func (s *socket) askTable(f family, decode nfnetlink.Decode) error {
	name := func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_TABLE_NAME, tableName) }
	return s.Ask(byte(f), unix.NFT_MSG_GETTABLE, 0, name, decode)
}

// list asks for everything of one kind and hands each object's attributes to decode.
func (s *socket) list(f family, kind uint16, fill nfnetlink.Fill, decode nfnetlink.Decode) error {
	return s.Ask(byte(f), kind, netlink.Dump, fill, decode)
}

func (s *socket) readSets(ctx context.Context, t *table) error {
	err := s.list(t.family, unix.NFT_MSG_GETSET, func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_SET_TABLE, tableName) },
		func(ad *netlink.AttributeDecoder) error {
			found := &set{definition: map[uint16]string{}}
			for ad.Next() {
				switch typ := ad.Type(); typ {
				case unix.NFTA_SET_NAME:
					found.name = ad.String()
				case nftaSetExpr:
					found.definition[typ] = zeroed(ad.Bytes())
				case unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_TYPE, unix.NFTA_SET_KEY_LEN, unix.NFTA_SET_DATA_TYPE, unix.NFTA_SET_DATA_LEN,
					unix.NFTA_SET_POLICY, unix.NFTA_SET_DESC, unix.NFTA_SET_TIMEOUT, unix.NFTA_SET_GC_INTERVAL, unix.NFTA_SET_USERDATA,
					unix.NFTA_SET_OBJ_TYPE, nftaSetExpressions:
					if b := ad.Bytes(); len(b) > 0 {
						found.definition[typ] = string(b)
					}
				}
			}
			t.sets = append(t.sets, found)
			return nil
		})
	if err != nil {
		return err
	}
	for _, found := range t.sets {
		if found.intervals() {
			found.elements, err = s.readIntervals(t.family, found.name)
		} else {
			found.elements, err = s.readElements(ctx, t.family, found.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readElements returns what a set of the table holds, which is not one of intervals.
//
// The kernel hands out a long list in parts and finds its place again by counting. A hash table
// that has just been filled is still being enlarged in the background, which changes its order;
// then elements are told twice, and as many are left out. The generation does not show it, but an
// element told twice does: without one, the list is whole.
func (s *socket) readElements(ctx context.Context, f family, set string) (map[string]element, error) {
	for {
		elements, told := map[string]element{}, 0
		err := s.listElements(f, set, func(wire []byte) error {
			key, e, _, err := decodeElement(wire)
			elements[key] = e
			told++
			return err
		})
		if err != nil || told == len(elements) {
			return elements, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(enlarging):
		}
	}
}

// readIntervals returns the intervals of a set, and what in it is none: an end alone, or an element
// that has more to it than ours.
func (s *socket) readIntervals(f family, set string) (map[string]element, error) {
	type end struct {
		key   string
		flags uint32
		element
	}
	var ends []end
	elements := map[string]element{}
	err := s.listElements(f, set, func(wire []byte) error {
		key, e, flags, err := decodeElement(wire)
		if e.value == oddValue {
			elements[strayKey(key, flags)] = e
		} else {
			ends = append(ends, end{key, flags, e})
		}
		return err
	})
	slices.SortFunc(ends, func(a, b end) int { // at one key, an interval ends before the next begins
		return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(b.flags, a.flags))
	})
	for i := 0; i < len(ends); i++ {
		a := ends[i]
		switch {
		case a.flags == unix.NFT_SET_ELEM_INTERVAL_END:
			elements[strayKey(a.key, a.flags)] = a.element
		case i+1 < len(ends) && ends[i+1].flags == unix.NFT_SET_ELEM_INTERVAL_END:
			elements[a.key+ends[i+1].key] = element{}
			i++
		default: // up to the last of all
			elements[a.key] = element{}
		}
	}
	return elements, err
}

// enlarging is about how long the kernel takes to enlarge a hash table.
const enlarging = time.Millisecond

func (s *socket) listElements(f family, set string, decode func(wire []byte) error) error {
	return s.list(f, unix.NFT_MSG_GETSETELEM, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if err := decode(ad.Bytes()); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return nil
	})
}

// oddValue stands for the value of an element that has more to it than those we write: a timeout,
// say. None of ours has it.
const oddValue = "\xff"

func decodeElement(wire []byte) (key string, e element, flags uint32, err error) {
	ad, err := netlink.NewAttributeDecoder(wire)
	if err != nil {
		return "", element{}, 0, err
	}
	ad.ByteOrder = binary.BigEndian
	e.wire = wire
	ours := true
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_KEY:
			key = dataValue(ad)
		case unix.NFTA_SET_ELEM_DATA:
			e.value = dataValue(ad)
			ours = ours && e.value != ""
		case unix.NFTA_SET_ELEM_FLAGS:
			flags = ad.Uint32()
			ours = ours && flags == unix.NFT_SET_ELEM_INTERVAL_END
		case unix.NFTA_SET_ELEM_EXPR:
			if limit := decodeLimit(ad.Bytes()); limit != "" {
				e.value = limit
			}
		case unix.NFTA_SET_ELEM_PAD:
		default:
			ours = false
		}
	}
	if !ours {
		e.value = oddValue
	}
	return key, e, flags, ad.Err()
}

func dataValue(ad *netlink.AttributeDecoder) (value string) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_DATA_VALUE {
				value = string(ad.Bytes())
			}
		}
		return nil
	})
	return value
}

func (s *socket) readChains(t *table) error {
	err := s.list(t.family, unix.NFT_MSG_GETCHAIN, nil, func(ad *netlink.AttributeDecoder) error { // lists the chains of all tables
		var c chain
		var in string
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_CHAIN_TABLE:
				in = ad.String()
			case unix.NFTA_CHAIN_NAME:
				c.name = ad.String()
			case unix.NFTA_CHAIN_TYPE:
				c.hook.kind = ad.String()
			case unix.NFTA_CHAIN_POLICY:
				c.hook.policy = ad.Uint32()
			case unix.NFTA_CHAIN_HOOK:
				c.hook.number, c.hook.priority = nfnetlink.Hook(ad)
			}
		}
		if in == tableName {
			t.chains = append(t.chains, &c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.list(t.family, unix.NFT_MSG_GETRULE, func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_RULE_TABLE, tableName) },
		func(ad *netlink.AttributeDecoder) error {
			var r rule
			var in, of string
			for ad.Next() {
				switch ad.Type() {
				case unix.NFTA_RULE_TABLE:
					in = ad.String()
				case unix.NFTA_RULE_CHAIN:
					of = ad.String()
				case unix.NFTA_RULE_EXPRESSIONS:
					r.wire = ad.Bytes()
				case unix.NFTA_RULE_USERDATA:
					r.userdata = ad.Bytes()
				}
			}
			if c := t.chain(of); c != nil && in == tableName {
				r.exprs = decodeRule(r.wire)
				c.rules = append(c.rules, r)
			}
			return nil
		})
}
