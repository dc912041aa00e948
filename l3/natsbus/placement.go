package natsbus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// errNewer is returned for a key whose value is newer than what the database has. A value is always
// compiled after the key was read, so the database was restored to an earlier state.
var errNewer = errors.New("the bus has a later version than the database")

// settle makes the key of a router on a host say what the database records, and reports whether it
// had to be written. Where nothing is recorded, as when the host has confirmed that the router is
// gone, the key is removed, which tells the host nothing.
//
// Several processes may do so at once. Each reads the key, then compiles, and writes only over what
// it read. So what is written was compiled after what it replaces, and a process that was held up
// for long between reading and writing changes nothing.
func (b *Bus) settle(ctx context.Context, desired l3.Desired, host, routerID string) (changed bool, err error) {
	subject := subjectOf(bucketRouters, routerKey(host, routerID))
	for {
		changed, err := b.trySettle(ctx, desired, subject, host, routerID)
		if !errors.Is(err, errChanged) {
			if err != nil {
				err = fmt.Errorf("publish router %s for host %s: %w", routerID, host, err)
			}
			return changed, err
		}
		// In a cluster, the server that was read from may be behind.
		if !sleep(ctx, 5*time.Millisecond) {
			return false, ctx.Err()
		}
	}
}

func (b *Bus) trySettle(ctx context.Context, desired l3.Desired, subject, host, routerID string) (changed bool, err error) {
	was, err := get(ctx, b.stream(bucketRouters), subject)
	if err != nil {
		return false, err
	}
	p, err := desired.PlacementOf(ctx, host, routerID)
	if errors.Is(err, l3.ErrNotFound) {
		if was.sequence == 0 {
			return false, nil
		}
		return false, b.purge(ctx, bucketRouters, subject, was)
	}
	if err != nil {
		return false, err
	}
	want := valueOf(p)
	have, unreadable := decodeVersion(host, was.value)
	same := was.sequence > 0 && unreadable == nil && have.Deployment == want.Deployment
	if same && !have.present() && want.Router == nil && have.version().Newer(want.version()) {
		return false, nil // the host is told already that the router left, as of a later version
	}
	// A router that comes back has a newer version than the one with which it left.
	left := !have.present() && want.Router != nil && !want.version().Newer(have.version())
	if same && (have.version().Newer(want.version()) || left) {
		// Only now is it worth the time to read the whole value.
		if _, unreadable = decodeRouter(host, routerID, was.value); unreadable == nil {
			return false, fmt.Errorf("%w: epoch %d, revision %d, and not epoch %d, revision %d",
				errNewer, have.Epoch, have.Revision, want.Epoch, want.Revision)
		}
	}
	text, err := json.Marshal(want)
	if err != nil || bytes.Equal(text, was.value) {
		return false, err
	}
	return true, b.put(ctx, subject, was, text)
}
