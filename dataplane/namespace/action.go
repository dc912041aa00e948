package namespace

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// action is one change to a host, and how to take it back.
type action struct {
	steps []dataplane.Step // what people are told of it; none for what only follows from other steps
	do    func(context.Context) error
	undo  func(context.Context) error // also after do failed half-way; nil if there is nothing to take back
	found *[]dataplane.Step           // what people are told besides, once do has run; nil for most

	// oneWay marks an action that undo cannot take back.
	oneWay bool
	// final marks a one-way action that is done when the router wanted is in force already, to
	// clear up after the old one. No other actions follow.
	final bool
	// around marks an action on what is on the host besides the router: that it is needed does not
	// say that the router has changed.
	around bool
}

// finishTime bounds the finishing, or the taking back, of a change whose own context may have
// ended.
const finishTime = 10 * time.Second

func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), finishTime)
}

// run does the actions in order. When one fails, it takes back that one and those before it, the
// last first, and returns the error. From the first one-way action on, the end of the context does
// not stop it. Of the final actions it does all, whichever fails.
func run(ctx context.Context, actions []action) error {
	beyond := false // the first one-way action
	var failed []error
	for i, a := range actions {
		err := ctx.Err()
		if (a.oneWay || a.final) && !beyond && err == nil {
			beyond = true
			var cancel context.CancelFunc
			ctx, cancel = detach(ctx)
			defer cancel()
		}
		if err == nil {
			err = a.do(ctx)
		}
		switch {
		case err == nil:
		case a.final && beyond:
			failed = append(failed, err)
		default:
			return withdrawn(err, takeBack(ctx, actions[:i+1]), beyond)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &dataplane.ChangeError{InForce: dataplane.ErrNewInForce, Err: errors.Join(failed...)}
}

// withdrawn tells which router is in force after a change was taken back.
func withdrawn(cause, failed error, beyond bool) error {
	if failed != nil || beyond {
		return &dataplane.ChangeError{InForce: dataplane.ErrNoneInForce, Err: errors.Join(cause, failed)}
	}
	return &dataplane.ChangeError{InForce: dataplane.ErrOldInForce, Err: cause}
}

func takeBack(ctx context.Context, actions []action) error {
	ctx, cancel := detach(ctx)
	defer cancel()
	var errs []error
	for i := len(actions) - 1; i >= 0; i-- {
		if actions[i].undo == nil {
			continue
		}
		if err := actions[i].undo(ctx); err != nil {
			errs = append(errs, &dataplane.OpError{Op: "take back", Err: err})
		}
	}
	return errors.Join(errs...)
}

// inOrder calls functions until one fails.
func inOrder(ctx context.Context, fns []func(context.Context) error) error {
	for _, fn := range fns {
		if err := fn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// backwards calls functions, the last first, and goes on after one that failed.
func backwards(ctx context.Context, fns []func(context.Context) error) error {
	var errs []error
	for _, fn := range slices.Backward(fns) {
		errs = append(errs, fn(ctx))
	}
	return errors.Join(errs...)
}

func steps(actions []action) []dataplane.Step {
	var all []dataplane.Step
	for _, a := range actions {
		all = append(all, a.steps...)
		if a.found != nil {
			all = append(all, *a.found...)
		}
	}
	return all
}
