package service_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// TestSortByStatusWhileAHostIsDead: pages of a list that is sorted by status are those of the whole
// list, sorted by the status that its resources show.
func TestSortByStatusWhileAHostIsDead(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.agent("dead", "one")
		r.agent("alive", "two")
		one, two := r.external("one", "203.0.113.0/24"), r.external("two", "198.51.100.0/24")
		for i, network := range []l3.Network{one, two} {
			for j := range 4 {
				made := r.router(l3.RouterSpec{Name: new(fmt.Sprint("n", (i+j)%3)), Gateway: &l3.GatewaySpec{NetworkID: network.ID}})
				switch j {
				case 0: // it stays in BUILD
				case 1:
					r.fails(made.ID, "no")
				default:
					r.report(made.ID)
				}
			}
		}
		r.router(l3.RouterSpec{Name: new("n1")}) // ACTIVE without a host
		r.router(l3.RouterSpec{Name: new("n2"), AdminStateUp: new(false)})
		r.clock.sleep(time.Hour)
		r.agent("alive", "two")
		list := func(q l3.Query) []l3.Router {
			r.Helper()
			return ok(r.ListRouters(ctx, r.member, q))(r)
		}
		ids := func(all []l3.Router) (ids []string) {
			for _, router := range all {
				ids = append(ids, router.ID)
			}
			return ids
		}
		all := list(l3.Query{})
		require.Len(r, all, 10)
		seen := map[l3.Status]int{}
		for _, router := range all {
			seen[router.Status]++
		}
		require.Equal(r, map[l3.Status]int{l3.StatusActive: 3, l3.StatusBuild: 1, l3.StatusDown: 5, l3.StatusError: 1}, seen)

		order := map[bool]int{true: -1, false: 1}
		for _, keys := range [][]l3.Sort{
			{{Field: "status"}}, {{Field: "status", Desc: true}},
			{{Field: "status"}, {Field: "name", Desc: true}}, {{Field: "status", Desc: true}, {Field: "name"}},
		} {
			for _, filters := range [][]l3.Filter{
				nil, {{Field: "status", Values: []any{"DOWN", "ERROR"}}}, {{Field: "status", Op: l3.NotIn, Values: []any{"DOWN"}}},
				{{Field: "name", Values: []any{"n1", "n2"}}},
			} {
				q := l3.Query{Sort: keys, Filters: filters}
				want := list(l3.Query{Filters: filters})
				slices.SortFunc(want, func(a, b l3.Router) int {
					n := order[keys[0].Desc] * cmp.Compare(a.Status, b.Status)
					if len(keys) > 1 {
						n = cmp.Or(n, order[keys[1].Desc]*cmp.Compare(a.Name, b.Name))
					}
					return cmp.Or(n, order[keys[len(keys)-1].Desc]*cmp.Compare(a.ID, b.ID))
				})
				require.Equal(r, ids(want), ids(list(q)), "%+v", q)
				for q.Limit = 1; q.Limit <= 5; q.Limit++ {
					var forward, backward []string
					q.Marker, q.Reverse = "", false
					for page := list(q); len(page) > 0; page = list(q) {
						require.LessOrEqual(r, len(page), q.Limit)
						forward = append(forward, ids(page)...)
						q.Marker = page[len(page)-1].ID
					}
					require.Equal(r, ids(want), forward, "%+v", q)
					q.Marker, q.Reverse = "", true
					for page := list(q); len(page) > 0; page = list(q) {
						backward = append(ids(page), backward...)
						q.Marker = page[0].ID
					}
					require.Equal(r, ids(want), backward, "%+v", q)
				}
			}
		}
		_, err := r.ListRouters(ctx, r.member, l3.Query{Sort: []l3.Sort{{Field: "status"}}, Marker: "absent"})
		require.ErrorIs(r, err, l3.ErrAbsent)
		_, err = r.ListRouters(ctx, r.other, l3.Query{Sort: []l3.Sort{{Field: "status"}}, Marker: all[0].ID})
		require.ErrorIs(r, err, l3.ErrAbsent, "another's")
	})
}
