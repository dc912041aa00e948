package openflow

import (
	"fmt"
	"hash/fnv"
	"io"

	"github.com/l3kit/l3kit/dataplane"
)

// Flow is one flow of a bridge, in the words of ovs-fields(7) and ovs-actions(7).
type Flow struct {
	Table    uint8
	Priority uint16
	Match    string // fields with commas between them; empty: any packet
	Actions  string // empty in a flow that is only known by its cookie, which is then its Match
}

// String is the flow as ovs-ofctl(8) takes it, without a cookie.
func (f Flow) String() string {
	s := fmt.Sprintf("table=%d,priority=%d", f.Table, f.Priority)
	if f.Match != "" {
		s += "," + f.Match
	}
	if f.Actions != "" {
		s += ",actions=" + f.Actions
	}
	return s
}

// line is the flow as ovs-ofctl reads it from a file.
func (f Flow) line(c cookie) string { return "cookie=" + c.String() + "," + f.String() + "\n" }

// cookie is what marks a flow.
type cookie uint64

const (
	ownMark     cookie = 0x6c33 << 48     // "l3"; then come 16 bits for the owner
	learnedMark cookie = 0x6c726e64 << 32 // "lrnd"
	markMask    cookie = 0xffffffff << 32
)

// markOf is the upper half of the cookies of an owner's flows. Two owners share one, once in 65,536
// pairs.
func markOf(owner string) cookie { return ownMark | hash(owner)&0xffff<<32 }

func (c cookie) mark() cookie { return c & markMask }

func (c cookie) String() string { return fmt.Sprintf("0x%016x", uint64(c)) }

// LearnedCookie is the cookie that a learn action has to give to the flows it makes, with the flag
// delete_learned. Actions with different keys must not make flows in common: when the last learn
// action with one cookie goes, the switch removes all that it taught.
func LearnedCookie(key string) string { return (learnedMark | hash(key)).String() }

func hash(text string) cookie {
	h := fnv.New64a()
	io.WriteString(h, text) //nolint:errcheck // a hash never fails
	sum := h.Sum64()
	return cookie(uint32(sum>>32) ^ uint32(sum))
}

// id is what a present flow is compared by. Several flows may share one, once in four billion
// times.
type id struct {
	table  uint8
	cookie cookie
}

// wanted is a set of flows that a bridge shall have.
type wanted struct {
	flows []Flow
	ids   []id // of each
	count map[id]int
}

// want prepares a set for comparing, with the mark that the flows are to have. Two flows for one
// place in a table are an error, for only the latter would be there.
func want(mark cookie, flows []Flow) (*wanted, error) {
	type place struct {
		table    uint8
		priority uint16
		match    string
	}
	w := &wanted{flows: flows, ids: make([]id, len(flows)), count: make(map[id]int, len(flows))}
	places := make(map[place]bool, len(flows))
	for i, f := range flows {
		p := place{f.Table, f.Priority, f.Match}
		if places[p] {
			return nil, fmt.Errorf("%w: two flows for one match: %s", dataplane.ErrInvalid, f)
		}
		places[p] = true
		w.ids[i] = id{f.Table, mark | hash(f.String())}
		w.count[w.ids[i]]++
	}
	return w, nil
}
