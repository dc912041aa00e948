package natsbus

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// settle makes the key of a router on a host say what is desired. epoch is what is known of the router's having left, if it did.
//
// Several processes may do so at once. Each reads the key, then compiles, and writes only over what it read. So what is written was compiled after
// what it replaces, and one that was held up for long between reading and writing changes nothing. A version that is older than what is there, as after
// an old copy of the database was brought back, is not written.
func (b *Bus) settle(ctx context.Context, host, routerID string, epoch uint64, desired l3.Desired) error {
	subject := subjectOf(bucketRouters, routerKey(host, routerID))
	for {
		err := b.trySettle(ctx, subject, host, routerID, epoch, desired)
		if !errors.Is(err, errChanged) {
			if err != nil {
				err = fmt.Errorf("publish router %s for host %s: %w", routerID, host, err)
			}
			return err
		}
		// Where it is read may be behind where it is written.
		if !sleep(ctx, 5*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func (b *Bus) trySettle(ctx context.Context, subject, host, routerID string, epoch uint64, desired l3.Desired) error {
	was, err := get(ctx, b.routers, subject)
	if err != nil {
		return err
	}
	a, err := desired.DesiredOf(ctx, routerID)
	here := err == nil && a.Host == host
	if err != nil && !errors.Is(err, l3.ErrNotFound) {
		return err
	}
	have, unreadable := decodeRouter(host, routerID, was.value)
	known := was.sequence > 0 && unreadable == nil
	want, life := valueOf(a), time.Duration(0)
	if !here {
		if known && have.Router == nil && have.Epoch >= epoch {
			return nil
		}
		// The revision is that of what left, so that what comes back in the same epoch is newer.
		want, life = routerValue{Host: host, Revision: have.Revision, Epoch: max(epoch, have.Epoch, 1)}, b.options.Markers
	} else if known && have.newer(want) {
		return nil
	}
	text, err := json.Marshal(want)
	if err != nil || bytes.Equal(text, was.value) {
		return err
	}
	return b.put(ctx, subject, was, text, life)
}

// complete is which filling of the bucket routers this is; empty: it does not have all routers yet. A bucket that was lost and made anew gets another.
func (b *Bus) complete(ctx context.Context) (string, error) {
	e, err := get(ctx, b.routers, subjectOf(bucketRouters, keyComplete))
	return string(e.value), err
}

// setComplete declares that the bucket has all routers.
func (b *Bus) setComplete(ctx context.Context) error {
	err := b.put(ctx, subjectOf(bucketRouters, keyComplete), entry{}, []byte(rand.Text()), 0)
	if errors.Is(err, errChanged) {
		return nil // another process was faster, or it was declared before
	}
	return err
}
