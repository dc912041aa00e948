package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/l3"
)

// Options configure a bus. The zero Options are good for one server.
type Options struct {
	Replicas int           // servers that keep each message; 0: 1
	Lifetime time.Duration // how long an agent that is not heard of any more stays a tunnel peer; 0: 24 hours

	// TakeOver makes a bus that belonged to another deployment this deployment's. What the bus had
	// is forgotten. No host is told to remove anything.
	TakeOver bool

	Server string       // names this process in the claim on the database; empty: host name and process ID
	Logger *slog.Logger // nil: nothing is logged
}

// Bus is the control plane's side of the message queue. Its methods may be called concurrently, and
// by several processes.
type Bus struct {
	js      jetstream.JetStream
	desired l3.Desired
	options Options
	log     *slog.Logger

	mu       sync.Mutex
	streams  map[string]jetstream.Stream
	identity identity
	trouble  error // why this process must not publish; nil: it may
}

// Open creates the streams that are missing, and opens the bus for the deployment whose database
// desired reads. It waits for a cluster that has no quorum yet, until ctx ends. It fails with
// [OtherDeploymentError] when the bus belongs to another deployment, and with [l3.OtherBusError]
// while another bus serves the database. The bus does not close the connection.
func Open(ctx context.Context, nc *nats.Conn, desired l3.Desired, o Options) (*Bus, error) {
	o.Replicas = max(o.Replicas, 1)
	if o.Lifetime == 0 {
		o.Lifetime = 24 * time.Hour
	}
	if o.Server == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown host"
		}
		o.Server = fmt.Sprintf("%s, process %d", host, os.Getpid())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open bus: %w", err)
	}
	b := &Bus{js: js, desired: desired, options: o, log: o.Logger, streams: map[string]jetstream.Stream{}}
	for {
		if err = b.open(ctx); err == nil {
			return b, nil
		}
		if !unready(err) || !sleep(ctx, 200*time.Millisecond) {
			return nil, fmt.Errorf("open bus: %w", err)
		}
	}
}

func (b *Bus) open(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, c := range b.configs() {
		s, err := b.js.CreateOrUpdateStream(attempt, c)
		if err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, err)
		}
		b.setStream(s)
	}
	if err := b.identify(attempt); err != nil {
		return err
	}
	return b.claimFirst(ctx)
}

func (b *Bus) setStream(s jetstream.Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams[s.CachedInfo().Config.Name] = s
}

// stream returns the stream of a bucket.
func (b *Bus) stream(bucket string) jetstream.Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.streams[streamOf(bucket)]
}

// Ready returns an error while agents cannot be served: the bus cannot be read or written, it does
// not have all routers yet, or this process must not publish.
func (b *Bus) Ready(ctx context.Context) error {
	if err := b.troubled(); err != nil {
		return err
	}
	filling, _, err := b.filling(ctx)
	if err == nil && filling == "" {
		err = errors.New("the bus does not have all routers yet")
	}
	if err == nil {
		_, err = b.probe(ctx)
	}
	return err
}

// setTrouble records why this process must not publish; nil: it may.
func (b *Bus) setTrouble(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = err
}

func (b *Bus) troubled() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trouble
}

// probe finds out whether heartbeats can be stored, by storing a message beside them.
func (b *Bus) probe(ctx context.Context) (sequence uint64, err error) {
	ack, err := b.js.Publish(ctx, subjectOf(bucketAgents, keyProbe), []byte("{}"))
	if err != nil {
		return 0, fmt.Errorf("the bus stores no heartbeats: %w", err)
	}
	return ack.Sequence, nil
}

// unready reports whether a server may accept later what it refused now.
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

// entry is the content of a key.
type entry struct {
	value    []byte
	sequence uint64 // 0: the key does not exist
}

// get reads a key. In a cluster the answer may be old, which put detects.
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

// errChanged is returned by put for a key that was changed after it was read.
var errChanged = errors.New("the key was changed meanwhile")

// put writes a key if it still is as it was read.
func (b *Bus) put(ctx context.Context, subject string, was entry, value []byte) error {
	_, err := b.js.Publish(ctx, subject, value, jetstream.WithExpectLastSequencePerSubject(was.sequence))
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return errChanged
	}
	return err
}

// purge removes the content that a key had when it was read. What was written since stays.
func (b *Bus) purge(ctx context.Context, bucket, subject string, was entry) error {
	return b.stream(bucket).Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(was.sequence+1))
}

// sleep reports whether d has passed before ctx ended.
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
