package nftables

import (
	"bytes"
	"encoding/binary"
	"maps"
	"reflect"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table is what the table holds, or should hold: the same form for what a router asks for and for
// what the kernel was found to have, so that one comparison serves planning, applying and undoing.
type table struct {
	family family
	flags  uint32 // NFTA_TABLE_FLAGS; ours has none
	sets   []*set
	chains []*chain
}

// ruleset is the tables of a router; nil where there is none.
type ruleset struct{ ip, ip6 *table }

// of returns the table of a family.
func (rs ruleset) of(f family) *table {
	if f == ipv6 {
		return rs.ip6
	}
	return rs.ip
}

// set is a named set or map.
type set struct {
	name string
	// definition is all that NFT_MSG_NEWSET takes beside the name: attribute types and their
	// payloads.
	definition map[uint16]string
	// elements by key, as the kernel has it: an address in network order, a device's name padded to
	// 16 bytes; of a set of intervals, see subnetKey.
	elements map[string]element
}

// element is what a set holds under a key.
type element struct {
	value string // of a map's element; empty in a set
	// wire is the element as the kernel told it. Writing it again puts its counters back too. Nil
	// for one that was never in the kernel.
	wire []byte
}

// chain is a chain and its rules in order.
type chain struct {
	name  string
	hook  hook // zero: a chain that is only jumped to, which is none of ours
	rules []rule
}

// hook says where a base chain is attached.
type hook struct {
	kind     string // filter or nat
	number   uint32 // NF_INET_PRE_ROUTING …
	priority int32
	policy   uint32 // NF_ACCEPT or NF_DROP
}

// rule is one rule.
type rule struct {
	// exprs is nil for a rule read back that holds an expression which none of ours does.
	exprs []expr.Any
	// wire is the rule's expressions as the kernel told them; nil for one that was never in the
	// kernel.
	wire []byte
	// userdata is nft's: it carries the comment.
	userdata []byte
}

func (r rule) equal(o rule) bool {
	return r.exprs != nil && reflect.DeepEqual(r.exprs, o.exprs) && bytes.Equal(r.userdata, o.userdata)
}

func (s *set) sameDefinition(o *set) bool { return maps.Equal(s.definition, o.definition) }

// isMap says that elements have values.
func (s *set) isMap() bool { _, ok := s.definition[unix.NFTA_SET_DATA_TYPE]; return ok }

// anonymous says that the set is part of a rule, and comes and goes with it.
func (s *set) anonymous() bool { return s.flags()&unix.NFT_SET_ANONYMOUS != 0 }

func (s *set) intervals() bool { return s.flags()&unix.NFT_SET_INTERVAL != 0 }

func (s *set) flags() uint32 {
	if b := []byte(s.definition[unix.NFTA_SET_FLAGS]); len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (t *table) set(name string) *set {
	if t != nil {
		for _, s := range t.sets {
			if s.name == name {
				return s
			}
		}
	}
	return nil
}

func (t *table) chain(name string) *chain {
	if t != nil {
		for _, c := range t.chains {
			if c.name == name {
				return c
			}
		}
	}
	return nil
}

// value is what a map holds under a key; empty when there is no such map or key.
func (t *table) value(name, key string) string {
	if s := t.set(name); s != nil {
		return s.elements[key].value
	}
	return ""
}
