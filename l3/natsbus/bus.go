package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/internal/claim"
)

// Options configure a bus. The zero Options are good for one server.
type Options struct {
	// Embedded is the server in this process, which the connection leads to. [Bus.Source] connects
	// to it. nil: there is none.
	Embedded *Server
	// Patience is how long Open waits for servers that are not ready, such as a cluster without a
	// quorum. Then Open succeeds, and Run goes on waiting. 0: until the context of Open ends;
	// negative: Open leaves everything to Run.
	Patience time.Duration

	Replicas int           // servers that keep each message; 0: 1
	Lifetime time.Duration // how long an agent that is not heard of any more stays a tunnel peer; 0: 24 hours

	// TakeOver makes a bus that belonged to another deployment this deployment's. What the bus had
	// is forgotten. No host is told to remove anything.
	TakeOver bool

	Server string       // names this process in the claim on the database; empty: host name and process ID
	Logger *slog.Logger // nil: nothing is logged

	Poll      time.Duration // between looks for what other processes have committed; 0: 1 s
	Reconcile time.Duration // between comparisons of everything; 0: 1 hour
	// Late is the age at which a heartbeat is ignored: it was sent before the control plane was
	// away. The clocks of the servers must not differ by as much. 0: 30 s
	Late time.Duration
}

// Bus is an [l3.Bus] over NATS JetStream. Several may serve one database, in one process or many,
// if they are connected to one NATS.
type Bus struct {
	js      jetstream.JetStream
	control l3.ControlPlane
	options Options
	log     *slog.Logger

	mu       sync.Mutex
	opened   bool
	closed   bool
	sources  []*nats.Conn // of [Bus.Source]
	end      func()       // ends what [OpenEmbedded] has begun; nil: nothing
	streams  map[string]jetstream.Stream
	identity identity
	trouble  error // why this process must not publish; nil: it may
}

// Open creates the streams that are missing, and opens the bus for a control plane. It waits for
// servers that are not ready; see [Options]. It fails with [OtherDeploymentError] when the bus
// belongs to another deployment, and with [l3.OtherBusError] while another bus serves the database.
// The bus does not close the connection.
func Open(ctx context.Context, nc *nats.Conn, control l3.ControlPlane, o Options) (*Bus, error) {
	o.Replicas = max(o.Replicas, 1)
	if o.Lifetime == 0 {
		o.Lifetime = 24 * time.Hour
	}
	if o.Server == "" {
		o.Server = claim.ServerName()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open bus: %w", err)
	}
	b := &Bus{js: js, control: control, options: o, log: o.Logger, streams: map[string]jetstream.Stream{}}
	if err := b.openFirst(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// OpenEmbedded starts a server in this process and opens a bus on it; see [Open]. Close of the bus
// shuts the server down.
func OpenEmbedded(ctx context.Context, c ServerConfig, control l3.ControlPlane, o Options) (*Bus, error) {
	server, err := StartServer(c)
	if err != nil {
		return nil, err
	}
	nc, err := Connect(Login{Server: server, Logger: o.Logger})
	if err != nil {
		server.Shutdown()
		return nil, err
	}
	end := func() {
		disconnect(nc)
		server.Shutdown()
	}
	o.Embedded = server
	b, err := Open(ctx, nc, control, o)
	if err != nil {
		end()
		return nil, err
	}
	b.end = end
	return b, nil
}

// disconnect closes a connection and returns when it is closed.
func disconnect(nc *nats.Conn) {
	if nc.IsClosed() {
		return
	}
	closed := nc.StatusChanged(nats.CLOSED)
	nc.Close()
	<-closed
}

// openFirst opens the bus, unless its servers need longer than the options allow.
func (b *Bus) openFirst(ctx context.Context) error {
	patience := b.options.Patience
	if patience == 0 {
		return b.open(ctx)
	}
	attempt, cancel := context.WithTimeout(ctx, max(patience, 0))
	defer cancel()
	err := attempt.Err()
	if err == nil {
		err = b.open(attempt)
	}
	if errors.Is(err, l3.ErrOtherBus) && ctx.Err() == nil {
		err = b.open(ctx) // which finds out whether that bus is in use
	}
	if err == nil || ctx.Err() != nil || attempt.Err() == nil || errors.Is(err, l3.ErrOtherBus) {
		return err
	}
	if patience > 0 {
		b.log.Warn("the bus is not ready yet", "err", err)
	}
	return nil
}

// open waits until the bus can be opened, or ctx ends.
func (b *Bus) open(ctx context.Context) error {
	for {
		err := b.tryOpen(ctx)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.opened = true
			return nil
		}
		if !unready(err) || !sleep(ctx, 200*time.Millisecond) {
			return fmt.Errorf("open bus: %w", err)
		}
	}
}

func (b *Bus) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// Run implements [l3.Bus]. Before anything else it compares the bus with the database. It fails
// when the connection is closed, and when another deployment has taken the bus over.
func (b *Bus) Run(ctx context.Context) error {
	if !b.isOpen() {
		err := b.open(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was given up, because all of this ends
		}
		if err != nil {
			return err
		}
		b.log.Info("the bus is ready")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return newPublisher(b.control, b).Run(ctx) })
	g.Go(func() error { return newConsumer(b.control, b).Run(ctx) })
	return g.Wait()
}

// Source implements [l3.Bus]. The bus must be embedded; see [Options].
func (b *Bus) Source(host string) (agent.Source, error) {
	server := b.options.Embedded
	if server == nil {
		return nil, fmt.Errorf("open source of host %s: the bus is not in this process", host)
	}
	if err := agent.CheckHostName(host); err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	nc, err := Connect(Login{Server: server, Host: host, Password: Credential(server.config.Secret, host), Logger: b.log})
	if err != nil {
		return nil, fmt.Errorf("open source of host %s: %w", host, err)
	}
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.sources = append(b.sources, nc)
	}
	b.mu.Unlock()
	if closed {
		disconnect(nc)
		return nil, fmt.Errorf("open source of host %s: the bus is closed", host)
	}
	return NewSource(nc, host, b.log)
}

// releaseTime is how long Close waits for the database.
const releaseTime = 2 * time.Second

// Close implements [l3.Bus].
func (b *Bus) Close() error {
	b.mu.Lock()
	sources, end := b.sources, b.end
	b.sources, b.end, b.closed = nil, nil, true
	b.mu.Unlock()
	for _, nc := range sources {
		disconnect(nc)
	}
	if b.isOpen() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
		defer cancel()
		if err := b.release(ctx); err != nil {
			b.log.Debug("cannot release the claim of the bus on the database", "err", err)
		}
	}
	if end != nil {
		end()
	}
	return nil
}

func (b *Bus) tryOpen(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, c := range b.configs() {
		if err := b.ensureStream(attempt, c); err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, err)
		}
	}
	if err := b.identify(attempt); err != nil {
		return err
	}
	return claim.First(ctx, b.log, b.claim)
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

// Ready implements [l3.Bus]. It returns an error while the bus or the database cannot be written,
// the bus does not have all routers yet, or this process must not publish.
func (b *Bus) Ready(ctx context.Context) error {
	if !b.isOpen() {
		return errors.New("waiting for a quorum of servers")
	}
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
	if err == nil {
		err = b.claim(ctx)
	}
	return err
}

// CaughtUp implements [l3.Bus]. Any process may have taken the heartbeats.
func (b *Bus) CaughtUp(ctx context.Context) error {
	if !b.isOpen() {
		return errors.New("waiting for a quorum of servers")
	}
	mark, err := b.probe(ctx)
	if err != nil {
		return err
	}
	for pause := time.Millisecond; ; pause *= 2 {
		consumer, err := b.js.Consumer(ctx, streamOf(bucketAgents), durable)
		if err != nil {
			return fmt.Errorf("nobody takes heartbeats: %w", err)
		}
		if consumer.CachedInfo().AckFloor.Stream >= mark {
			return nil
		}
		if !sleep(ctx, pause) {
			return fmt.Errorf("heartbeats wait to be taken: %w", ctx.Err())
		}
	}
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
	if conflicts(err) {
		return errChanged
	}
	return err
}

// conflicts reports whether a key was not written because it has another sequence number than the
// write expected. A cluster has a second error for that: another write of the key is on its way to
// its servers.
func conflicts(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
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

var _ l3.Bus = (*Bus)(nil)
