package natsbus

import (
	"cmp"
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

// consumer hands what agents send, heartbeats and reports, to the control plane. Several may run;
// each message goes to one of them, and to another when that one fails.
type consumer struct {
	control l3.Reporting
	bus     *Bus
	late    time.Duration
	log     *slog.Logger
	limit   *limit
}

func newConsumer(control l3.Reporting, bus *Bus) *consumer {
	return &consumer{
		control: control, bus: bus, late: cmp.Or(bus.options.Late, 30*time.Second), log: bus.log, limit: newLimit(time.Minute),
	}
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
func (c *consumer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() { c.read(ctx, streamReports, c.report) })
		wg.Go(func() { c.read(ctx, streamOf(bucketAgents), c.heartbeat) })
	}
	wg.Wait()
	return nil
}

// read hands on the messages of a stream, and begins again when reading fails.
func (c *consumer) read(ctx context.Context, stream string, take func(context.Context, jetstream.Msg) error) {
	for ctx.Err() == nil {
		err := c.readOnce(ctx, stream, take)
		if ctx.Err() != nil {
			return
		}
		c.log.Warn("cannot read what agents send", "stream", stream, "err", err)
		if !sleep(ctx, 250*time.Millisecond) {
			return
		}
	}
}

func (c *consumer) readOnce(ctx context.Context, stream string, take func(context.Context, jetstream.Msg) error) error {
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
func (c *consumer) consumer(ctx context.Context, stream string) (jetstream.Consumer, error) {
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
func (c *consumer) settle(ctx context.Context, m jetstream.Msg, err error) error {
	var refusal *l3.Error
	var answer error
	switch {
	case err == nil:
		answer = m.Ack()
	case errors.Is(err, l3.ErrHostTaken):
		c.drop(m, err)
		answer, err = m.Term(), nil
	case errors.Is(err, l3.ErrTunnelAddress):
		c.drop(m, err)
		answer, err = m.Ack(), nil // the heartbeat itself was taken
	case errors.Is(err, errMalformed) || errors.As(err, &refusal):
		c.drop(m, err)
		answer, err = m.Term(), nil
	default:
		answer = m.Nak()
	}
	if answer != nil && ctx.Err() == nil {
		c.log.Debug("a message of an agent will be delivered again", "subject", m.Subject(), "err", answer)
	}
	return err
}

// drop logs why a message, or its tunnel address, is ignored: once a minute for each subject,
// because an agent repeats what it sends.
func (c *consumer) drop(m jetstream.Msg, err error) {
	if c.limit.allow(m.Subject()) {
		c.log.Error("ignoring what an agent sent", "subject", m.Subject(), "err", err)
	}
}

func (c *consumer) report(ctx context.Context, m jetstream.Msg) error {
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
	// Several readers, and redeliveries, change the order.
	if len(r.Sightings) > 0 {
		seen := r.sightings()
		seen.At = meta.Timestamp
		return c.control.Sight(ctx, seen)
	}
	said := r.report()
	said.At = meta.Timestamp
	return c.control.Report(ctx, said)
}

func (c *consumer) heartbeat(ctx context.Context, m jetstream.Msg) error {
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
	if time.Since(meta.Timestamp) > c.late {
		return nil
	}
	if _, err := c.control.Heartbeat(ctx, h); err != nil {
		return err
	}
	return c.bus.setPeer(ctx, h)
}
