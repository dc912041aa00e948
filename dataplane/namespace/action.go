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
}

// undoTime bounds the taking back of a change whose own context may have ended.
const undoTime = 10 * time.Second

// run does the actions in order. When one fails, it takes back that one and those before it, the last first, and returns the error.
func run(ctx context.Context, actions []action) error {
	for i, a := range actions {
		err := ctx.Err()
		if err == nil {
			err = a.do(ctx)
		}
		if err != nil {
			return errors.Join(err, takeBack(ctx, actions[:i+1]))
		}
	}
	return nil
}

func takeBack(ctx context.Context, actions []action) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
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
