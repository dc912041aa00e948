package service

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// derived lists resources with an attribute that the store does not have as it is now, because it
// also follows from the time.
type derived[R any] struct {
	field string
	list  func(context.Context, l3.Query) ([]R, error)
	fill  func([]R) error // fills in the attribute
	value func(*R) any    // string or bool
	id    func(*R) string
}

// all answers a query that does not name the attribute, or that the store can answer.
func (d derived[R]) all(ctx context.Context, q l3.Query) ([]R, error) {
	all, err := d.list(ctx, q)
	if err != nil {
		return nil, err
	}
	return all, d.fill(all)
}

// live lists resources with a status. The store has it, but for what is on hosts that are not
// alive; hostField is the attribute that names the host.
func (d derived[R]) live(ctx context.Context, s *Service, tx l3.Tx, q l3.Query, hostField string) ([]R, error) {
	sorted := slices.IndexFunc(q.Sort, func(k l3.Sort) bool { return k.Field == d.field })
	if sorted >= 0 || slices.ContainsFunc(q.Filters, func(f l3.Filter) bool { return f.Field == d.field }) {
		on, ok, err := s.onDead(ctx, tx, hostField)
		switch {
		case err != nil:
			return nil, err
		case !ok:
		case sorted == 0:
			return d.byStatus(ctx, q, on)
		case sorted > 0:
			return d.query(ctx, q)
		default:
			q.Filters = live(q.Scope, q.Filters, on)
		}
	}
	return d.all(ctx, q)
}

// byStatus answers a query that is sorted by status first while hosts are not alive: with the
// resources of one status, then with those of the next, until the page is full. Each of these lists
// has an index.
func (d derived[R]) byStatus(ctx context.Context, q l3.Query, on l3.Filter) ([]R, error) {
	values := []any{"", string(l3.StatusActive), string(l3.StatusBuild), string(l3.StatusDown), string(l3.StatusError), string(l3.StatusNone)}
	rest := q
	desc := q.Sort[0].Desc
	if rest.Sort = q.Sort[1:]; len(rest.Sort) == 0 {
		rest.Sort = []l3.Sort{{Field: "id", Desc: desc}}
	}
	if desc != q.Reverse {
		slices.Reverse(values)
	}
	if q.Marker != "" {
		marker, err := d.list(ctx, l3.Query{Scope: q.Scope, Filters: []l3.Filter{oneOf("id", q.Marker)}})
		if err != nil {
			return nil, err
		}
		if len(marker) == 0 {
			return nil, fmt.Errorf("marker %s: %w", q.Marker, l3.ErrAbsent)
		}
		if err := d.fill(marker); err != nil {
			return nil, err
		}
		values = values[slices.Index(values, d.value(&marker[0])):]
	}
	var all []R
	for i, v := range values {
		if i > 0 {
			rest.Marker = "" // which is of another status
		}
		if slices.ContainsFunc(q.Filters, func(f l3.Filter) bool { return f.Field == d.field && !filterHolds(f, v) }) {
			continue
		}
		if q.Limit > 0 {
			if rest.Limit = q.Limit - len(all); rest.Limit == 0 {
				break
			}
		}
		rest.Filters = live(q.Scope, append(slices.Clone(q.Filters), l3.Filter{Field: d.field, Values: []any{v}}), on)
		some, err := d.list(ctx, rest)
		if err != nil {
			return nil, err
		}
		if q.Reverse {
			all = append(some, all...)
		} else {
			all = append(all, some...)
		}
	}
	return all, d.fill(all)
}

// query answers a query that names the attribute from all that the rest of the query finds.
func (d derived[R]) query(ctx context.Context, q l3.Query) ([]R, error) {
	sorted := slices.IndexFunc(q.Sort, func(k l3.Sort) bool { return k.Field == d.field })
	rest := l3.Query{Scope: q.Scope}
	for _, f := range q.Filters {
		if f.Field != d.field {
			rest.Filters = append(rest.Filters, f)
		}
	}
	for _, k := range q.Sort {
		if k.Field != d.field {
			rest.Sort = append(rest.Sort, k)
		}
	}
	all, err := d.list(ctx, rest)
	if err != nil {
		return nil, err
	}
	if err := d.fill(all); err != nil {
		return nil, err
	}
	for _, f := range q.Filters {
		if f.Field == d.field {
			all = slices.DeleteFunc(all, func(r R) bool { return !filterHolds(f, d.value(&r)) })
		}
	}
	if sorted >= 0 {
		if err := d.sort(all, q.Sort[:sorted], q.Sort[sorted].Desc); err != nil {
			return nil, err
		}
	}
	return d.page(all, q)
}

// sort brings what is sorted by the keys before and after the attribute into the whole order:
// within those whose keys before it are equal, the attribute decides.
func (d derived[R]) sort(all []R, before []l3.Sort, desc bool) error {
	keys := make([][]byte, len(all))
	for i := range all {
		key, err := keyOf(all[i], before)
		if err != nil {
			return err
		}
		keys[i] = key
	}
	for first := 0; first < len(all); {
		last := first + 1
		for last < len(all) && bytes.Equal(keys[first], keys[last]) {
			last++
		}
		slices.SortStableFunc(all[first:last], func(a, b R) int {
			order := cmp.Compare(fmt.Sprint(d.value(&a)), fmt.Sprint(d.value(&b)))
			if desc {
				return -order
			}
			return order
		})
		first = last
	}
	return nil
}

// keyOf is equal for resources whose attributes are.
func keyOf(r any, attributes []l3.Sort) ([]byte, error) {
	if len(attributes) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	var key []byte
	for _, k := range attributes {
		key = append(append(key, document[k.Field]...), 0)
	}
	return key, nil
}

// page cuts the page that was asked for out of the whole list.
func (d derived[R]) page(all []R, q l3.Query) ([]R, error) {
	if q.Marker != "" {
		at := slices.IndexFunc(all, func(r R) bool { return d.id(&r) == q.Marker })
		switch {
		case at < 0:
			return nil, l3.ErrAbsent
		case q.Reverse:
			all = all[:at]
		default:
			all = all[at+1:]
		}
	}
	switch {
	case q.Limit <= 0 || len(all) <= q.Limit:
		return all, nil
	case q.Reverse:
		return all[len(all)-q.Limit:], nil
	}
	return all[:q.Limit], nil
}

// filterHolds says whether a single value passes.
func filterHolds(f l3.Filter, value any) bool {
	switch f.Op {
	case l3.In, l3.All:
		return slices.Contains(f.Values, value)
	case l3.NotIn, l3.NotAll:
		return !slices.Contains(f.Values, value)
	}
	return false
}
