package agent

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// result is what became of a job.
type result struct {
	job       *job
	err       error
	report    *Report // nil: there is nothing to report
	corrected int     // 1: the router had drifted, and was put right
}

// cause is the request of the API because of which a job is done; empty: none.
func (j *job) cause() string {
	if j.want == nil {
		return j.request
	}
	return j.want.Request
}

// work does one job.
func (a *Agent) work(ctx context.Context, j *job) (r result) {
	r.job = j
	switch {
	case j.want == nil:
		r.report, r.err = a.remove(ctx, j)
	case j.fence:
		_, r.err = a.config.Dataplane.Apply(ctx, dataplane.Router{ID: j.id, Owner: Realised(*j.want).Owner})
	case j.check:
		r.report, r.corrected, r.err = a.check(ctx, j.want)
	default:
		r.report, r.err = a.apply(ctx, j.want, j.runs)
	}
	if r.err != nil && ctx.Err() == nil {
		a.log.Error("router failed, will be tried again", "router", j.id, "request", j.cause(), "err", r.err)
	}
	return r
}

// Realised is the router that an agent applies for an assignment: its owner is the deployment, so
// that the host knows whose the router is when the agent has lost its cache. A deployment whose ID
// cannot be an owner is left out.
func Realised(want Assignment) dataplane.Router {
	r := want.Router
	if want.Deployment != "" && (dataplane.Router{ID: "any", Owner: want.Deployment}).Validate() == nil {
		r.Owner = want.Deployment
	}
	return r
}

// realised is the router that this agent applies for an assignment.
func (a *Agent) realised(want Assignment) dataplane.Router {
	r := Realised(want)
	r.Metadata = r.Metadata || a.config.Metadata
	return r
}

// remove takes a router away, and reports that it is gone.
func (a *Agent) remove(ctx context.Context, j *job) (*Report, error) {
	_, absent := a.config.Dataplane.Inspect(ctx, j.id)
	if err := a.config.Dataplane.Delete(ctx, j.id); err != nil {
		return nil, err
	}
	if !errors.Is(absent, os.ErrNotExist) {
		a.log.Info("router removed", "router", j.id, "epoch", j.last.Epoch, "revision", j.last.Revision, "request", j.request)
	}
	if a.cache != nil {
		a.cache.remove(j.id)
	}
	return &Report{Host: a.config.Host, RouterID: j.id, Epoch: j.last.Epoch, Revision: j.last.Revision, Gone: true}, nil
}

// apply brings a router to its version, and reports either way.
func (a *Agent) apply(ctx context.Context, want *Assignment, runs Version) (*Report, error) {
	begin := time.Now()
	plan, err := a.config.Dataplane.Apply(ctx, a.realised(*want))
	if ctx.Err() != nil {
		return nil, err // the process ends; the next one applies and reports
	}
	report := a.report(want, err)
	if err != nil {
		return report, err
	}
	if !plan.Empty() {
		a.log.Info("router applied", "router", want.Router.ID, "epoch", want.Epoch, "revision", want.Revision, "request", want.Request, "steps", len(plan.Steps),
			"took", time.Since(begin))
	}
	if a.cache != nil {
		a.cache.keep(*want)
	}
	if movedHere(want, runs) {
		a.announce(ctx, want)
	}
	return report, nil
}

// movedHere reports whether another host may have answered for a router's addresses since the
// version was applied that runs.
func movedHere(want *Assignment, runs Version) bool {
	return runs != Version{} && runs.Epoch != want.Epoch || want.Announce > runs.Revision
}

// announce tells the neighbours of a router that it is here.
func (a *Agent) announce(ctx context.Context, want *Assignment) {
	if err := a.config.Dataplane.Announce(ctx, want.Router.ID); err != nil && ctx.Err() == nil {
		a.log.Error("cannot announce a router that another host had too: its neighbours may not find it for a while",
			"router", want.Router.ID, "request", want.Request, "err", err)
		return
	}
	a.log.Info("router announced: another host has let go of it", "router", want.Router.ID, "epoch", want.Epoch, "revision", want.Revision)
}

// check puts a router right that is not as it was left.
func (a *Agent) check(ctx context.Context, want *Assignment) (report *Report, corrected int, err error) {
	plan, err := a.config.Dataplane.Apply(ctx, a.realised(*want))
	if err == nil && plan.Empty() || ctx.Err() != nil {
		return nil, 0, err
	}
	report = a.report(want, err)
	if err != nil {
		return report, 0, err
	}
	a.log.Warn("somebody changed a router; it was put right", "router", want.Router.ID, "plan", plan.String())
	return report, 1, nil
}

// report says what became of a version.
func (a *Agent) report(want *Assignment, err error) *Report {
	r := &Report{Host: a.config.Host, RouterID: want.Router.ID, Epoch: want.Epoch, Revision: want.Revision}
	if err != nil {
		r.Error = reason(err)
	}
	return r
}

// reason is an error for people who see the router through the API.
func reason(err error) string {
	text := err.Error()
	if errors.Is(err, dataplane.ErrUnsupported) {
		text += " (this host cannot do it; another may)"
	}
	const most = 1000 // bytes: it is stored with the router
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}
