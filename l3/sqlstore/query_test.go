package sqlstore_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
)

// subject is a kind of resource whose queries are compared with a plain evaluation.
type subject[R any] struct {
	table func(l3.Tx) l3.Table[R]
	draw  func(*rapid.T, l3.Meta) R
	meta  func(R) l3.Meta
	// single are attributes with one value: a string, a bool or an int; nil is none. Strings have
	// no nil.
	single map[string]func(R) any
	lists  map[string]func(R) []string
}

var (
	words     = rapid.SampledFrom([]string{"", "a", "A", "ab", "a%", "_", "é", "É", "z", "日", "🛰", `"`, `\`, "'", "a\nb", "$1", "true", "1"})
	addresses = rapid.SampledFrom([]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("2001:db8::1")})
	prefixes  = rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.0/8")})
	numbers   = rapid.SampledFrom([]int{-1, 0, 1, 2, 10, 65535})
)

// some is a list of up to three, sometimes nil.
func some[E any](t *rapid.T, label string, of *rapid.Generator[E]) []E {
	list := rapid.SliceOfN(of, 0, 3).Draw(t, label)
	if len(list) == 0 && rapid.Bool().Draw(t, label+" nil") {
		return nil
	}
	return list
}

// maybe is nil sometimes.
func maybe[E any](t *rapid.T, label string, of *rapid.Generator[E]) *E {
	return rapid.Ptr(of, true).Draw(t, label)
}

func value[E any](p *E) any {
	if p == nil {
		return nil
	}
	return *p
}

func each[E any](list []E, text func(E) string) (texts []string) {
	for _, e := range list {
		texts = append(texts, text(e))
	}
	return texts
}

var portSubject = subject[l3.Port]{
	table: func(tx l3.Tx) l3.Table[l3.Port] { return tx.Ports() },
	meta:  func(p l3.Port) l3.Meta { return p.Meta },
	draw: func(t *rapid.T, m l3.Meta) l3.Port {
		p := l3.Port{Meta: m, NetworkID: m.ID, AdminStateUp: rapid.Bool().Draw(t, "up"), DeviceID: words.Draw(t, "device")}
		p.Tags = some(t, "tags", words.Filter(func(s string) bool { return s != "" }))
		p.Binding.HostID = words.Draw(t, "host")
		for _, a := range some(t, "addresses", addresses) {
			p.FixedIPs = append(p.FixedIPs, l3.FixedIP{SubnetID: words.Draw(t, "subnet"), IPAddress: a})
		}
		return p
	},
	single: map[string]func(l3.Port) any{
		"id":                      func(p l3.Port) any { return p.ID },
		"name":                    func(p l3.Port) any { return p.Name },
		"device_id":               func(p l3.Port) any { return p.DeviceID },
		"admin_state_up":          func(p l3.Port) any { return p.AdminStateUp },
		"revision_number":         func(p l3.Port) any { return p.Revision },
		"binding.binding:host_id": func(p l3.Port) any { return p.Binding.HostID },
	},
	lists: map[string]func(l3.Port) []string{
		"tags":                func(p l3.Port) []string { return p.Tags },
		"fixed_ips.subnet_id": func(p l3.Port) []string { return each(p.FixedIPs, func(f l3.FixedIP) string { return f.SubnetID }) },
		"fixed_ips.ip_address": func(p l3.Port) []string {
			return each(p.FixedIPs, func(f l3.FixedIP) string { return f.IPAddress.String() })
		},
	},
}

var routerSubject = subject[l3.Router]{
	table: func(tx l3.Tx) l3.Table[l3.Router] { return tx.Routers() },
	meta:  func(r l3.Router) l3.Meta { return r.Meta },
	draw: func(t *rapid.T, m l3.Meta) l3.Router {
		r := l3.Router{Meta: m, HA: rapid.Bool().Draw(t, "ha")}
		if rapid.Bool().Draw(t, "gateway") {
			r.Gateway = &l3.GatewayInfo{NetworkID: words.Draw(t, "network"), EnableSNAT: rapid.Bool().Draw(t, "snat")}
			for _, a := range some(t, "addresses", addresses) {
				r.Gateway.FixedIPs = append(r.Gateway.FixedIPs, l3.FixedIP{IPAddress: a})
			}
		}
		return r
	},
	single: map[string]func(l3.Router) any{
		"name": func(r l3.Router) any { return r.Name },
		"ha":   func(r l3.Router) any { return r.HA },
		"external_gateway_info.network_id": func(r l3.Router) any {
			if r.Gateway == nil {
				return ""
			}
			return r.Gateway.NetworkID
		},
		"external_gateway_info.enable_snat": func(r l3.Router) any {
			if r.Gateway == nil {
				return nil
			}
			return r.Gateway.EnableSNAT
		},
	},
	lists: map[string]func(l3.Router) []string{
		"external_gateway_info.external_fixed_ips.ip_address": func(r l3.Router) []string {
			if r.Gateway == nil {
				return nil
			}
			return each(r.Gateway.FixedIPs, func(f l3.FixedIP) string { return f.IPAddress.String() })
		},
	},
}

var ruleSubject = subject[l3.SecurityGroupRule]{
	table: func(tx l3.Tx) l3.Table[l3.SecurityGroupRule] { return tx.SecurityGroupRules() },
	meta:  func(r l3.SecurityGroupRule) l3.Meta { return r.Meta },
	draw: func(t *rapid.T, m l3.Meta) l3.SecurityGroupRule {
		return l3.SecurityGroupRule{Meta: m, Protocol: words.Draw(t, "protocol"), PortRangeMin: maybe(t, "min", numbers),
			PortRangeMax: maybe(t, "max", numbers), RemoteIPPrefix: prefixes.Draw(t, "prefix")}
	},
	single: map[string]func(l3.SecurityGroupRule) any{
		"protocol":       func(r l3.SecurityGroupRule) any { return r.Protocol },
		"port_range_min": func(r l3.SecurityGroupRule) any { return value(r.PortRangeMin) },
		"port_range_max": func(r l3.SecurityGroupRule) any { return value(r.PortRangeMax) },
		"remote_ip_prefix": func(r l3.SecurityGroupRule) any {
			if !r.RemoteIPPrefix.IsValid() {
				return ""
			}
			return r.RemoteIPPrefix.String()
		},
	},
}

// TestQueriesAsPlainGo compares what the databases find with what a few lines of Go find.
func TestQueriesAsPlainGo(t *testing.T) {
	l3test.Stores(t, func(t *testing.T, s l3.Store) {
		rapid.Check(t, func(t *rapid.T) {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				portSubject.compare(t, s)
			case 1:
				routerSubject.compare(t, s)
			case 2:
				ruleSubject.compare(t, s)
			}
		})
	})
}

// compare stores a few resources in a project of their own and asks for them in a few ways.
func (c subject[R]) compare(t *rapid.T, s l3.Store) {
	ctx := context.Background()
	project := uuid.NewString()
	all := make([]R, rapid.IntRange(0, 8).Draw(t, "resources"))
	for i := range all {
		all[i] = c.draw(t, l3.Meta{ID: uuid.NewString(), ProjectID: project, Name: words.Draw(t, "name"), Revision: numbers.Draw(t, "revision")})
	}
	require.NoError(t, s.Update(ctx, func(tx l3.Tx) error { return c.table(tx).Insert(ctx, all...) }))
	require.NoError(t, s.View(ctx, func(tx l3.Tx) error {
		for range 8 {
			q := c.drawQuery(t, all)
			want, absent := c.evaluate(all, q)
			q.Filters = append(q.Filters, l3.Filter{Field: "project_id", Values: []any{project}})
			found, err := c.table(tx).List(ctx, q)
			if absent {
				require.ErrorIs(t, err, l3.ErrAbsent, "%+v", q)
				continue
			}
			require.NoError(t, err, "%+v", q)
			require.Equal(t, c.ids(want), c.ids(found), "%+v", q)
			if q.Limit == 0 && q.Marker == "" && q.Scope == nil {
				n, err := c.table(tx).Count(ctx, q.Filters...)
				require.NoError(t, err)
				require.Equal(t, len(want), n, "%+v", q)
			}
		}
		return nil
	}))
}

func (c subject[R]) ids(list []R) (ids []string) {
	for _, r := range list {
		ids = append(ids, c.meta(r).ID+" "+c.meta(r).Name)
	}
	return ids
}

func (c subject[R]) drawQuery(t *rapid.T, all []R) l3.Query {
	q := l3.Query{Limit: rapid.IntRange(0, 4).Draw(t, "limit"), Reverse: rapid.Bool().Draw(t, "reverse")}
	for range rapid.IntRange(0, 2).Draw(t, "filters") {
		q.Filters = append(q.Filters, c.drawFilter(t))
	}
	for range rapid.IntRange(0, 2).Draw(t, "scope") {
		q.Scope = append(q.Scope, c.drawFilter(t))
	}
	for range rapid.IntRange(0, 3).Draw(t, "keys") {
		field := rapid.SampledFrom(slices.Sorted(maps.Keys(c.single))).Draw(t, "key")
		q.Sort = append(q.Sort, l3.Sort{Field: field, Desc: rapid.Bool().Draw(t, "desc")})
	}
	if len(all) > 0 && rapid.Bool().Draw(t, "marked") {
		q.Marker = c.meta(rapid.SampledFrom(all).Draw(t, "marker")).ID
	}
	return q
}

func (c subject[R]) drawFilter(t *rapid.T) l3.Filter {
	fields := append(slices.Sorted(maps.Keys(c.single)), slices.Sorted(maps.Keys(c.lists))...)
	f := l3.Filter{Field: rapid.SampledFrom(fields).Draw(t, "field"), Op: l3.Op(rapid.IntRange(0, 7).Draw(t, "op"))}
	if f.Op == l3.NotBefore || f.Op == l3.Before {
		if c.single[f.Field] != nil && c.kind(f.Field) == "string" {
			f.Values = []any{rapid.SampledFrom([]string{"1", "a", "B", "b", "é", "~"}).Draw(t, "bound")}
			return f
		}
		f.Op = l3.In
	}
	for range rapid.IntRange(0, 3).Draw(t, "values") {
		f.Values = append(f.Values, c.drawValue(t, f))
	}
	if (f.Op == l3.Contains || f.Op == l3.NotContains) && c.kind(f.Field) != "string" {
		f.Op = l3.In
	}
	return f
}

// kind is what an attribute's values are; the attributes of which some are missing are of the kind
// that their names say.
func (c subject[R]) kind(field string) string {
	switch {
	case c.lists[field] != nil:
		return "string"
	case strings.HasPrefix(field, "port_range") || field == "revision_number":
		return "int"
	case strings.HasSuffix(field, "snat") || field == "ha" || field == "admin_state_up":
		return "bool"
	}
	return "string"
}

func (c subject[R]) drawValue(t *rapid.T, f l3.Filter) any {
	kind := c.kind(f.Field)
	if kind == "string" && strings.Contains(f.Field, "address") {
		kind = "address"
	}
	switch kind {
	case "address":
		if f.Op == l3.Contains || f.Op == l3.NotContains {
			return rapid.SampledFrom([]string{".", "10.0.0.1", "db8", "DB8", ""}).Draw(t, "part")
		}
		return addresses.Draw(t, "address").String()
	case "int":
		if rapid.IntRange(0, 3).Draw(t, "none") == 0 {
			return ""
		}
		return numbers.Draw(t, "number")
	case "bool":
		if rapid.IntRange(0, 3).Draw(t, "none") == 0 {
			return ""
		}
		return rapid.Bool().Draw(t, "bool")
	}
	if strings.HasSuffix(f.Field, "prefix") && rapid.Bool().Draw(t, "as prefix") {
		return "10.0.0.0/8"
	}
	return words.Draw(t, "word")
}

// evaluate answers a query; absent is that of a marker that is not in the scope.
func (c subject[R]) evaluate(all []R, q l3.Query) (found []R, absent bool) {
	order := func(a, b R) int {
		desc := false
		for _, k := range q.Sort {
			desc = k.Desc
			if n := compareValues(c.single[k.Field](a), c.single[k.Field](b)); n != 0 {
				if desc {
					return -n
				}
				return n
			}
		}
		n := strings.Compare(c.meta(a).ID, c.meta(b).ID)
		if desc {
			n = -n
		}
		return n
	}
	inScope := func(r R) bool {
		return len(q.Scope) == 0 || slices.ContainsFunc(q.Scope, func(f l3.Filter) bool { return c.holds(r, f) })
	}
	sorted := slices.SortedFunc(slices.Values(all), order)
	if i := slices.IndexFunc(sorted, func(r R) bool { return c.meta(r).ID == q.Marker }); i >= 0 {
		if !inScope(sorted[i]) {
			return nil, true
		}
		if q.Reverse {
			sorted = sorted[:i]
		} else {
			sorted = sorted[i+1:]
		}
	}
	for _, r := range sorted {
		fails := func(f l3.Filter) bool { return !c.holds(r, f) }
		if !slices.ContainsFunc(q.Filters, fails) && inScope(r) {
			found = append(found, r)
		}
	}
	if q.Limit > 0 && len(found) > q.Limit {
		if q.Reverse {
			return found[len(found)-q.Limit:], false
		}
		return found[:q.Limit], false
	}
	return found, false
}

func (c subject[R]) holds(r R, f l3.Filter) bool {
	var have []any
	if list := c.lists[f.Field]; list != nil {
		for _, s := range list(r) {
			have = append(have, s)
		}
	} else if v := c.single[f.Field](r); v != nil {
		have = []any{v}
	} else {
		have = []any{""}
	}
	is := func(want any) bool { return slices.Contains(have, want) }
	switch f.Op {
	case l3.In:
		return slices.ContainsFunc(f.Values, is)
	case l3.NotIn:
		return !slices.ContainsFunc(f.Values, is)
	case l3.All, l3.NotAll:
		missing := slices.ContainsFunc(f.Values, func(v any) bool { return !is(v) })
		return missing == (f.Op == l3.NotAll)
	case l3.NotBefore:
		return have[0].(string) >= f.Values[0].(string)
	case l3.Before:
		return have[0].(string) < f.Values[0].(string)
	case l3.Contains, l3.NotContains:
		contains := slices.ContainsFunc(f.Values, func(v any) bool {
			return slices.ContainsFunc(have, func(h any) bool { return strings.Contains(h.(string), v.(string)) })
		})
		return contains == (f.Op == l3.Contains)
	}
	panic(fmt.Sprint("no such comparison: ", f.Op))
}

func compareValues(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(rank(a), rank(b))
	}
	switch a := a.(type) {
	case string:
		return strings.Compare(a, b.(string))
	case int:
		return cmp.Compare(a, b.(int))
	case bool:
		return cmp.Compare(truth(a), truth(b.(bool)))
	}
	panic(fmt.Sprintf("%T", a))
}

func rank(v any) int { return truth(v != nil) }

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
