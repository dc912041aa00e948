package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/dump"
)

// Bits of the packet mark by which a [Firewall] chooses a packet's way at an edge of a distributed
// router. Each is the mask, too.
const (
	// MarkFloatingIP marks what is of a floating IP here: what came by the gateway, and what its
	// fixed address sends.
	MarkFloatingIP = 0x20000
	// MarkToCentre marks what the centre is to translate: what [dataplane.Transit.Elsewhere] sends
	// to a floating IP of an edge.
	MarkToCentre = 0x40000
)

// Routing tables. Those for marked packets have the number of the mark, which nobody else is likely
// to use. What an edge does not find in main it looks for in default, which every kernel's rules
// name last.
const (
	tableMain     = unix.RT_TABLE_MAIN
	tableRest     = unix.RT_TABLE_DEFAULT
	tableFloating = MarkFloatingIP
	tableToCentre = MarkToCentre
)

// ownTable says whether routes in a table may be the router's.
func ownTable(table int) bool {
	return table == tableMain || table == tableRest || table == tableFloating || table == tableToCentre
}

// rule is a rule of policy routing for IPv4 (ip-rule(8)): packets that have the mark look for their
// way in the table. Zero marks all packets.
type rule struct{ pref, mark, table int }

const (
	prefLocal   = 0 // of the rules that every kernel begins with
	prefMain    = 32766
	prefDefault = 32767

	prefToCentre  = 1 // before local: what is marked may be for an address of the edge's own
	prefLocalEdge = 2
)

// standardRules are those of a new namespace. There are no others where the router is not an edge.
func standardRules() []rule {
	return []rule{{prefLocal, 0, unix.RT_TABLE_LOCAL}, {prefMain, 0, tableMain}, {prefDefault, 0, tableRest}}
}

// edgeRules are in the order of the kernel's list. The rule of floating IPs follows main's with the
// same preference, so that main's routes, which are inside, precede the external network.
func edgeRules() []rule {
	return []rule{
		{prefToCentre, MarkToCentre, tableToCentre},
		{prefLocalEdge, 0, unix.RT_TABLE_LOCAL},
		{prefMain, 0, tableMain},
		{prefMain, MarkFloatingIP, tableFloating},
		{prefDefault, 0, tableRest},
	}
}

func wantRules(r dataplane.Router) []rule {
	if isEdge(r) {
		return edgeRules()
	}
	return standardRules()
}

func isEdge(r dataplane.Router) bool { return r.Transit != nil && len(r.Transit.Centre) > 0 }

// ownRule says whether a rule is one that some router may need. Others stay.
func ownRule(r rule) bool {
	return slices.Contains(edgeRules(), r) || slices.Contains(standardRules(), r)
}

// observeRules reads the rules that are the router's, in the kernel's order. A kernel without
// policy routing has none.
func observeRules(h *netlink.Handle) (own []rule, err error) {
	all, err := dump.Complete(func() ([]netlink.Rule, error) { return h.RuleList(netlink.FAMILY_V4) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, opError("list routing rules", "", err)
	}
	for _, k := range all {
		if r, ok := plainRule(k); ok && ownRule(r) && !slices.Contains(own, r) {
			own = append(own, r)
		}
	}
	return own, nil
}

// plainRule translates a rule that looks at nothing but the mark.
func plainRule(k netlink.Rule) (rule, bool) {
	r := rule{k.Priority, int(k.Mark), k.Table}
	plain := k.Src == nil && k.Dst == nil && k.Tos == 0 && k.TunID == 0 && k.Goto < 0 && k.IifName == "" && k.OifName == "" &&
		k.SuppressIfgroup < 0 && k.SuppressPrefixlen < 0 && !k.Invert && k.Dport == nil && k.Sport == nil && k.IPProto == 0 &&
		k.UIDRange == nil && (k.Mask == nil || *k.Mask == k.Mark)
	return r, plain
}

// steer brings the rules of policy routing to what the router needs. They come when the tables that
// they name are filled.
func (l *long) steer(context.Context) error {
	have, want := l.have.rules, l.want.rules
	if l.fresh {
		have = standardRules()
	}
	if slices.Equal(have, want) || len(have) == 0 && !isEdge(l.router) {
		return nil
	}
	a := action{
		do:   func(ctx context.Context) error { return l.writeRules(ctx, have, want) },
		undo: func(ctx context.Context) error { return l.writeRules(ctx, want, have) },
	}
	step := func(op dataplane.Op, r rule, detail string) {
		a.steps = append(a.steps, dataplane.Step{Op: op, Kind: dataplane.KindPolicyRule, Object: r.String(), Detail: detail})
	}
	for _, r := range want {
		if !slices.Contains(have, r) {
			step(dataplane.Add, r, "")
		}
	}
	for _, r := range have {
		if !slices.Contains(want, r) {
			step(dataplane.Remove, r, "")
		}
	}
	for _, r := range early(have, want) {
		step(dataplane.Change, r, "after main, was before")
	}
	l.add(a)
	return nil
}

// early lists the rules of to that were there before one of the same preference that they are to
// follow. The kernel adds a rule after those.
func early(from, to []rule) (list []rule) {
	for i, r := range to {
		at := slices.Index(from, r)
		if i > 0 && to[i-1].pref == r.pref && at >= 0 && !slices.Contains(from[:at], to[i-1]) {
			list = append(list, r)
		}
	}
	return list
}

// writeRules leads from some rules to others. It adds before it removes, so that packets are never
// without the rule for local addresses. Rules of from may be there or not.
func (s *site) writeRules(ctx context.Context, from, to []rule) error {
	var requests []request
	var about []rule
	do := func(make func(rule) request, r rule) {
		requests, about = append(requests, make(r)), append(about, r)
	}
	for _, r := range to {
		if !slices.Contains(from, r) {
			do(addRule, r)
		}
	}
	for _, r := range from {
		if !slices.Contains(to, r) {
			do(deleteRule, r)
		}
	}
	for _, r := range early(from, to) {
		do(deleteRule, r)
		do(addRule, r)
	}
	failed, err := s.write.send(ctx, requests...)
	if err != nil {
		return opError("change routing rule", about[max(failed, 0)].String(), err)
	}
	return nil
}

func (r rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pref %d", r.pref)
	if r.mark != 0 {
		fmt.Fprintf(&b, " fwmark %#x/%#x", r.mark, r.mark)
	}
	b.WriteString(" lookup " + tableName(r.table))
	return b.String()
}

// tableName is the name that iproute2 has for a table.
func tableName(table int) string {
	switch table {
	case unix.RT_TABLE_LOCAL:
		return "local"
	case tableMain:
		return "main"
	case tableRest:
		return "default"
	}
	return fmt.Sprint(table)
}
