package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options are how a bus is kept. The zero Options are good for one server.
type Options struct {
	Replicas int           // servers that have each message; 0: 1
	Lifetime time.Duration // of an agent that is not heard of any more, as a tunnel peer and in the bucket agents; 0: 24 hours
	Markers  time.Duration // how long the word that a router left a host is kept; more than [Resume]; 0: 24 hours
}

// Bus is the control plane's side. Its methods may be called concurrently, and by several processes.
type Bus struct {
	js      jetstream.JetStream
	routers jetstream.Stream
	peers   jetstream.Stream
	options Options
}

// Open makes what is missing of the buckets and streams, and sets what differs from the options. It waits for a cluster that is not ready, until ctx ends.
// The connection is not closed by the bus.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Bus, error) {
	o.Replicas = max(o.Replicas, 1)
	for _, d := range []*time.Duration{&o.Lifetime, &o.Markers} {
		if *d == 0 {
			*d = 24 * time.Hour
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open the bus: %w", err)
	}
	b := &Bus{js: js, options: o}
	for {
		if err = b.create(ctx); err == nil {
			return b, nil
		}
		if !unready(err) || !sleep(ctx, 200*time.Millisecond) {
			return nil, fmt.Errorf("open the bus: %w", err)
		}
	}
}

// Ready fails while the bus cannot be read, or does not have all routers yet.
func (b *Bus) Ready(ctx context.Context) error {
	filling, err := b.complete(ctx)
	if err == nil && filling == "" {
		err = errors.New("the bus does not have all routers yet")
	}
	return err
}

// unready says whether a server may take later what it did not take now.
func unready(err error) bool {
	var api *jetstream.APIError
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return false
	}
	if errors.As(err, &api) {
		const unavailable, noMetaLeader, noPeers = 503, 10008, 10005
		return api.Code == unavailable || api.ErrorCode == noMetaLeader || api.ErrorCode == noPeers
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders)
}

func (b *Bus) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, c := range b.streams() {
		s, err := b.js.CreateOrUpdateStream(ctx, c)
		if err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, err)
		}
		// What is known of a stream stays good when it was lost and is made again; others may be using it.
		switch {
		case c.Name == streamOf(bucketRouters) && b.routers == nil:
			b.routers = s
		case c.Name == streamOf(bucketPeers) && b.peers == nil:
			b.peers = s
		}
	}
	return nil
}

// streams are what the bus is made of. Buckets are written out as streams, because those that a bucket makes let whoever may write one key wipe all of
// them, with the header Nats-Rollup.
func (b *Bus) streams() []jetstream.StreamConfig {
	bucket := func(name string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: streamOf(name), Subjects: []string{subjectOf(name, ">")}, Replicas: b.options.Replicas,
			MaxMsgsPerSubject: 1, MaxMsgSize: maxMessage, Discard: jetstream.DiscardNew, AllowDirect: true, DenyDelete: true,
		}
	}
	routers, agents, peers := bucket(bucketRouters), bucket(bucketAgents), bucket(bucketPeers)
	routers.AllowMsgTTL = true
	agents.MaxAge = b.options.Lifetime
	agents.MaxMsgSize = 64 << 10
	peers.MaxAge = b.options.Lifetime
	peers.AllowMsgTTL, peers.SubjectDeleteMarkerTTL = true, b.options.Lifetime // who expires is named to those who watch
	return []jetstream.StreamConfig{routers, agents, peers, {
		Name: streamReports, Subjects: []string{subjectReports + "*"}, Replicas: b.options.Replicas,
		Retention: jetstream.WorkQueuePolicy, MaxMsgSize: 1 << 20, MaxAge: 24 * time.Hour, DenyDelete: true,
	}}
}

// entry is what a key has.
type entry struct {
	value    []byte
	sequence uint64 // 0: there is nothing
}

// get reads a key. What it reads may be late, which put finds out.
func get(ctx context.Context, s jetstream.Stream, subject string) (entry, error) {
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	return entry{m.Data, m.Sequence}, nil
}

// errChanged is that a key is not as it was read.
var errChanged = errors.New("the key was changed meanwhile")

// put writes a key that is still as it was read. life bounds how long it is kept; 0: for ever.
func (b *Bus) put(ctx context.Context, subject string, was entry, value []byte, life time.Duration) error {
	options := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(was.sequence)}
	if life > 0 {
		options = append(options, jetstream.WithMsgTTL(life))
	}
	_, err := b.js.Publish(ctx, subject, value, options...)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return errChanged
	}
	return err
}

// sleep says false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
