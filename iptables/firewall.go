package iptables

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/nfnetlink"
)

// Firewall writes routers' translation and filtering with iptables. It implements
// [namespace.Firewall]. The zero value is ready; it must not be copied after first use.
type Firewall struct {
	// Variant is the iptables to write with. Rules of ours that the other one wrote are replaced.
	Variant Variant
	// Timeout bounds each run of a tool and each waiting for the lock of iptables-legacy; 0:
	// [DefaultTimeout].
	Timeout time.Duration

	searches singleflight.Group
	mu       sync.Mutex
	tools    map[Variant]*tool // found so far; guarded by mu

	buffers sync.Pool // see legacyStore
}

var _ namespace.Firewall = (*Firewall)(nil)

// Name is iptables, whichever variant it is.
func (f *Firewall) Name() string { return "iptables" }

// Open needs neither variant to be installed; writing does.
func (f *Firewall) Open(ns namespace.NS) (namespace.Rules, error) {
	return &rules{firewall: f, sides: map[Variant]*side{
		NFT:    {firewall: f, variant: NFT, ns: ns, store: &nftStore{nfnetlink.Conn{NS: ns.FD}}},
		Legacy: {firewall: f, variant: Legacy, ns: ns, store: newLegacyStore(ns, f.timeout(), &f.buffers)},
	}}, nil
}

func (f *Firewall) timeout() time.Duration {
	if f.Timeout > 0 {
		return f.Timeout
	}
	return DefaultTimeout
}

// tool finds the tool of a variant, once. Whoever asks meanwhile waits for the same answer.
func (f *Firewall) tool(ctx context.Context, v Variant) (*tool, error) {
	f.mu.Lock()
	found := f.tools[v]
	f.mu.Unlock()
	if found != nil {
		return found, nil
	}
	answer := f.searches.DoChan(string(v), func() (any, error) {
		t, err := find(context.WithoutCancel(ctx), v, f.timeout())
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.tools == nil {
			f.tools = map[Variant]*tool{}
		}
		f.tools[v], f.tools[t.variant] = t, t
		return t, nil
	})
	select {
	case a := <-answer:
		found, _ = a.Val.(*tool)
		return found, a.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var _ namespace.ProvenRules = (*rules)(nil)

// rules is what both variants hold in one namespace.
type rules struct {
	firewall *Firewall
	sides    map[Variant]*side
}

// Notified implements [namespace.ProvenRules]: of ip_tables, which iptables-legacy writes into, the
// kernel sends no notifications.
func (r *rules) Notified() bool { return r.known() != r.sides[Legacy] }

// Unchanged implements [namespace.ProvenRules]. It starts no process.
func (r *rules) Unchanged() (bool, error) {
	s := r.known()
	if s == nil {
		return false, nil
	}
	return s.unchanged()
}

// known is the side that was written to, if it was found out already which one that is.
func (r *rules) known() *side {
	r.firewall.mu.Lock()
	defer r.firewall.mu.Unlock()
	t := r.firewall.tools[r.firewall.Variant]
	if t == nil {
		return nil
	}
	return r.sides[t.variant]
}

// own is the side that is written to.
func (r *rules) own(ctx context.Context) (*side, error) {
	t, err := r.firewall.tool(ctx, r.firewall.Variant)
	if err != nil {
		return nil, err
	}
	return r.sides[t.variant], nil
}

// Plan starts no process if it may act on want.Since alone, or if the namespace holds nothing of
// ours.
func (r *rules) Plan(ctx context.Context, want namespace.Change) ([]dataplane.Step, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := r.own(ctx)
	if err != nil {
		return nil, err
	}
	if want.Since != nil {
		unchanged, err := s.unchanged()
		if err != nil {
			return nil, err
		}
		if d, ok := delta(want); ok && unchanged {
			return d.steps(), nil
		}
	}
	d, at, err := s.towards(ctx, want.Want)
	if err != nil {
		return nil, err
	}
	steps := d.steps()
	old := r.sides[s.variant.other()]
	present, err := old.present()
	if err != nil {
		return nil, err
	}
	switch {
	case present:
		steps = append(steps, dataplane.Step{
			Op: dataplane.Remove, Kind: dataplane.KindRules, Object: old.variant.String(), Detail: "replaced by " + s.variant.String(),
		})
	case d.empty() && want.Since != nil && want.Since.Empty():
		s.known = at // it was somebody else's rules that changed
	}
	return steps, nil
}

// Apply writes the difference in one run of iptables-restore. If it took more than one table and
// failed in the middle, what was written is taken back.
func (r *rules) Apply(ctx context.Context, want namespace.Change) (func(context.Context) error, error) {
	defer r.forget()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := r.own(ctx)
	if err != nil {
		return nil, err
	}
	var done undoer
	if d, ok := delta(want); ok && !moves(*want.Since) {
		proven, err := s.applyDelta(ctx, d, &done)
		if proven {
			return done.undo(), nil
		}
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return nil, errors.Join(err, done.run(context.WithoutCancel(ctx)))
		} // whatever else went wrong, the long way finds out what there is
	}
	old := r.sides[s.variant.other()]
	present, err := old.present()
	if err == nil && present {
		_, err = r.firewall.tool(ctx, old.variant) // before anything is written that would need it later
	}
	if err == nil {
		err = s.converge(ctx, func(t *tool) ruleset { return render(want.Want, t.random) }, &done)
	}
	if err == nil && present {
		err = old.converge(ctx, nothing, &done)
	}
	if err != nil {
		return nil, errors.Join(err, done.run(context.WithoutCancel(ctx)))
	}
	return done.undo(), nil
}

// nothing is the ruleset of a namespace without a router.
func nothing(*tool) ruleset { return ruleset{} }

// moves says that a floating IP gets another fixed address. What it has counted has to be read
// then, so that it is counted on.
func moves(d namespace.Delta) bool {
	return slices.ContainsFunc(d.Added, func(a dataplane.FloatingIP) bool {
		return slices.ContainsFunc(d.Removed, func(r dataplane.FloatingIP) bool { return r.Addr == a.Addr && r.Fixed != a.Fixed })
	})
}

// Present asks both variants' parts of the kernel, and starts no process.
func (r *rules) Present(ctx context.Context) (bool, error) {
	for _, s := range r.sides {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if present, err := s.present(); present || err != nil {
			return present, err
		}
	}
	return false, nil
}

// Clear takes away what either variant holds of ours.
func (r *rules) Clear(ctx context.Context) error {
	defer r.forget()
	for _, v := range []Variant{NFT, Legacy} {
		s := r.sides[v]
		s.known = stamp{}
		if err := ctx.Err(); err != nil {
			return err
		}
		present, err := s.present()
		if err == nil && present {
			err = s.converge(ctx, nothing, &undoer{})
			for _, f := range families {
				if err == nil {
					err = s.store.tidy(f)
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rules) forget() {
	for _, s := range r.sides {
		s.seen, s.seenAt = nil, stamp{}
	}
}

// Close closes sockets.
func (r *rules) Close() error {
	return errors.Join(r.sides[NFT].store.close(), r.sides[Legacy].store.close())
}
