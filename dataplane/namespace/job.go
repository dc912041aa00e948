package namespace

import (
	"context"
	"errors"

	"github.com/l3kit/l3kit/dataplane"
)

// job is what a call has found out that is to be done.
type job struct {
	first   []dataplane.Step // done already, when the job was made
	actions []action
	learn   func() // after success
}

// run leaves it to the caller to distrust what is remembered after an error.
func (j *job) run(ctx context.Context) error {
	err := run(ctx, j.actions)
	if err == nil || errors.Is(err, dataplane.ErrNewInForce) {
		j.learn()
	}
	return err
}

func (j *job) plan(r dataplane.Router) dataplane.Plan {
	p := dataplane.Plan{Router: r.ID}
	if j != nil {
		p.Steps = append(j.first, steps(j.actions)...)
	}
	return p
}

// shortJob is nil if the short way is not open.
func (d *Dataplane) shortJob(ctx context.Context, k *entry, want dataplane.Router, rehearsal bool) (*job, error) {
	s := k.site
	if s == nil || !s.trusted || !s.current() {
		return nil, nil
	}
	change, ok := s.last.delta(want)
	if !ok {
		return nil, nil
	}
	if s.trusted = s.proved(ctx, d.cfg.Wiring); !s.trusted { // notifications tell only once
		return nil, nil
	}
	actions, err := s.short(ctx, want, change, rehearsal)
	if err != nil {
		return nil, err
	}
	return &job{actions: actions, learn: func() {
		s.last.learn(change)
		s.trusted = len(actions) == 0 || s.undisturbed(s.last.links, false)
	}}, nil
}

func (d *Dataplane) longJob(ctx context.Context, s *site, want dataplane.Router, fresh, rehearsal bool) (*job, error) {
	l := &long{site: s, cfg: d.cfg, router: want, fresh: fresh, rehearsal: rehearsal}
	if err := l.plan(ctx); err != nil {
		return nil, err
	}
	j := &job{actions: l.actions, learn: l.learn}
	if fresh {
		j.first = []dataplane.Step{{Op: dataplane.Add, Kind: dataplane.KindNamespace, Object: dataplane.NamespaceName(want.ID)}}
		owned, err := s.owns(d.cfg.owning, want.Owner)
		if err != nil {
			return nil, err
		}
		if owned {
			j.first = append(j.first, ownerStep(want.ID, want.Owner, nil))
		}
	}
	return j, nil
}
