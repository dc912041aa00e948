package openflow

import (
	"context"
	"maps"
	"slices"
)

// Prune removes those flows of ours that nobody wants, and adds none. It leaves the tables named
// alone. It looks at the flows first, and then asks for those that are wanted. So when another
// process writes flows, and wanted finds out what they follow from, Prune does not remove them.
func (b *Bridge) Prune(ctx context.Context, wanted func() ([]Flow, error), except ...uint8) error {
	if err := b.acquire(ctx); err != nil {
		return b.error("prune flows of", err)
	}
	defer b.release()
	return b.error("prune flows of", b.prune(ctx, wanted, except))
}

func (b *Bridge) prune(ctx context.Context, wanted func() ([]Flow, error), except []uint8) error {
	present := map[id]presence{}
	err := b.look(ctx, func(t *table) {
		maps.Copy(present, t.ids)
		maps.DeleteFunc(present, func(k id, _ presence) bool { return slices.Contains(except, k.table) })
	})
	if err != nil || len(present) == 0 {
		return err
	}
	flows, err := wanted()
	if err != nil {
		return err
	}
	w, err := want(b.mark, flows)
	if err != nil {
		return err
	}
	d := difference{remove: list(present, func(k id) bool { return w.count[k] == 0 })}
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
