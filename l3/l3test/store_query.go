package l3test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func filters(t *testing.T, s l3.Store) {
	ctx := t.Context()
	port := func(name string, change func(*l3.Port)) l3.Port {
		p := l3.Port{Meta: meta("p", name), MAC: [6]byte{2, 0, 0, 0, 0, byte(len(name)) + name[0]}, FixedIPs: []l3.FixedIP{}}
		change(&p)
		return p
	}
	two := 2
	update(t, s, func(tx l3.Tx) error {
		require.NoError(t, tx.Ports().Insert(ctx,
			port("a", func(p *l3.Port) { p.Tags, p.AdminStateUp, p.DeviceID = []string{"red", "blue"}, true, "d" }),
			port("B", func(p *l3.Port) {
				p.Tags = []string{"red"}
				p.FixedIPs = []l3.FixedIP{
					{SubnetID: "s", IPAddress: netip.MustParseAddr("10.0.0.1")}, {SubnetID: "t", IPAddress: netip.MustParseAddr("10.0.1.1")},
				}
			}),
			port("ab%_", func(p *l3.Port) { p.Tags, p.Binding.HostID = nil, "h" }),
		))
		gateway := &l3.GatewayInfo{NetworkID: "x", FixedIPs: []l3.FixedIP{{IPAddress: netip.MustParseAddr("192.0.2.1")}}}
		require.NoError(t, tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "inside")}, l3.Router{Meta: meta("p", "outside"), Gateway: gateway}))
		return tx.SecurityGroupRules().Insert(ctx,
			l3.SecurityGroupRule{Meta: meta("none", "")}, l3.SecurityGroupRule{Meta: meta("two", ""), PortRangeMin: &two})
	})
	f := func(field string, op l3.Op, values ...any) l3.Filter {
		return l3.Filter{Field: field, Op: op, Values: values}
	}
	for _, c := range []struct {
		filter l3.Filter
		want   []string
	}{
		{f("name", l3.In, "a"), []string{"a"}},
		{f("name", l3.In, "A", "b", "AB%_"), nil},
		{f("name", l3.In, "a", "B", "c"), []string{"B", "a"}},
		{f("name", l3.In), nil},
		{f("name", l3.NotIn, "a", "B"), []string{"ab%_"}},
		{f("name", l3.NotIn), []string{"B", "a", "ab%_"}},
		{f("name", l3.Contains, "a"), []string{"a", "ab%_"}},
		{f("name", l3.Contains, "A"), nil},
		{f("name", l3.Contains, "%", "?"), []string{"ab%_"}},
		{f("name", l3.Contains, ""), []string{"B", "a", "ab%_"}},
		{f("admin_state_up", l3.In, true), []string{"a"}},
		{f("admin_state_up", l3.In, false), []string{"B", "ab%_"}},
		{f("admin_state_up", l3.In, false, true), []string{"B", "a", "ab%_"}},
		{f("revision_number", l3.In, 1), []string{"B", "a", "ab%_"}},
		{f("revision_number", l3.In, 2, 3), nil},
		{f("device_id", l3.In, ""), []string{"B", "ab%_"}},
		{f("device_id", l3.In, "", "d"), []string{"B", "a", "ab%_"}},
		{f("binding.binding:host_id", l3.In, "h"), []string{"ab%_"}},
		{f("tags", l3.In, "blue", "green"), []string{"a"}},
		{f("tags", l3.NotIn, "blue"), []string{"B", "ab%_"}},
		{f("tags", l3.All, "blue", "red"), []string{"a"}},
		{f("tags", l3.NotAll, "blue", "red"), []string{"B", "ab%_"}},
		{f("tags", l3.All), []string{"B", "a", "ab%_"}},
		{f("tags", l3.In, ""), nil},
		{f("fixed_ips.ip_address", l3.In, "10.0.1.1"), []string{"B"}},
		{f("fixed_ips.ip_address", l3.In, netip.MustParseAddr("10.0.0.1")), []string{"B"}},
		{f("fixed_ips.ip_address", l3.Contains, "0.0"), []string{"B"}},
		{f("fixed_ips.subnet_id", l3.NotIn, "s"), []string{"a", "ab%_"}},
		{f("fixed_ips.subnet_id", l3.Contains, ""), []string{"B"}},
		{f("fixed_ips.subnet_id", l3.NotContains, ""), []string{"a", "ab%_"}},
		{f("name", l3.NotContains, "b"), []string{"B", "a"}},
		{f("created_at", l3.In, "2026-02-03T04:05:06Z"), []string{"B", "a", "ab%_"}},
		{f("name", l3.NotBefore, "a"), []string{"a", "ab%_"}},
		{f("name", l3.Before, "a"), []string{"B"}},
		{l3.Filter{Op: l3.Either, Of: []l3.Filter{f("name", l3.In, "B"), f("tags", l3.In, "blue")}}, []string{"B", "a"}},
		{l3.Filter{Op: l3.Either, Of: []l3.Filter{{Op: l3.Either, Of: []l3.Filter{f("name", l3.In, "B")}}}}, []string{"B"}},
		{l3.Filter{Op: l3.Either}, nil},
		{l3.Filter{Op: l3.Every, Of: []l3.Filter{f("name", l3.In, "a", "B"), f("tags", l3.In, "blue")}}, []string{"a"}},
		{l3.Filter{Op: l3.Either, Of: []l3.Filter{{Op: l3.Every, Of: []l3.Filter{f("name", l3.In, "B")}}, f("tags", l3.In, "blue")}}, []string{"B", "a"}},
		{l3.Filter{Op: l3.Every}, []string{"B", "a", "ab%_"}},
	} {
		view(t, s, func(tx l3.Tx) error {
			q := l3.Query{Filters: []l3.Filter{c.filter}, Sort: []l3.Sort{{Field: "name"}}}
			list, err := tx.Ports().List(ctx, q)
			require.NoError(t, err, "%v", c.filter)
			var got []string
			for _, p := range list {
				got = append(got, p.Name)
			}
			require.Equal(t, c.want, got, "%v", c.filter)
			n, err := tx.Ports().Count(ctx, c.filter)
			require.Equal(t, len(c.want), n, "%v", c.filter)
			return err
		})
	}
	gateway := func(values ...any) l3.Query {
		return l3.Query{Filters: []l3.Filter{{Field: "external_gateway_info.network_id", Values: values}}}
	}
	require.Equal(t, []string{"inside"}, routerNames(t, s, gateway("")), "nothing counts as the empty string")
	require.Equal(t, []string{"outside"}, routerNames(t, s, gateway("x", "y")))
	require.Equal(t, []string{"outside"}, routerNames(t, s, l3.Query{Filters: []l3.Filter{
		{Field: "external_gateway_info.external_fixed_ips.ip_address", Op: l3.Contains, Values: []any{"192.0."}},
	}}))
	require.Equal(t, []string{"inside", "outside"}, routerNames(t, s, l3.Query{
		Scope: []l3.Filter{{Field: "name", Values: []any{"inside"}}, {Field: "name", Values: []any{"outside"}}}, Sort: []l3.Sort{{Field: "name"}},
	}), "one of the scope is enough")
	require.Empty(t, routerNames(t, s, l3.Query{
		Scope: []l3.Filter{{Field: "name", Values: []any{"inside"}}}, Filters: []l3.Filter{{Field: "name", Values: []any{"outside"}}},
	}), "beside the scope, the filters hold")
	view(t, s, func(tx l3.Tx) error {
		none, err := tx.SecurityGroupRules().List(ctx, l3.Query{Filters: []l3.Filter{{Field: "port_range_min", Values: []any{""}}}})
		require.NoError(t, err)
		require.Len(t, none, 1)
		require.Equal(t, "none", none[0].ProjectID)
		return nil
	})
}

func pages(t *testing.T, s l3.Store) {
	ctx := t.Context()
	// In binary order: capitals before small letters, and both before what is not ASCII.
	names := []string{"", "Z", "a", "a", "a b", "b", "é", "日本", "🛰"}
	var all []l3.Router
	for i, name := range names {
		r := l3.Router{Meta: meta("p", name), AdminStateUp: i%2 == 0}
		r.ID = fmt.Sprintf("%d-%s", i, r.ID)
		all = append(all, r)
	}
	shuffled := []l3.Router{all[5], all[0], all[8], all[3], all[2], all[7], all[1], all[4], all[6]}
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, shuffled...) })
	require.Equal(t, names, routerNames(t, s, l3.Query{}), "by ID, unless something else is said")

	for _, sort := range [][]l3.Sort{
		nil, {{Field: "name"}}, {{Field: "name", Desc: true}}, {{Field: "id", Desc: true}}, {{Field: "admin_state_up"}, {Field: "name", Desc: true}},
		{{Field: "revision_number"}}, {{Field: "external_gateway_info.network_id"}, {Field: "name"}},
	} {
		whole := ids(t, s, l3.Query{Sort: sort})
		require.Len(t, whole, len(names))
		for limit := 1; limit <= len(names)+1; limit++ {
			var forwards, backwards []string
			for marker := ""; ; {
				page := ids(t, s, l3.Query{Sort: sort, Limit: limit, Marker: marker})
				if len(page) == 0 {
					break
				}
				require.LessOrEqual(t, len(page), limit)
				forwards, marker = append(forwards, page...), page[len(page)-1]
			}
			for marker := ""; ; {
				page := ids(t, s, l3.Query{Sort: sort, Limit: limit, Marker: marker, Reverse: true})
				if len(page) == 0 {
					break
				}
				backwards, marker = append(page, backwards...), page[0]
			}
			require.Equal(t, whole, forwards, "%v by %d", sort, limit)
			require.Equal(t, whole, backwards, "%v by %d, backwards", sort, limit)
		}
	}
	require.Equal(t, names, routerNames(t, s, l3.Query{Sort: []l3.Sort{{Field: "name"}}}))
	slices.Reverse(names)
	require.Equal(t, names, routerNames(t, s, l3.Query{Sort: []l3.Sort{{Field: "name", Desc: true}}}))
}

// scopedMarker: what is not in the scope of a list begins no page of it, like what does not exist.
func scopedMarker(t *testing.T, s l3.Store) {
	ctx := t.Context()
	own, foreign := l3.Router{Meta: meta("p", "m")}, l3.Router{Meta: meta("q", "n")}
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, own, foreign) })
	scope := []l3.Filter{{Field: "project_id", Values: []any{"p"}}}
	for _, sort := range [][]l3.Sort{nil, {{Field: "name"}}, {{Field: "name", Desc: true}}} {
		for _, reverse := range []bool{false, true} {
			for _, marker := range []string{foreign.ID, "absent"} {
				view(t, s, func(tx l3.Tx) error {
					_, err := tx.Routers().List(ctx, l3.Query{Scope: scope, Sort: sort, Marker: marker, Reverse: reverse})
					require.ErrorIs(t, err, l3.ErrAbsent)
					return nil
				})
			}
			require.Empty(t, ids(t, s, l3.Query{Scope: scope, Sort: sort, Marker: own.ID, Reverse: reverse}))
		}
	}
}

func ids(t *testing.T, s l3.Store, q l3.Query) (list []string) {
	t.Helper()
	view(t, s, func(tx l3.Tx) error {
		routers, err := tx.Routers().List(t.Context(), q)
		list = nil
		for _, r := range routers {
			list = append(list, r.ID)
		}
		return err
	})
	return list
}

func unknownAttributes(t *testing.T, s l3.Store) {
	ctx := t.Context()
	for _, q := range []l3.Query{
		{Filters: []l3.Filter{{Field: "nothing", Values: []any{"x"}}}},
		{Filters: []l3.Filter{{Field: "name' OR '1'='1", Values: []any{"x"}}}},
		{Filters: []l3.Filter{{Field: "fixed_ips", Values: []any{"x"}}}},
		{Filters: []l3.Filter{{Field: "", Values: []any{"x"}}}},
		{Filters: []l3.Filter{{Field: "admin_state_up", Values: []any{"yes"}}}},
		{Filters: []l3.Filter{{Field: "admin_state_up", Op: l3.Contains, Values: []any{true}}}},
		{Filters: []l3.Filter{{Field: "name", Values: []any{7}}}},
		{Filters: []l3.Filter{{Field: "name", Op: 99, Values: []any{"x"}}}},
		{Sort: []l3.Sort{{Field: "nothing"}}},
		{Sort: []l3.Sort{{Field: "fixed_ips"}}},
		{Sort: []l3.Sort{{Field: "fixed_ips.subnet_id"}}},
	} {
		err := s.View(ctx, func(tx l3.Tx) error {
			_, err := tx.Ports().List(ctx, q)
			return err
		})
		require.ErrorIs(t, err, l3.ErrInvalid, "%+v", q)
	}
}
