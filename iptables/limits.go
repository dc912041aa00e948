package iptables

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// The chains of limits, which are there while any address is limited. What leaves does not have its
// new source yet where the mangle table sees it, but conntrack knows it.
const (
	limitOut     = prefix + "limit" // what leaves by the gateway
	byLimited    = prefix + "lin"   // by destination: addresses that are limited
	byLimitedSrc = prefix + "lor"   // by the source that a packet gets
	byLimitedAns = prefix + "lre"   // by the address that a packet is an answer of
)

// limitTrees find the limiter of an address. Their members have its options in the place of an ID.
func limitTrees() []tree {
	addr := func(f dataplane.FloatingIP) netip.Addr { return f.Addr }
	act := func(f dataplane.FloatingIP) string { return f.ID }
	in := func(m members) []dataplane.FloatingIP { return m.limited[dataplane.Ingress] }
	out := func(m members) []dataplane.FloatingIP { return m.limited[dataplane.Egress] }
	return []tree{
		{mangle, byLimited, "-d", in, addr, act},
		{mangle, byLimitedSrc, repliesTo, out, addr, act},
		{mangle, byLimitedAns, askedFor, out, addr, act},
	}
}

// The options that compare addresses which conntrack knows.
const (
	repliesTo = "-m conntrack --ctrepldst"
	askedFor  = "-m conntrack --ctorigdst"
)

// limitRoots tells the directions of trees.
var limitRoots = map[string]dataplane.Direction{byLimited: dataplane.Ingress, byLimitedSrc: dataplane.Egress, byLimitedAns: dataplane.Egress}

// addLimits leads to the trees, after everything else has been done, so that counters count what is
// dropped, too.
func (i instance) addLimits(rs ruleset) {
	if !i.limited || i.gateway == "" {
		return
	}
	rs.add(mangle, "PREROUTING", "-i "+i.gateway+" -j "+byLimited)
	rs.add(mangle, "POSTROUTING", "-o "+i.gateway+" -j "+limitOut)
	rs[mangle].chains[limitOut] = specs(
		"-m conntrack --ctdir ORIGINAL -g "+byLimitedSrc,
		"-m conntrack --ctdir REPLY -g "+byLimitedAns)
}

// limited lists limits as members of trees.
func limited(limits []dataplane.Limit) map[dataplane.Direction][]dataplane.FloatingIP {
	list := map[dataplane.Direction][]dataplane.FloatingIP{}
	for _, l := range limits {
		for _, d := range []dataplane.Direction{dataplane.Egress, dataplane.Ingress} {
			if b := l.Of(d); !b.IsZero() {
				list[d] = append(list[d], dataplane.FloatingIP{Addr: l.Addr, ID: limitAction(l.Addr, d, b)})
			}
		}
	}
	return list
}

// limitDelta returns the limits before and after a difference, and those that differ. It is not ok if
// there were none, or are none any more: then chains come or go.
func limitDelta(all, removed, added []dataplane.Limit) (before, after, changed map[dataplane.Direction][]dataplane.FloatingIP, ok bool) {
	n := len(all) - len(added) + len(removed)
	if (n == 0) != (len(all) == 0) {
		return nil, nil, nil, false
	}
	if len(removed)+len(added) == 0 {
		return nil, nil, nil, true
	}
	gone, come := limited(removed), limited(added)
	before, after, changed = map[dataplane.Direction][]dataplane.FloatingIP{}, limited(all), map[dataplane.Direction][]dataplane.FloatingIP{}
	for _, d := range []dataplane.Direction{dataplane.Egress, dataplane.Ingress} {
		before[d], changed[d] = back(after[d], gone[d], come[d]), slices.Concat(gone[d], come[d])
	}
	return before, after, changed, true
}

// limitAction drops what exceeds a bandwidth. The kernel keeps the state of a limiter under its name,
// whichever rules name it, and does not look at what else they say of it while there is one. So the
// name has everything that makes a difference.
func limitAction(a netip.Addr, d dataplane.Direction, b dataplane.Bandwidth) string {
	rate, burst := hashlimit(b.BytesPerSecond(), b.Bucket())
	return fmt.Sprintf("-m hashlimit --hashlimit-above %s%s --hashlimit-name %s --hashlimit-htable-size 1 --hashlimit-htable-gcinterval %d -j DROP",
		rate, burst, limitName(a, d, b), limiterCleanup)
}

// limiterCleanup is how often, in milliseconds, the kernel looks for limiters that are at rest.
const limiterCleanup = 60_000

func limitName(a netip.Addr, d dataplane.Direction, b dataplane.Bandwidth) string {
	return fmt.Sprintf("%s%s-%s-%d-%d", prefix, d, a, b.Rate, b.Bucket())
}

// parseLimitName is the inverse of limitName.
func parseLimitName(name string) (a netip.Addr, d dataplane.Direction, b dataplane.Bandwidth, ok bool) {
	rest, ours := strings.CutPrefix(name, prefix)
	f := strings.Split(rest, "-")
	if !ours || len(f) != 4 {
		return a, d, b, false
	}
	a, err := netip.ParseAddr(f[1])
	rate, err2 := strconv.ParseUint(f[2], 10, 32)
	bucket, err3 := strconv.ParseUint(f[3], 10, 64)
	d, b = dataplane.Direction(f[0]), dataplane.Bandwidth{Rate: uint32(rate), Burst: uint32(bucket / (1000 / 8))}
	return a, d, b, err == nil && err2 == nil && err3 == nil && limitName(a, d, b) == name
}

// What hashlimit says of bytes (libxt_hashlimit): it counts in 16 of them, and divides a number of
// 32 bits by how many of those a second has.
var byteUnits = []struct {
	size uint64
	name string
}{{1 << 20, "m"}, {1 << 10, "k"}, {1, ""}}

const byteShift = 4

func bytesToCost(bytes uint64) uint64 { return math.MaxUint32 / (bytes>>byteShift + 1) }

func costToBytes(cost uint64) uint64 { return (math.MaxUint32/cost - 1) << byteShift }

// hashlimit returns a rate and a bucket as iptables-save prints them. A bucket is that of a second,
// and refills of it, which are given once, and again after a minute's rest.
func hashlimit(rate, bucket uint64) (above, burst string) {
	cost := bytesToCost(rate)
	r := costToBytes(cost)
	for _, u := range byteUnits {
		if r >= u.size && bytesToCost(r&^(u.size-1)) == cost {
			above = fmt.Sprintf("%d%sb/s", r/u.size, u.name)
			break
		}
	}
	refills := (bucket+r-1)/r - 1
	if bucket <= rate {
		refills = 0
	}
	for ; refills > 0; refills++ {
		i := slices.IndexFunc(byteUnits, func(u struct {
			size uint64
			name string
		}) bool {
			return r*refills >= u.size
		})
		u := byteUnits[i]
		if n := r * refills / u.size; n*u.size >= r { // iptables refuses less
			return above, fmt.Sprintf(" --hashlimit-burst %d%sb", n, u.name)
		}
	}
	return above, ""
}

// parseLimit says which limit a rule at the end of one of the trees enforces.
func parseLimit(chain string, r rule) (a netip.Addr, b dataplane.Bandwidth, ok bool) {
	p, inTree := grown(chain)
	d, ofLimits := limitRoots[rootOf(chain)]
	f := strings.Fields(r.spec)
	i := slices.Index(f, "--hashlimit-name")
	if !inTree || !ofLimits || p.Bits() != leafBits || i < 0 || i+1 == len(f) {
		return a, b, false
	}
	a, of, b, ok := parseLimitName(f[i+1])
	if !ok || of != d || !p.Contains(a) {
		return a, b, false
	}
	for _, t := range limitTrees() {
		if t.root == rootOf(chain) {
			ok = r.spec == t.end(a)+limitAction(a, d, b)
		}
	}
	return a, b, ok
}

// limitChange is what was and what is the bandwidth of an address in one direction; empty if it is
// not limited.
type limitChange struct{ was, now string }

type limitKey struct {
	addr      netip.Addr
	direction dataplane.Direction
}

// limits gathers what changes at the ends of the trees of limits.
func (d difference) limits() map[limitKey]limitChange {
	found := map[limitKey]limitChange{}
	for _, c := range d.chains {
		if h := d.have[c.table]; c.table != mangle || h != nil && h.opaque {
			continue
		}
		note := func(r rule, gone bool) {
			a, b, ok := parseLimit(c.name, r)
			if !ok {
				return
			}
			key := limitKey{a, limitRoots[rootOf(c.name)]}
			change := found[key]
			if gone {
				change.was = b.String()
			} else {
				change.now = b.String()
			}
			found[key] = change
		}
		gone, come := c.changed()
		if ours(c.name) && !c.wanted {
			gone = c.gone(d.have)
		}
		for _, r := range gone {
			note(r, true)
		}
		for _, r := range come {
			note(r, false)
		}
	}
	return found
}

// limits says that the rules of a chain are told by steps of limits.
func limits(c chainDiff, found map[limitKey]limitChange) bool {
	p, ok := grown(c.name)
	d, ofLimits := limitRoots[rootOf(c.name)]
	if !ok || !ofLimits {
		return false
	}
	for key := range found {
		if key.direction == d && p.Contains(key.addr) {
			return true
		}
	}
	return false
}

func limitSteps(found map[limitKey]limitChange) []dataplane.Step {
	var keys []limitKey
	for key := range found {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b limitKey) int {
		return cmp.Or(cmp.Compare(a.direction, b.direction), a.addr.Compare(b.addr))
	})
	var steps []dataplane.Step
	for _, key := range keys {
		change := found[key]
		step := dataplane.Step{Op: dataplane.Change, Kind: dataplane.KindLimit, Object: dataplane.LimitObject(key.addr, key.direction)}
		switch {
		case change.was == "":
			step.Op, step.Detail = dataplane.Add, change.now
		case change.now == "":
			step.Op, step.Detail = dataplane.Remove, change.was
		case change.was == change.now:
			step.Detail = "in one of two rules only"
		default:
			step.Detail = change.now + ", was " + change.was
		}
		steps = append(steps, step)
	}
	return steps
}
