package natsbus

import (
	"context"
	"errors"
	"time"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/internal/claim"
)

// checkEvery is the time between two looks at the streams.
const checkEvery = time.Second

// watch renews the claim on the database and keeps the streams in repair until ctx ends. It does so
// beside what publishes, because a stream of which enough servers are lost answers late.
func (t *turns) watch(ctx context.Context) {
	for renew := time.Now(); ; {
		troubled := t.bus.troubled()
		if !time.Now().Before(renew) || troubled != nil {
			renew = time.Now().Add(claim.RenewEvery)
			err := t.bus.claim(ctx)
			switch {
			case err == nil:
				t.bus.setTrouble(nil)
			case errors.Is(err, l3.ErrOtherBus):
				if troubled == nil {
					t.log.Error("another bus serves the database: publishing stops", "err", err)
				}
			case ctx.Err() == nil:
				t.log.Warn("cannot renew the claim of the bus on the database", "err", err)
				renew = time.Now()
			}
			if (troubled == nil) != (t.bus.troubled() == nil) {
				t.tell()
			}
		}
		err := t.check(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrOtherDeployment):
			t.bus.setTrouble(err)
			t.ended <- err
			return
		case err != nil:
			t.log.Warn("cannot check the streams of the bus", "err", err)
		}
		if !sleep(ctx, checkEvery) {
			return
		}
	}
}

// check repairs the streams, and finds out whether the bus has lost routers.
func (t *turns) check(ctx context.Context) error {
	lost, err := t.bus.repair(ctx)
	if err == nil {
		err = t.bus.verify(ctx)
	}
	if err == nil && !lost && t.prepared.Load() {
		var filling string
		filling, _, err = t.bus.filling(ctx)
		lost = err == nil && filling == ""
	}
	if lost {
		t.lost.Store(true)
		t.tell()
	}
	return err
}

// tell has loop look at what was found.
func (t *turns) tell() {
	select {
	case t.found <- struct{}{}:
	default:
	}
}
