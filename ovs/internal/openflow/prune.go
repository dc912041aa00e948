package openflow

import (
	"context"
	"maps"
	"slices"
)

// Prune removes those flows of ours that are none of these, and adds none. It leaves the tables
// named alone. If there are any to remove, it first asks for the latest set, and spares what is in
// that one: so flows stay that another process writes, if latest finds out what they follow from.
func (b *Bridge) Prune(ctx context.Context, flows []Flow, latest func() ([]Flow, error), except ...uint8) error {
	if err := b.acquire(ctx); err != nil {
		return b.error("prune flows of", err)
	}
	defer b.release()
	return b.error("prune flows of", b.prune(ctx, flows, latest, except))
}

func (b *Bridge) prune(ctx context.Context, flows []Flow, latest func() ([]Flow, error), except []uint8) error {
	w, err := want(b.mark, flows)
	if err != nil {
		return err
	}
	surplus := map[id]presence{}
	err = b.look(ctx, func(t *table) {
		maps.Copy(surplus, t.ids)
		maps.DeleteFunc(surplus, func(k id, _ presence) bool { return w.count[k] > 0 || slices.Contains(except, k.table) })
	})
	if err != nil || len(surplus) == 0 {
		return err
	}
	if flows, err = latest(); err != nil {
		return err
	}
	if w, err = want(b.mark, flows); err != nil {
		return err
	}
	d := difference{remove: list(surplus, func(k id) bool { return w.count[k] == 0 })}
	if d.empty() {
		return nil
	}
	known := 0
	b.watch.hush()
	defer func() { b.watch.speak(known) }()
	if err := b.tool.add(ctx, b.socket, d.bundle()); err != nil {
		return err
	}
	return b.watch.look(ctx, func(t *table) { known = t.version })
}
