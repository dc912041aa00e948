package openflow

import (
	"context"
	"os"
	"slices"
)

// Prune removes those flows of ours that are none of these, and adds none. It leaves the tables in
// except alone. See [Bridge.Replace] for held.
func (b *Bridge) Prune(ctx context.Context, flows []Flow, except []uint8, held ...*os.File) error {
	if err := b.acquire(ctx); err != nil {
		return b.error("prune flows of", err)
	}
	defer b.release()
	return b.error("prune flows of", b.prune(ctx, flows, except, held))
}

func (b *Bridge) prune(ctx context.Context, flows []Flow, except []uint8, held []*os.File) error {
	w := b.want
	if w == nil || !slices.Equal(w.flows, flows) {
		var err error
		if w, err = want(b.mark, flows); err != nil {
			return err
		}
	}
	var d difference
	err := b.look(ctx, func(t *table) {
		d.remove = t.list(func(k id) bool { return w.count[k] == 0 && !slices.Contains(except, k.table) })
	})
	if err != nil || d.empty() {
		return err
	}
	return b.write(ctx, d, held)
}
