package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// completeValue is the value of $KV.routers.complete. It declares that the bus has all routers.
//
// A new filling says that the history of the bus before it cannot be relied on: the bus was lost,
// is an older copy, or follows a database that was restored. Agents then read everything from the
// beginning.
type completeValue struct {
	Filling string `json:"filling"` // random
}

// filling returns the filling of the bus; empty: it does not have all routers.
func (b *Bus) filling(ctx context.Context) (string, entry, error) {
	was, err := get(ctx, b.stream(bucketRouters), subjectOf(bucketRouters, keyComplete))
	if err != nil {
		return "", was, err
	}
	var v completeValue
	_ = json.Unmarshal(was.value, &v) // what is damaged has no filling, and will be written again
	return v.Filling, was, nil
}

// setFilling declares that the bus has all routers, under a new name, and makes all agents read
// them from the beginning.
func (b *Bus) setFilling(ctx context.Context) error {
	text, err := json.Marshal(completeValue{Filling: rand.Text()})
	if err != nil {
		return err
	}
	for {
		_, was, err := b.filling(ctx)
		if err == nil {
			err = b.put(ctx, subjectOf(bucketRouters, keyComplete), was, text)
		}
		if errors.Is(err, errChanged) {
			if !sleep(ctx, 5*time.Millisecond) {
				return ctx.Err()
			}
			continue
		}
		if err != nil {
			return err
		}
		return b.dropConsumers(ctx)
	}
}

// clearFilling says that the bus does not have all routers.
func (b *Bus) clearFilling(ctx context.Context) error {
	return b.stream(bucketRouters).Purge(ctx, jetstream.WithPurgeSubject(subjectOf(bucketRouters, keyComplete)))
}

// dropConsumers deletes the consumers of the agents, which then ask for a session.
func (b *Bus) dropConsumers(ctx context.Context) error {
	for _, bucket := range []string{bucketRouters, bucketPeers} {
		s := b.stream(bucket)
		list := s.ListConsumers(ctx)
		for info := range list.Info() {
			if info.Config.Metadata[agentMetadata] == "" {
				continue
			}
			if err := deleteConsumer(ctx, s, info.Name); err != nil {
				return err
			}
		}
		if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return err
		}
	}
	return nil
}
