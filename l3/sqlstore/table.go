package sqlstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// table is [l3.Table] in a transaction.
type table[R any] struct {
	tx *tx
	*resource[R]
}

// Get reads one.
func (t table[R]) Get(ctx context.Context, id string) (R, error) {
	found, err := t.read(ctx, t.get, id)
	if err == nil && len(found) == 0 {
		err = l3.ErrAbsent
	}
	if err != nil {
		var none R
		return none, t.fail("get", id, err)
	}
	return found[0], nil
}

// List reads those that a query chooses.
func (t table[R]) List(ctx context.Context, q l3.Query) ([]R, error) {
	text, args, err := t.selection(ctx, q)
	if err != nil {
		return nil, t.fail("list", "", err)
	}
	found, err := t.read(ctx, text, args...)
	if err != nil {
		return nil, t.fail("list", "", err)
	}
	if q.Reverse {
		slices.Reverse(found)
	}
	return found, nil
}

// selection is a query as a statement. Where the page begins is read here: the marker's own values
// make a condition that an index can be used for.
func (t table[R]) selection(ctx context.Context, q l3.Query) (string, []any, error) {
	b := t.builder()
	keys, err := b.keys(q)
	if err != nil {
		return "", nil, err
	}
	where, err := b.where(q.Filters, q.Scope)
	if err != nil {
		return "", nil, err
	}
	if q.Marker != "" {
		at, err := t.keysOf(ctx, q.Marker, keys, q.Scope)
		if err != nil {
			return "", nil, err
		}
		if where != "" {
			where += " AND "
		}
		where += b.after(keys, at)
	}
	text := "SELECT doc FROM " + t.table
	if where != "" {
		text += " WHERE " + where
	}
	text += orderBy(keys)
	if q.Limit > 0 {
		text += " LIMIT " + b.add(q.Limit)
	}
	return text, b.args, nil
}

// keysOf reads what a marker is ordered by. One that is not in the scope does not exist: whoever
// asks must not find it out, nor where it is in the order.
func (t table[R]) keysOf(ctx context.Context, id string, keys []key, scope []l3.Filter) ([]any, error) {
	b := t.builder()
	where := "id = " + b.add(id)
	within, err := b.where(nil, scope)
	if err != nil {
		return nil, err
	}
	if within != "" {
		where += " AND " + within
	}
	at := make([]any, len(keys))
	into := make([]any, len(keys))
	text := "SELECT "
	for i, k := range keys {
		if i > 0 {
			text += ", "
		}
		text += k.value
		into[i] = &at[i]
	}
	n := 0
	err = t.tx.query(ctx, func(r row) error {
		n++
		return r.Scan(into...)
	}, text+" FROM "+t.table+" WHERE "+where, b.args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("marker %s: %w", id, l3.ErrAbsent)
	}
	return at, err
}

// Count counts those that all filters hold for.
func (t table[R]) Count(ctx context.Context, filters ...l3.Filter) (int, error) {
	b := t.builder()
	where, err := b.where(filters, nil)
	if err != nil {
		return 0, t.fail("count", "", err)
	}
	text := "SELECT count(*) FROM " + t.table
	if where != "" {
		text += " WHERE " + where
	}
	var n int
	if err := t.tx.query(ctx, func(r row) error { return r.Scan(&n) }, text, b.args...); err != nil {
		return 0, t.fail("count", "", err)
	}
	return n, nil
}

// Insert adds all or none.
func (t table[R]) Insert(ctx context.Context, rs ...R) error {
	args := make([][]any, len(rs))
	for i := range rs {
		id := t.id(&rs[i])
		doc, err := encode(&rs[i])
		if err != nil {
			return t.fail("insert", id, err)
		}
		args[i] = []any{id, string(doc)}
	}
	object := ""
	if len(rs) == 1 {
		object = t.id(&rs[0])
	}
	_, err := t.tx.try(ctx, t.insert, args...)
	return t.fail("insert", object, err)
}

// Update replaces one, whose revision grows if it has one.
func (t table[R]) Update(ctx context.Context, r *R) error { return t.replace(ctx, r, 1) }

// Refresh replaces one, whose revision stays.
func (t table[R]) Refresh(ctx context.Context, r *R) error { return t.replace(ctx, r, 0) }

func (t table[R]) replace(ctx context.Context, r *R, growth int) error {
	id := t.id(r)
	next, args := *r, []any{id, nil}
	if t.revision != nil {
		args = append(args, *t.revision(r))
		*t.revision(&next) += growth
	}
	doc, err := encode(&next)
	if err != nil {
		return t.fail("update", id, err)
	}
	args[1] = string(doc)
	n, err := t.tx.try(ctx, t.update, args)
	switch {
	case err != nil:
		return t.fail("update", id, err)
	case n == 1:
		*r = next
		return nil
	}
	if _, err := t.Get(ctx, id); err != nil {
		return err
	}
	t.tx.stale = &staleError{t.table, id, *t.revision(r)}
	return t.tx.stale
}

// Delete removes one.
func (t table[R]) Delete(ctx context.Context, id string) error {
	n, err := t.tx.exec(ctx, t.delete, id)
	if err == nil && n == 0 {
		err = l3.ErrAbsent
	}
	return t.fail("delete", id, err)
}

func (t table[R]) builder() *builder {
	return &builder{dialect: t.dialect, attributes: t.attributes}
}

func (t table[R]) read(ctx context.Context, text string, args ...any) ([]R, error) {
	var found []R
	err := t.tx.query(ctx, func(r row) error {
		doc, err := r.document()
		if err != nil {
			return err
		}
		found = append(found, *new(R))
		return decode(doc, &found[len(found)-1])
	}, text, args...)
	return found, err
}

// fail says what was done to what; nil stays nil.
func (t table[R]) fail(op, object string, err error) error {
	if err == nil {
		return nil
	}
	if object != "" {
		object = " " + object
	}
	return fmt.Errorf("%s %s%s: %w", op, t.table, object, err)
}

// ports give their addresses back when they go.
type ports struct{ table[l3.Port] }

// Delete removes a port and its claims.
func (t ports) Delete(ctx context.Context, id string) error {
	if err := t.table.Delete(ctx, id); err != nil {
		return err
	}
	return addresses{t.tx}.releaseAll(ctx, id)
}

// orphans hold addresses, which go with them.
type orphans struct{ table[l3.Orphan] }

// Delete removes an orphan and its claims.
func (t orphans) Delete(ctx context.Context, id string) error {
	if err := t.table.Delete(ctx, id); err != nil {
		return err
	}
	return addresses{t.tx}.releaseAll(ctx, id)
}

// routerStates are counted by agent, which triggers do.
type routerStates struct{ table[l3.RouterState] }

// Hosted counts those of each agent that has any.
func (t routerStates) Hosted(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	err := t.tx.query(ctx, func(r row) error {
		var agent string
		var n int
		err := r.Scan(&agent, &n)
		counts[agent] = n
		return err
	}, "SELECT agent_id, routers FROM hosted WHERE routers > 0")
	return counts, t.fail("count", "by agent", err)
}
