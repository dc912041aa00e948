package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/l3"
)

// Consumer hands what agents send, heartbeats and reports, to the service. Several may run; each
// message goes to one of them, and to another when that one fails.
type Consumer struct {
	hosting l3.Hosting
	bus     *Bus

	// To be set before Run.

	// Late is the age at which a heartbeat is ignored: it was sent before the control plane was
	// away. The clocks of the servers must not differ by as much. 0: 30 s
	Late     time.Duration
	Heard    func()       // called for each heartbeat that was taken; nil: not called
	Reported func()       // called for each report that was taken; nil: not called
	Refused  func()       // called for each heartbeat of a host name that another machine uses; nil: not called
	Logger   *slog.Logger // nil: nothing is logged

	limit *limit
}

// NewConsumer returns a consumer. Nothing runs before [Consumer.Run].
func NewConsumer(hosting l3.Hosting, bus *Bus) *Consumer {
	return &Consumer{hosting: hosting, bus: bus}
}

const (
	durable = "control"
	readers = 4 // of each stream

	// takeTime is how long the service may be busy with one message; then it is tried again, by
	// another process if there is one.
	takeTime = 5 * time.Second
	// leaveTime is how long a process whose service fails leaves the messages to the others.
	leaveTime = time.Second
)

// Run works until ctx ends, and then returns nil.
func (c *Consumer) Run(ctx context.Context) error {
	r := *c
	if r.Late == 0 {
		r.Late = 30 * time.Second
	}
	for _, called := range []*func(){&r.Heard, &r.Reported, &r.Refused} {
		if *called == nil {
			*called = func() {}
		}
	}
	r.limit = newLimit(time.Minute)
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() { r.read(ctx, streamReports, r.report) })
		wg.Go(func() { r.read(ctx, streamOf(bucketAgents), r.heartbeat) })
	}
	wg.Wait()
	return nil
}

// read hands on the messages of a stream, and begins again when reading fails.
func (c *Consumer) read(ctx context.Context, stream string, take func(context.Context, jetstream.Msg) error) {
	for ctx.Err() == nil {
		err := c.readOnce(ctx, stream, take)
		if ctx.Err() != nil {
			return
		}
		c.Logger.Warn("cannot read what agents send", "stream", stream, "err", err)
		if !sleep(ctx, 250*time.Millisecond) {
			return
		}
	}
}

// CaughtUp returns when every heartbeat that the bus had at the time of the call was taken, by
// whichever process. An error says that agents cannot be heard now: the bus stores nothing, nobody
// reads it, or what was read cannot be stored. [service.Failover] calls it.
func (c *Consumer) CaughtUp(ctx context.Context) error {
	mark, err := c.bus.probe(ctx)
	if err != nil {
		return err
	}
	for pause := time.Millisecond; ; pause *= 2 {
		consumer, err := c.bus.js.Consumer(ctx, streamOf(bucketAgents), durable)
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

func (c *Consumer) readOnce(ctx context.Context, stream string, take func(context.Context, jetstream.Msg) error) error {
	consumer, err := c.consumer(ctx, stream)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(16), jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		one, cancel := context.WithTimeout(ctx, takeTime)
		err = take(one, m)
		cancel()
		if err := c.settle(ctx, m, err); err != nil {
			giveBack(messages)
			sleep(ctx, leaveTime)
			return err
		}
	}
}

// consumer returns the consumer of all control planes. It writes only what differs: in a cluster,
// each write is one that all servers must sync, and readers ask again and again while a leader is
// missing.
func (c *Consumer) consumer(ctx context.Context, stream string) (jetstream.Consumer, error) {
	want := jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * takeTime, MaxAckPending: 1000,
	}
	consumer, err := c.bus.js.Consumer(ctx, stream, durable)
	if err == nil {
		have := consumer.CachedInfo().Config
		if have.AckPolicy == want.AckPolicy && have.AckWait == want.AckWait && have.MaxAckPending == want.MaxAckPending {
			return consumer, nil
		}
	} else if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	return c.bus.js.CreateOrUpdateConsumer(ctx, stream, want)
}

// giveBack leaves what was fetched already to other processes.
func giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		m, err := messages.Next()
		if err != nil {
			return
		}
		_ = m.Nak() // if it is lost, they get the message later
	}
}

// errMalformed is returned for a message that will never be of use.
var errMalformed = errors.New("it cannot be understood")

// settle acknowledges a message, or has it delivered again; then it returns the reason.
func (c *Consumer) settle(ctx context.Context, m jetstream.Msg, err error) error {
	var refusal *l3.Error
	var answer error
	switch {
	case err == nil:
		answer = m.Ack()
	case errors.Is(err, l3.ErrHostTaken):
		c.Refused()
		c.drop(m, err)
		answer, err = m.Term(), nil
	case errors.Is(err, errPeer):
		c.drop(m, err)
		answer, err = m.Ack(), nil // the heartbeat itself was taken
	case errors.Is(err, errMalformed) || errors.As(err, &refusal):
		c.drop(m, err)
		answer, err = m.Term(), nil
	default:
		answer = m.Nak()
	}
	if answer != nil && ctx.Err() == nil {
		c.Logger.Debug("a message of an agent will be delivered again", "subject", m.Subject(), "err", answer)
	}
	return err
}

// drop logs why a message, or its tunnel address, is ignored: once a minute for each subject,
// because an agent repeats what it sends.
func (c *Consumer) drop(m jetstream.Msg, err error) {
	if c.limit.allow(m.Subject()) {
		c.Logger.Error("ignoring what an agent sent", "subject", m.Subject(), "err", err)
	}
}

func (c *Consumer) report(ctx context.Context, m jetstream.Msg) error {
	host, ok := name(strings.TrimPrefix(m.Subject(), subjectReports))
	if !ok {
		return fmt.Errorf("%w: its subject is no host's", errMalformed)
	}
	r, err := decodeReport(host, m.Data())
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	r.At = meta.Timestamp // several readers, and redeliveries, change the order
	if err := c.hosting.Report(ctx, r); err != nil {
		return err
	}
	c.Reported()
	return nil
}

func (c *Consumer) heartbeat(ctx context.Context, m jetstream.Msg) error {
	if m.Subject() == subjectOf(bucketAgents, keyProbe) {
		return nil
	}
	host, ok := name(strings.TrimPrefix(m.Subject(), subjectOf(bucketAgents, "")))
	if !ok {
		return fmt.Errorf("%w: its subject is no host's", errMalformed)
	}
	h, err := decodeHeartbeat(host, m.Data())
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if time.Since(meta.Timestamp) > c.Late {
		return nil
	}
	if _, err := c.hosting.Heartbeat(ctx, h); err != nil {
		return err
	}
	c.Heard()
	return c.bus.setPeer(ctx, h)
}
