package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of what one host's login can make the bus keep.
const (
	maxHeartbeat      = 1 << 20 // bytes: an inventory of thousands of routers
	maxReport         = 1 << 20 // bytes
	maxReportsPerHost = 256     // that the control plane has not read yet; an agent sends the next one later
)

// configs returns the configuration of the streams. Buckets are written out as streams, because a
// bucket that NATS's client makes lets whoever may write one key delete all of them, with the
// header Nats-Rollup.
func (b *Bus) configs() []jetstream.StreamConfig {
	bucket := func(name string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: streamOf(name), Subjects: []string{subjectOf(name, ">")}, Replicas: b.options.Replicas,
			MaxMsgsPerSubject: 1, MaxMsgSize: maxMessage, Discard: jetstream.DiscardNew, AllowDirect: true, DenyDelete: true,
		}
	}
	routers, agents, peers := bucket(bucketRouters), bucket(bucketAgents), bucket(bucketPeers)
	routers.AllowMsgTTL = true // for marks
	agents.MaxAge = b.options.Lifetime
	agents.MaxMsgSize = maxHeartbeat
	peers.MaxAge = b.options.Lifetime
	// Hosts that read the peers are told of one that expires.
	peers.AllowMsgTTL, peers.SubjectDeleteMarkerTTL = true, b.options.Lifetime
	return []jetstream.StreamConfig{routers, agents, peers, {
		Name: streamReports, Subjects: []string{subjectReports + "*"}, Replicas: b.options.Replicas,
		Retention: jetstream.WorkQueuePolicy, MaxMsgSize: maxReport, MaxAge: 24 * time.Hour, DenyDelete: true,
		MaxMsgsPerSubject: maxReportsPerHost, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
	}}
}

// repair puts right what was done to the streams while the bus was running: one that was deleted is
// created, and one whose configuration was changed gets its own back, or is created anew where NATS
// does not allow the change. It reports whether the routers were affected.
func (b *Bus) repair(ctx context.Context) (routers bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var errs []error
	for _, c := range b.configs() {
		changed, err := b.repairStream(ctx, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("repair stream %s: %w", c.Name, err))
		}
		routers = routers || changed && c.Name == streamOf(bucketRouters)
	}
	return routers, errors.Join(errs...)
}

func (b *Bus) repairStream(ctx context.Context, want jetstream.StreamConfig) (changed bool, err error) {
	s, err := b.js.Stream(ctx, want.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		b.log.Error("a stream of the bus was deleted: creating it", "stream", want.Name)
		return true, b.ensureStream(ctx, want)
	case err != nil:
		return false, err
	}
	b.mu.Lock()
	before := b.streams[want.Name].CachedInfo()
	b.mu.Unlock()
	now := s.CachedInfo()
	b.setStream(s)
	changed = !now.Created.Equal(before.Created) || now.State.LastSeq < before.State.LastSeq
	if difference := differs(now.Config, want); difference != "" {
		b.log.Error("the configuration of a stream of the bus was changed: restoring it", "stream", want.Name, "difference", difference)
		_, err := b.js.UpdateStream(ctx, want)
		var refusal *jetstream.APIError
		if errors.As(err, &refusal) && !unready(err) {
			b.log.Error("the stream cannot be changed back: creating it anew", "stream", want.Name, "err", err)
			return true, b.replace(ctx, want)
		}
		return true, err
	}
	return changed, nil
}

// replace deletes a stream and creates it. What it had comes again: from the database, with the
// next heartbeats, and from the agents, which send their inventories.
func (b *Bus) replace(ctx context.Context, c jetstream.StreamConfig) error {
	if err := b.js.DeleteStream(ctx, c.Name); err != nil {
		return err
	}
	return b.ensureStream(ctx, c)
}

// ensureStream creates a stream, or gives it its configuration. Another server may do the same,
// with other options, or delete a stream that cannot be changed: between the request that finds the
// stream missing, or there, and the one that follows from that.
func (b *Bus) ensureStream(ctx context.Context, c jetstream.StreamConfig) error {
	const attempts = 5
	for i := 1; ; i++ {
		s, err := b.js.CreateOrUpdateStream(ctx, c)
		if err == nil {
			b.setStream(s)
			return nil
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) && !errors.Is(err, jetstream.ErrStreamNotFound) || i == attempts ||
			!sleep(ctx, time.Duration(i)*20*time.Millisecond) {
			return err
		}
	}
}

// differs names a difference between the configuration that a stream has and the one that it must
// have, as far as it changes what the stream does with messages.
func differs(have, want jetstream.StreamConfig) string {
	for _, d := range []struct {
		what string
		is   bool
	}{
		{"subjects", !slices.Equal(have.Subjects, want.Subjects)},
		{"retention", have.Retention != want.Retention},
		{"storage", have.Storage != want.Storage},
		{"discard", have.Discard != want.Discard || have.DiscardNewPerSubject != want.DiscardNewPerSubject},
		{"limits", have.MaxMsgs > 0 || have.MaxBytes > 0 || have.MaxConsumers > 0 || have.MaxAge != want.MaxAge ||
			have.MaxMsgSize != want.MaxMsgSize || max(have.MaxMsgsPerSubject, 0) != want.MaxMsgsPerSubject},
		{"replicas", have.Replicas != want.Replicas},
		{"what is allowed", have.Sealed || have.DenyDelete != want.DenyDelete || have.DenyPurge || have.AllowRollup && want.SubjectDeleteMarkerTTL == 0 ||
			have.AllowDirect != want.AllowDirect || have.AllowMsgTTL != want.AllowMsgTTL || have.NoAck},
		{"markers", have.SubjectDeleteMarkerTTL != want.SubjectDeleteMarkerTTL},
		{"where messages come from or go to", have.Mirror != nil || len(have.Sources) > 0 || have.RePublish != nil || have.SubjectTransform != nil},
	} {
		if d.is {
			return d.what
		}
	}
	return ""
}
