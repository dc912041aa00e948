package nftables

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// The sets of addresses that are limited. Each element has a limiter of its own: a rule that finds
// the element goes on only when that is exceeded.
const (
	limitIn  = "limit_in"
	limitOut = "limit_out"
)

// limitDirections tells the sets' directions.
var limitDirections = []struct {
	set       string
	direction dataplane.Direction
}{{limitOut, dataplane.Egress}, {limitIn, dataplane.Ingress}}

// newLimitSet is a set in which each element limits. One that is added without a limit gets that of
// the set.
func newLimitSet(name, comment string) *set {
	s := newSet(name, address, comment)
	s.definition[nftaSetExpr] = limiter(limitValue(dataplane.Bandwidth{Rate: 1_000_000}))
	return s
}

// limits says that values of elements are limits.
func (s *set) limits() bool { return s.name == limitIn || s.name == limitOut }

func limitSets() []*set {
	return []*set{
		newLimitSet(limitIn, "external addresses, and what may go to them"),
		newLimitSet(limitOut, "external addresses, and what may come from them"),
	}
}

// limitChains drop what exceeds a limit, after it was counted, at both ends of a packet's way: before
// its destination is translated, and after its source is.
func limitChains() []*chain {
	return []*chain{
		{"limit_in", hook{"filter", unix.NF_INET_PRE_ROUTING, -290, accept}, []rule{
			// iifname @external ip daddr @limit_in drop
			newRule("too much for the address", iifname(), in(external), daddr(), in(limitIn), verdict(expr.VerdictDrop)),
		}},
		{"limit_out", hook{"filter", unix.NF_INET_POST_ROUTING, 310, accept}, []rule{
			// oifname @external ip saddr @limit_out drop
			newRule("too much from the address", oifname(), in(external), saddr(), in(limitOut), verdict(expr.VerdictDrop)),
		}},
	}
}

// addLimits makes limits part of a table.
func addLimits(t *table, list []dataplane.Limit) {
	if len(list) == 0 {
		return
	}
	t.sets = append(t.sets, limitSets()...)
	t.chains = append(t.chains, limitChains()...)
	fillLimits(t, list)
}

func fillLimits(t *table, list []dataplane.Limit) {
	for _, s := range limitDirections {
		elements := t.set(s.set).elements
		for _, l := range list {
			if b := l.Of(s.direction); !b.IsZero() {
				elements[addressKey(l.Addr)] = element{value: limitValue(b)}
			}
		}
	}
}

// limitValue is a bandwidth as the value of an element: the bytes of a second, and those that may
// exceed them. The kernel's limiter lets pass both at once (nft_limit_init).
func limitValue(b dataplane.Bandwidth) string {
	return packLimit(b.BytesPerSecond(), uint32(b.Bucket()-b.BytesPerSecond()))
}

func packLimit(rate uint64, burst uint32) string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, rate), burst))
}

func unpackLimit(value string) (rate uint64, burst uint32, ok bool) {
	if len(value) != 12 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64([]byte(value)), binary.BigEndian.Uint32([]byte(value[8:])), true
}

// limiter is the kernel's expression for the value of an element.
func limiter(value string) string {
	rate, burst, _ := unpackLimit(value)
	return encode(&expr.Limit{Type: expr.LimitTypePktBytes, Rate: rate, Over: true, Unit: expr.LimitTimeSecond, Burst: burst})
}

// decodeLimit returns the value of an element that limits. It is empty for one with another
// expression, and [oddValue] for a limit that is none of ours.
func decodeLimit(wire []byte) string {
	e, err := decodeExpr(wire)
	if err != nil {
		return ""
	}
	l, ok := e.(*expr.Limit)
	switch {
	case !ok:
		return ""
	case l.Type != expr.LimitTypePktBytes || l.Unit != expr.LimitTimeSecond || !l.Over:
		return oddValue
	}
	return packLimit(l.Rate, l.Burst)
}

// limitText is the value of an element for people.
func limitText(value string) string {
	rate, burst, ok := unpackLimit(value)
	if !ok {
		return keyText(value)
	}
	const bytesPerKbit = 1000 / 8
	b := dataplane.Bandwidth{Rate: uint32(rate / bytesPerKbit), Burst: uint32((rate + uint64(burst)) / bytesPerKbit)}
	return b.String()
}

// limitSteps tells what changes in the sets of limits.
func (d difference) limitSteps() []dataplane.Step {
	var steps []dataplane.Step
	for _, dir := range limitDirections {
		i := slices.IndexFunc(d.sets, func(s setDiff) bool { return cmp.Or(s.want, s.have).name == dir.set })
		if i < 0 {
			continue
		}
		s := d.sets[i]
		if s.want == nil { // the set goes with the last limit
			s.want = &set{}
			s.remove = slices.Collect(maps.Keys(s.have.elements))
		}
		for _, key := range s.keys() {
			a, _ := netip.AddrFromSlice([]byte(key))
			step := dataplane.Step{Op: s.op(key), Kind: dataplane.KindLimit, Object: dataplane.LimitObject(a, dir.direction)}
			want, have := limitText(s.want.elements[key].value), limitText(s.has(key))
			switch step.Op {
			case dataplane.Add:
				step.Detail = want
			case dataplane.Remove:
				step.Detail = have
			default:
				step.Detail = want + ", was " + have
			}
			steps = append(steps, step)
		}
	}
	return steps
}

// limitDelta adds to both sides of a difference what changes in limits. It is not ok if there were
// none before, or are none after: then sets and chains come or go.
func limitDelta(have, want *table, all []dataplane.Limit, removed, added []dataplane.Limit) (ok bool) {
	before := len(all) - len(added) + len(removed)
	if (before == 0) != (len(all) == 0) {
		return false
	}
	if before == 0 {
		return true
	}
	have.sets, want.sets = append(have.sets, limitSets()...), append(want.sets, limitSets()...)
	fillLimits(have, removed)
	fillLimits(want, added)
	return true
}
