package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/failure"
)

// Firewall writes routers' translation and filtering with nftables. It implements
// [namespace.Firewall].
type Firewall struct{}

// Name is nftables.
func (Firewall) Name() string { return "nftables" }

// Open opens a netlink socket in the namespace.
func (Firewall) Open(ns namespace.NS) (namespace.Rules, error) {
	r := &rules{socket: newSocket(ns.FD)}
	if err := r.socket.Open(); err != nil {
		return nil, failure.Of("open nf_tables", fmt.Sprintf("in namespace of router %s", ns.Router), err)
	}
	return r, nil
}

var _ namespace.ProvenRules = (*rules)(nil)

// rules is the tables of one namespace.
type rules struct {
	socket socket
	// generation is that of the namespace at which the tables were last known to be what Apply was
	// asked for; 0: it is not known. While the kernel is at the same one, nobody has written.
	generation uint32
	// seen is what Plan found at a generation, so that an Apply which follows need not read it
	// again.
	seen   ruleset
	seenAt uint32
}

// maxRaces bounds how often Apply starts over because somebody else writes to nftables in the same
// namespace all the time.
const maxRaces = 20

// Plan implements [namespace.Rules]. When it may act on want.Since alone it costs one short
// question.
func (r *rules) Plan(ctx context.Context, want namespace.Change) ([]dataplane.Step, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if want.Since != nil {
		unchanged, err := r.Unchanged()
		if err != nil {
			return nil, err
		}
		if c, ok := delta(want); ok && unchanged {
			return c.steps(slices.Concat(want.Since.Forwardings.Added, want.Since.Forwardings.Removed)), nil
		}
	}
	have, generation, err := r.socket.read(ctx)
	if err != nil {
		return nil, err
	}
	c := compareAll(have, render(want.Want))
	if c.empty() && want.Since != nil && want.Since.Empty() {
		r.generation = generation // it was somebody else's table that changed
	}
	r.seen, r.seenAt = have, generation
	known := want.Want.PortForwardings
	if want.Since != nil {
		known = slices.Concat(known, want.Since.Forwardings.Removed)
	}
	return c.steps(known), nil
}

// Apply implements [namespace.Rules]. It writes one transaction, bound to the generation that it
// was made for: if anybody wrote since, the kernel refuses it. Taking it back restores counters
// too, and what others had put into the table; it fails if they have since written there.
func (r *rules) Apply(ctx context.Context, want namespace.Change) (func(context.Context) error, error) {
	defer func() { r.seen, r.seenAt = ruleset{}, 0 }()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if want.Since != nil {
		if c, ok := delta(want); ok {
			undo, err := r.applyDelta(c)
			if err == nil {
				return undo, nil
			} // whatever went wrong, the long way finds out what there is
		}
	}
	wanted := render(want.Want)
	for range maxRaces {
		have, generation, err := r.look(ctx)
		if err != nil {
			return nil, err
		}
		undo, err := r.write(compareAll(have, wanted), generation)
		if !errors.Is(err, errMoved) {
			return undo, err
		}
	}
	return nil, failure.Of("write", tableText, errMoved)
}

// look returns what the tables hold, and at which generation: the first time what Plan saw, for
// write finds out whether anybody wrote since.
func (r *rules) look(ctx context.Context) (ruleset, uint32, error) {
	seen, at := r.seen, r.seenAt
	if at == 0 {
		return r.socket.read(ctx)
	}
	r.seen, r.seenAt = ruleset{}, 0
	return seen, at, nil
}

// applyDelta acts on a difference to what was last applied, without looking.
func (r *rules) applyDelta(c changes) (func(context.Context) error, error) {
	if r.generation == 0 {
		return nil, errMoved
	}
	return r.write(c, r.generation)
}

// write makes the changes to what the tables hold at a generation. It is errMoved if anybody wrote
// since.
func (r *rules) write(c changes, generation uint32) (func(context.Context) error, error) {
	if c.empty() {
		now, err := r.socket.Generation()
		if err == nil && now != generation {
			err = errMoved
		}
		if err == nil {
			r.generation = generation
		}
		return nil, err
	}
	r.generation = 0
	if err := r.socket.commit(c.batch(), generation); err != nil {
		return nil, err
	}
	r.generation = next(generation)
	return func(context.Context) error {
		r.generation = 0
		return r.socket.commit(c.undone().batch(), 0)
	}, nil
}

// Notified implements [namespace.ProvenRules].
func (r *rules) Notified() bool { return true }

// Unchanged implements [namespace.ProvenRules].
func (r *rules) Unchanged() (bool, error) {
	if r.generation == 0 {
		return false, nil
	}
	now, err := r.socket.Generation()
	return now == r.generation, err
}

// next is the generation that a commit leads to. The kernel passes over 0.
func next(generation uint32) uint32 { return max(generation+1, 1) }

// Present implements [namespace.Rules].
func (r *rules) Present(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	for _, f := range families {
		switch err := r.socket.askTable(f, nil); {
		case err == nil:
			return true, nil
		case !errors.Is(err, unix.ENOENT):
			return false, failure.Of("read", f.table(), err)
		}
	}
	return false, nil
}

// Clear implements [namespace.Rules].
func (r *rules) Clear(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.generation = 0
	for _, f := range families {
		b := &batch{family: f}
		b.deleteTable()
		if err := r.socket.commit(b, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// Close implements [namespace.Rules].
func (r *rules) Close() error { return r.socket.Close() }
