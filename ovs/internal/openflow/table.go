package openflow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// table is what is present of our flows on a bridge. It is made of the switch's own list and of its
// news.
type table struct {
	mark    cookie            // of the flows that are ours
	places  map[string]cookie // of the flows of ours, by their place
	ids     map[id]presence
	version int // grows with each change
}

// presence is how often flows of one id are there.
type presence struct {
	count    int
	priority uint16 // of one of them
	doubt    doubt
}

// doubt is whether the flows do what their cookie says.
type doubt uint8

const (
	none      doubt = iota // they were written with that cookie while we watched
	unchecked              // they were there before, or somebody wrote to them
	wrong                  // they have been compared
)

func newTable(mark cookie) table {
	return table{mark: mark, places: map[string]cookie{}, ids: map[id]presence{}, version: 1}
}

// apply takes in news; listed says that they are part of the first list.
func (t *table) apply(u update, listed bool) {
	before, present := t.places[u.place]
	own := u.cookie.mark() == t.mark && !u.deleted
	if !present && !own {
		return
	}
	t.version++
	same := present && own && before == u.cookie
	if present && !same {
		t.remove(u.place, id{u.table, before})
	}
	if !own {
		return
	}
	k := id{u.table, u.cookie}
	p := t.ids[k]
	p.priority = u.priority()
	if !same {
		t.places[u.place] = u.cookie
		p.count++
	}
	if same || listed {
		p.doubt = unchecked
	}
	t.ids[k] = p
}

func (t *table) remove(place string, k id) {
	delete(t.places, place)
	p := t.ids[k]
	if p.count--; p.count == 0 {
		delete(t.ids, k)
	} else {
		t.ids[k] = p
	}
}

// difference is what has to be written.
type difference struct {
	add, remove []Flow
	adds        []cookie // of each in add
}

func (d *difference) empty() bool { return len(d.add) == 0 && len(d.remove) == 0 }

// bundle is the difference as ovs-ofctl reads it. What was wrong goes before it comes again.
func (d *difference) bundle() string {
	var b strings.Builder
	for _, f := range d.remove {
		fmt.Fprintf(&b, "delete table=%d,%s\n", f.Table, f.Match)
	}
	for i, f := range d.add {
		b.WriteString(f.line(d.adds[i]))
	}
	return b.String()
}

// first is one of the flows, for a message.
func (d *difference) first() Flow { return slices.Concat(d.add, d.remove)[0] }

// diff compares the table with what is wanted. Flows with the same id come and go together.
func (t *table) diff(w *wanted) difference {
	var d difference
	bad := func(k id) bool {
		p := t.ids[k]
		return p.count != w.count[k] || p.doubt == wrong
	}
	for i, k := range w.ids {
		if bad(k) {
			d.add, d.adds = append(d.add, w.flows[i]), append(d.adds, k.cookie)
		}
	}
	d.remove = t.list(bad)
	return d
}

// list returns present flows by their cookies, in order.
func (t *table) list(is func(id) bool) (flows []Flow) {
	for k, p := range t.ids {
		if is(k) {
			flows = append(flows, Flow{Table: k.table, Priority: p.priority, Match: "cookie=" + k.cookie.String() + "/-1"})
		}
	}
	slices.SortFunc(flows, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority), strings.Compare(a.Match, b.Match))
	})
	return flows
}

// doubtful returns those wanted flows which are there, but may do something else; as ovs-ofctl
// reads them.
func (t *table) doubtful(w *wanted) string {
	var b strings.Builder
	for i, k := range w.ids {
		if t.ids[k].doubt == unchecked {
			b.WriteString(w.flows[i].line(k.cookie))
		}
	}
	return b.String()
}

// judge ends the doubt about wanted flows, by the cookies of those that differ.
func (t *table) judge(w *wanted, differ map[cookie]bool) {
	for _, k := range w.ids {
		p := t.ids[k]
		switch {
		case p.doubt != unchecked:
		case differ[k.cookie]:
			p.doubt = wrong
			t.ids[k] = p
		default:
			p.doubt = none
			t.ids[k] = p
		}
	}
}
