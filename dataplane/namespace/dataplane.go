package namespace

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// Dataplane is a [dataplane.Dataplane] that realises each router as a network namespace. The
// backends' New functions make one.
type Dataplane struct {
	cfg      Config
	registry registry
	watcher  atomic.Pointer[watcher] // nil: nobody watches
	sighter  atomic.Pointer[sighter] // nil: nobody sights
}

var (
	_ dataplane.Watcher       = (*Dataplane)(nil)
	_ dataplane.CounterReader = (*Dataplane)(nil)
)

// New makes a Dataplane of a firewall and wiring. It touches nothing yet.
func New(cfg Config) (*Dataplane, error) {
	if cfg.Firewall == nil || cfg.Wiring == nil {
		return nil, errors.New("namespace: a Dataplane needs a Firewall and Wiring")
	}
	return &Dataplane{cfg: cfg.withDefaults(), registry: registry{all: map[string]*entry{}}}, nil
}

// Plan implements [dataplane.Dataplane]. For a router that is not there it takes a nameless
// namespace to plan in, which ends with the call.
func (d *Dataplane) Plan(ctx context.Context, want dataplane.Router) (dataplane.Plan, error) {
	want.ClampMSS = want.ClampMSS || d.cfg.ClampMSS
	k, err := d.registry.take(ctx, want.ID)
	if err != nil {
		return dataplane.Plan{}, err
	}
	defer d.leave(k)
	if j, err := d.shortJob(ctx, k, want, true); j != nil && err == nil {
		return j.plan(want), nil
	}
	if err := errors.Join(want.Validate(), supported(want), d.cfg.metadataSupported(want)); err != nil {
		return dataplane.Plan{}, err
	}
	s, fresh, err := d.rehearse(k, want.ID)
	if err != nil {
		return dataplane.Plan{}, err
	}
	if fresh {
		defer s.close()
	}
	j, err := d.longJob(ctx, s, want, fresh, true)
	if err != nil {
		return dataplane.Plan{}, err
	}
	return j.plan(want), nil
}

// Apply implements [dataplane.Dataplane].
func (d *Dataplane) Apply(ctx context.Context, want dataplane.Router) (dataplane.Plan, error) {
	plan, inForce, err := d.apply(ctx, want)
	if err != nil {
		err = &dataplane.ChangeError{InForce: inForce, Err: &dataplane.OpError{Op: "apply router", Object: want.ID, Err: err}}
	}
	return plan, err
}

// apply also tells which router is in force after an error.
func (d *Dataplane) apply(ctx context.Context, want dataplane.Router) (_ dataplane.Plan, inForce, err error) {
	inForce = dataplane.ErrOldInForce
	want.ClampMSS = want.ClampMSS || d.cfg.ClampMSS
	k, err := d.registry.take(ctx, want.ID)
	if err != nil {
		return dataplane.Plan{}, inForce, err
	}
	defer d.leaveApplied(k)
	if j, err := d.shortJob(ctx, k, want, false); j != nil && err == nil {
		if err = j.run(ctx); err == nil {
			return j.plan(want), nil, nil
		}
		inForce, _ = outcome(err, inForce)
		k.site.trusted = false
	}
	if err := errors.Join(want.Validate(), supported(want), d.cfg.metadataSupported(want)); err != nil {
		return dataplane.Plan{}, inForce, err
	}
	fresh, err := d.open(k, want.ID, want.Owner)
	if err != nil {
		return dataplane.Plan{}, inForce, err
	}
	k.site.trusted = false
	j, err := d.longJob(ctx, k.site, want, fresh, false)
	if err == nil {
		if err = j.run(ctx); err == nil {
			return j.plan(want), nil, nil
		}
		inForce, err = outcome(err, inForce)
		k.site.trusted = false
	}
	if fresh {
		ctx, cancel := detach(ctx)
		defer cancel()
		if _, failed := d.takeOff(ctx, k, want.ID); failed != nil {
			inForce, err = dataplane.ErrNoneInForce, errors.Join(err, failed)
		}
	}
	return j.plan(want), inForce, err
}

// outcome takes apart an error of run, which began when inForce was in force.
func outcome(err, inForce error) (error, error) {
	var changed *dataplane.ChangeError
	if !errors.As(err, &changed) {
		return inForce, err
	}
	if !errors.Is(changed.InForce, dataplane.ErrOldInForce) { // else it is as it was
		inForce = changed.InForce
	}
	return inForce, changed.Err
}

// Delete implements [dataplane.Dataplane].
func (d *Dataplane) Delete(ctx context.Context, id string) error {
	inForce, err := d.delete(ctx, id)
	if err != nil {
		err = &dataplane.ChangeError{InForce: inForce, Err: &dataplane.OpError{Op: "delete router", Object: id, Err: err}}
	}
	return err
}

func (d *Dataplane) delete(ctx context.Context, id string) (inForce, err error) {
	if err := (dataplane.Router{ID: id}).Validate(); err != nil {
		return dataplane.ErrOldInForce, err
	}
	k, err := d.registry.take(ctx, id)
	if err != nil {
		return dataplane.ErrOldInForce, err
	}
	defer d.registry.leave(k)
	if err := d.find(k, id); err != nil {
		if errors.Is(err, dataplane.ErrForeign) {
			return nil, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return dataplane.ErrOldInForce, err
		}
	}
	if err := ctx.Err(); err != nil {
		return dataplane.ErrOldInForce, err
	}
	ctx, cancel := detach(ctx) // half a router is worse than a few more milliseconds
	defer cancel()
	return d.takeOff(ctx, k, id)
}

// List implements [dataplane.Dataplane].
func (d *Dataplane) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.registry.open(); err != nil {
		return nil, err
	}
	named, err := owned(d.cfg.Dir)
	if err != nil {
		return nil, err
	}
	plugged, err := d.cfg.Wiring.Routers(ctx)
	if err != nil {
		return nil, err
	}
	all := append(named, plugged...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Counters implements [dataplane.CounterReader].
func (d *Dataplane) Counters(ctx context.Context, id string) (map[netip.Addr]dataplane.Counters, error) {
	counters, err := d.counters(ctx, id)
	return counters, opError("read counters of", "router "+id, err)
}

func (d *Dataplane) counters(ctx context.Context, id string) (map[netip.Addr]dataplane.Counters, error) {
	if err := (dataplane.Router{ID: id}).Validate(); err != nil {
		return nil, err
	}
	k, err := d.registry.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer d.registry.leave(k)
	if err := d.find(k, id); err != nil {
		return nil, err
	}
	return k.site.rules.Counters(ctx)
}

// Close implements [dataplane.Dataplane]. It waits for calls under way, and ends announcements that
// are due still, router advertisements, Watch and Sight.
func (d *Dataplane) Close() error {
	err := d.registry.close()
	if w := d.watcher.Load(); w != nil {
		w.stop()
		<-w.ended
	}
	if s := d.sighter.Load(); s != nil {
		s.stop()
		<-s.ended
	}
	return errors.Join(err, d.cfg.Wiring.Close())
}

// leave ends a turn. From then on the router is watched, if somebody watches.
func (d *Dataplane) leave(k *entry) {
	if w := d.watcher.Load(); w != nil && k.site != nil {
		w.follow(k.router, k.site)
	}
	if s := d.sighter.Load(); s != nil && k.site != nil {
		s.follow(k.site)
	}
	d.registry.leave(k)
}

// leaveApplied ends a turn in which the router was applied, or that was tried.
func (d *Dataplane) leaveApplied(k *entry) {
	if k.site != nil {
		k.site.told = false
	}
	d.leave(k)
}

// find opens the router's namespace, unless it is open and still the one of that name.
func (d *Dataplane) find(k *entry, id string) error {
	if k.site != nil && k.site.current() {
		return nil
	}
	if err := k.clear(); err != nil {
		return err
	}
	f, err := find(d.cfg.Dir, id)
	if err != nil {
		return err
	}
	k.site, err = openSite(d.cfg, id, f)
	return err
}

// open finds the router's namespace, or makes it.
func (d *Dataplane) open(k *entry, id, owner string) (fresh bool, err error) {
	if err := d.find(k, id); !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	name := dataplane.NamespaceName(id)
	f, err := netns.Create(d.cfg.Dir, name, mark(id), func() (err error) {
		k.site, err = foundSite(d.cfg, id, owner)
		return err
	})
	if err != nil {
		return false, errors.Join(opError("make namespace", name, err), k.clear())
	}
	return true, f.Close() // the site has its own
}

// rehearse finds the router's namespace, or makes a nameless one to plan in, which the caller
// closes.
func (d *Dataplane) rehearse(k *entry, id string) (s *site, fresh bool, err error) {
	if err := d.find(k, id); !errors.Is(err, os.ErrNotExist) {
		return k.site, false, err
	}
	f, err := netns.New(nil)
	if err != nil {
		return nil, false, opError("make namespace", "to plan in", err)
	}
	s, err = openSite(d.cfg, id, f)
	return s, true, err
}

// takeOff takes the router off the host, whatever there is of it. Its links go down first, so that
// nothing passes while it is taken apart: then the router is out of force, whatever is left of it.
func (d *Dataplane) takeOff(ctx context.Context, k *entry, id string) (inForce, err error) {
	if k.site != nil {
		k.site.trusted = false
		if err := k.site.silence(ctx); err != nil {
			return dataplane.ErrNoneInForce, err
		}
	}
	if err := d.cfg.Wiring.Release(ctx, id); err != nil {
		return dataplane.ErrNewInForce, err
	}
	return dataplane.ErrNewInForce, errors.Join(netns.Remove(d.cfg.Dir, dataplane.NamespaceName(id)), k.clear())
}
