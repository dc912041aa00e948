package bridge

import (
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/nfnetlink"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// family is that of nf_tables which sees what bridges forward.
const family = unix.NFPROTO_BRIDGE

// table is the table that the host has, as this process knows it.
type table struct {
	mu         sync.Mutex
	conn       nfnetlink.Conn
	closed     bool
	generation uint32 // of the host's ruleset, at which the rest was read or written; 0: never
	there      bool   // there is a table
	ours       bool   // it has the program's shape
	has        elements
	busy       int                     // calls under way that change what should be in the table
	own        map[string][]netip.Addr // addresses of anycast ports that this process plugged, by host end
}

// begin says that a call is under way that changes what should be in the table, until the function
// returned is called.
func (t *table) begin() (end func()) {
	t.count(1)
	return func() { t.count(-1) }
}

func (t *table) count(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy += n
}

func (t *table) remember(tap string, addrs []netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.own == nil {
		t.own = map[string][]netip.Addr{}
	}
	t.own[tap] = addrs
}

// forget drops what was remembered of host ends that are gone. The lock is held.
func (t *table) forget(links map[string]*link) {
	for tap := range t.own {
		if links[tap] == nil {
			delete(t.own, tap)
		}
	}
}

func (t *table) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return t.conn.Close()
}

// content is what a table has. A nil *content is a table that is not there.
type content struct {
	ours bool
	elements
}

// current returns the table as it is now. It costs one request as long as nobody has changed
// anything in the host's nf_tables. The lock is held.
func (t *table) current() (*content, error) {
	if t.closed {
		return nil, dataplane.ErrClosed
	}
	for {
		before, err := t.conn.Generation()
		if err != nil {
			return nil, err
		}
		if before == t.generation {
			break
		}
		there, ours, has, readErr := t.read()
		after, err := t.conn.Generation()
		if err != nil {
			return nil, err
		}
		if before != after {
			continue // somebody wrote meanwhile: what was read may be a mixture
		}
		if readErr != nil {
			return nil, failure.Of("read table", tableText, readErr)
		}
		t.generation, t.there, t.ours, t.has = after, there, ours, has
		break
	}
	if !t.there {
		return nil, nil
	}
	return &content{t.ours, t.has}, nil
}

// look calls fn with the table as it is now.
func (t *table) look(fn func(*content) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	have, err := t.current()
	if err != nil {
		return err
	}
	return fn(have)
}

// change has fn make of the table as it is the elements that it should have, nil for no table, and
// writes the difference, all at one instant. Whoever else writes at the same time makes it begin
// again. It returns the elements that were added.
func (t *table) change(fn func(have *content) (elements, error)) (added elements, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		have, err := t.current()
		if err != nil {
			return nil, err
		}
		want, err := fn(have)
		if err != nil {
			return nil, err
		}
		b := transaction{table: tableName}
		added, removed := difference(have, want)
		switch {
		case want == nil && have == nil, want != nil && have != nil && have.ours && len(added)+len(removed) == 0:
			return nil, nil
		case want == nil:
			b.deleteTable()
		case have == nil || !have.ours:
			if have != nil {
				b.deleteTable()
			}
			b.addTable(program())
			b.elements(unix.NFT_MSG_NEWSETELEM, netlink.Create, want)
			added = want
		default:
			b.elements(unix.NFT_MSG_DELSETELEM, 0, removed)
			b.elements(unix.NFT_MSG_NEWSETELEM, netlink.Create, added)
		}
		err = t.commit(&b)
		if errors.Is(err, unix.ERESTART) {
			continue
		}
		if err != nil {
			t.generation = 0
			return nil, err
		}
		t.generation = 0 // it is read again, as others may have written since
		return added, nil
	}
}

// difference returns what is to be added to a table and removed from it. A table of another shape
// has nothing that counts.
func difference(have *content, want elements) (added, removed elements) {
	added, removed = elements{}, elements{}
	var old elements
	if have != nil && have.ours {
		old = have.elements
	}
	for set := range program().sets {
		for key := range want[set] {
			if !old[set][key] {
				added.add(set, key)
			}
		}
		for key := range old[set] {
			if !want[set][key] {
				removed.add(set, key)
			}
		}
	}
	return added, removed
}

func (e elements) count() (n int) {
	for _, k := range e {
		n += len(k)
	}
	return n
}

func clone(e elements) elements {
	c := make(elements, len(e))
	for set, k := range e {
		c[set] = maps.Clone(k)
	}
	return c
}

// union returns what is in either.
func union(a, b elements) elements {
	u := clone(a)
	for set, k := range b {
		for key := range k {
			u.add(set, key)
		}
	}
	return u
}

// commit carries out a batch at the generation that it was made for. An error is
// [dataplane.ErrUnsupported] if the kernel lacks a part of nf_tables.
func (t *table) commit(b *transaction) error {
	if b.err != nil {
		return failure.Of("encode table", tableText, b.err)
	}
	refused, err := t.conn.Transact(b.messages, t.generation)
	if err == nil || errors.Is(err, unix.ERESTART) {
		return err
	}
	return failure.Of("write table", tableText, b.explain(refused, err))
}

// try has the kernel check the program without carrying it out: the last message of the batch is
// one that it refuses. The lock is held.
func (t *table) try() error {
	b := transaction{table: tableName + "_try"}
	b.addTable(program())
	good := len(b.messages)
	b.add("delete set", unix.NFT_MSG_DELSET, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, b.table)
		ae.String(unix.NFTA_SET_NAME, "none")
	})
	if b.err != nil {
		return b.err
	}
	refused, err := t.conn.Transact(b.messages, 0)
	if refused == good {
		return nil
	}
	return failure.Of("try table", tableText, b.explain(refused, err))
}

// read reads the table. Only the lock's holder calls it.
func (t *table) read() (there, ours bool, has elements, err error) {
	found := shape{sets: map[string]definition{}, chains: map[string]chain{}}
	name := func(kind uint16) nfnetlink.Fill {
		return func(ae *netlink.AttributeEncoder) { ae.String(kind, tableName) }
	}
	err = t.conn.Ask(family, unix.NFT_MSG_GETTABLE, 0, name(unix.NFTA_TABLE_NAME), func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_TABLE_FLAGS {
				found.flags = ad.Uint32()
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, false, nil, nil
	case err != nil:
		return false, false, nil, err
	case found.flags&tableOwned != 0:
		return true, false, nil, dataplane.ErrForeign
	}
	if err := t.readSets(&found, name(unix.NFTA_SET_TABLE)); err != nil {
		return true, false, nil, err
	}
	if err := t.readChains(&found, name(unix.NFTA_RULE_TABLE)); err != nil {
		return true, false, nil, err
	}
	if !reflect.DeepEqual(found, program()) {
		// What it has is kept as far as it is ours: addresses of ports are nowhere else.
		has, _ = t.readAll(found)
		return true, false, has, nil
	}
	has, err = t.readAll(found)
	return true, err == nil, has, ignore(err, errOdd)
}

func ignore(err, which error) error {
	if errors.Is(err, which) {
		return nil
	}
	return err
}

// tableOwned is NFT_TABLE_F_OWNER: the table belongs to a process that has it open.
const tableOwned = 2

func (t *table) readSets(found *shape, fill nfnetlink.Fill) error {
	return t.conn.Ask(family, unix.NFT_MSG_GETSET, netlink.Dump, fill, func(ad *netlink.AttributeDecoder) error {
		var name string
		def := definition{}
		for ad.Next() {
			switch typ := ad.Type(); typ {
			case unix.NFTA_SET_NAME:
				name = ad.String()
			case unix.NFTA_SET_TABLE, unix.NFTA_SET_ID, nftaSetHandle, nftaSetType, nftaSetCount:
			default:
				if b := ad.Bytes(); len(b) > 0 {
					def[typ] = string(b)
				}
			}
		}
		found.sets[name] = def
		return nil
	})
}

// Attributes of linux/netfilter/nf_tables.h that say nothing about what a set is.
const (
	nftaSetHandle = 0x10
	nftaSetType   = 0x13
	nftaSetCount  = 0x14
)

// errOdd says that a set has elements with more to them than ours have.
var errOdd = errors.New("odd elements")

func (t *table) readAll(found shape) (elements, error) {
	has := elements{}
	odd := false
	for set, def := range found.sets {
		if !maps.Equal(def, program().sets[set]) {
			continue
		}
		if err := t.readElements(set, has, &odd); err != nil {
			return has, err
		}
	}
	if odd {
		return has, errOdd
	}
	return has, nil
}

// enlarging is about how long the kernel takes to enlarge a hash table. Meanwhile a listing may
// tell an element twice, and then it leaves another one out.
const enlarging = time.Millisecond

func (t *table) readElements(set string, has elements, odd *bool) error {
	for {
		told := 0
		delete(has, set)
		err := t.conn.Ask(family, unix.NFT_MSG_GETSETELEM, netlink.Dump, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
			ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
		}, func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
					continue
				}
				for _, wire := range nlmsg.Attributes(ad.Bytes()) {
					key, ours := decodeElement(wire)
					has.add(set, key)
					*odd = *odd || !ours
					told++
				}
			}
			return nil
		})
		if err != nil || told == len(has[set]) {
			return err
		}
		time.Sleep(enlarging)
	}
}

// decodeElement returns an element's key, and whether that is all it has.
func decodeElement(wire []byte) (key string, ours bool) {
	ours = true
	for kind, v := range nlmsg.Attributes(wire) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			for kind, v := range nlmsg.Attributes(v) {
				if kind == unix.NFTA_DATA_VALUE {
					key = string(v)
				}
			}
		case unix.NFTA_SET_ELEM_PAD:
		default:
			ours = false
		}
	}
	return key, ours
}

func (t *table) readChains(found *shape, fill nfnetlink.Fill) error {
	err := t.conn.Ask(family, unix.NFT_MSG_GETCHAIN, netlink.Dump, nil, func(ad *netlink.AttributeDecoder) error { // of all tables
		var of, name string
		var c chain
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_CHAIN_TABLE:
				of = ad.String()
			case unix.NFTA_CHAIN_NAME:
				name = ad.String()
			case unix.NFTA_CHAIN_TYPE:
				c.hook.kind = ad.String()
			case unix.NFTA_CHAIN_POLICY:
				c.hook.policy = ad.Uint32()
			case unix.NFTA_CHAIN_HOOK:
				c.hook.number, c.hook.priority = nfnetlink.Hook(ad)
			}
		}
		if of == tableName {
			found.chains[name] = c
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.conn.Ask(family, unix.NFT_MSG_GETRULE, netlink.Dump, fill, func(ad *netlink.AttributeDecoder) error {
		var of, in string
		var r rule
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_RULE_TABLE:
				of = ad.String()
			case unix.NFTA_RULE_CHAIN:
				in = ad.String()
			case unix.NFTA_RULE_EXPRESSIONS:
				r.exprs = decodeExprs(ad.Bytes())
			case unix.NFTA_RULE_USERDATA:
				r.userdata = string(ad.Bytes())
			}
		}
		if of == tableName {
			c := found.chains[in]
			c.rules = append(c.rules, r)
			found.chains[in] = c
		}
		return nil
	})
}

// decodeExprs returns nil if one of the expressions is of a kind that none of ours is.
func decodeExprs(wire []byte) (exprs []expr.Any) {
	for _, element := range nlmsg.Attributes(wire) {
		var name string
		var data []byte
		for kind, v := range nlmsg.Attributes(element) {
			switch kind {
			case unix.NFTA_EXPR_NAME:
				name = nlmsg.Text(v)
			case unix.NFTA_EXPR_DATA:
				data = v
			}
		}
		e := newExpr(name, data)
		if e == nil || expr.Unmarshal(family, data, e) != nil {
			return nil
		}
		exprs = append(exprs, e)
	}
	return exprs
}

func newExpr(name string, data []byte) expr.Any {
	switch name {
	case "cmp":
		return &expr.Cmp{}
	case "immediate":
		var value expr.Immediate
		if expr.Unmarshal(family, data, &value) == nil && value.Register == unix.NFT_REG_VERDICT {
			return &expr.Verdict{}
		}
		return &expr.Immediate{}
	case "lookup":
		return &expr.Lookup{}
	case "meta":
		return &expr.Meta{}
	case "payload":
		return &expr.Payload{}
	}
	return nil
}
