package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/l3"
)

// Consumer takes the agents' words to the service. Several may run; each word goes to one of them, and to another when that one fails.
type Consumer struct {
	hosting l3.Hosting
	bus     *Bus

	// To be set before Run.

	// Late is the age at which a heartbeat says nothing any more: it was sent before the control plane was away. The clocks of the
	// servers must not differ by as much. 0: 30 s
	Late     time.Duration
	Heard    func()       // told of every heartbeat that was taken; nil: nobody
	Reported func()       // told of every report that was taken; nil: nobody
	Logger   *slog.Logger // nil: nothing is logged
}

// NewConsumer makes one. Nothing runs before [Consumer.Run].
func NewConsumer(hosting l3.Hosting, bus *Bus) *Consumer {
	return &Consumer{hosting: hosting, bus: bus}
}

const (
	durable = "control"
	readers = 4 // of each stream

	// takeTime is for how long the service may be busy with one word; then it is tried again, by another process if there is one.
	takeTime = 5 * time.Second
	// leaveTime is for how long a process whose service fails leaves the agents' words to the others.
	leaveTime = time.Second
)

// Run works until ctx ends, and then returns nil.
func (c *Consumer) Run(ctx context.Context) error {
	r := *c
	if r.Late == 0 {
		r.Late = 30 * time.Second
	}
	for _, told := range []*func(){&r.Heard, &r.Reported} {
		if *told == nil {
			*told = func() {}
		}
	}
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

// read hands a stream's messages on, and begins again whenever that ends.
func (c *Consumer) read(ctx context.Context, stream string, take func(context.Context, jetstream.Msg) error) {
	for ctx.Err() == nil {
		err := c.readOnce(ctx, stream, take)
		if ctx.Err() != nil {
			return
		}
		c.Logger.Warn("the agents' words wait", "stream", stream, "err", err)
		if !sleep(ctx, 250*time.Millisecond) {
			return
		}
	}
}

// CaughtUp returns when every heartbeat that the bus had at the time of the call was taken, by whichever process. An error says that agents cannot be
// heard now: the bus takes nothing, nobody reads it, or what was read cannot be stored. It is what [l3.Failover] asks for.
func (c *Consumer) CaughtUp(ctx context.Context) error {
	mark, err := c.bus.js.Publish(ctx, subjectOf(bucketAgents, keyProbe), nil)
	if err != nil {
		return fmt.Errorf("the bus takes no heartbeats: %w", err)
	}
	for pause := time.Millisecond; ; pause *= 2 {
		consumer, err := c.bus.js.Consumer(ctx, streamOf(bucketAgents), durable)
		if err != nil {
			return fmt.Errorf("nobody takes heartbeats: %w", err)
		}
		if consumer.CachedInfo().AckFloor.Stream >= mark.Sequence {
			return nil
		}
		if !sleep(ctx, pause) {
			return fmt.Errorf("heartbeats wait to be taken: %w", ctx.Err())
		}
	}
}

func (c *Consumer) readOnce(ctx context.Context, stream string, take func(context.Context, jetstream.Msg) error) error {
	consumer, err := c.bus.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * takeTime, MaxAckPending: 1000,
	})
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
		word, cancel := context.WithTimeout(ctx, takeTime)
		err = take(word, m)
		cancel()
		if err := c.settle(ctx, m, err); err != nil {
			giveBack(messages)
			sleep(ctx, leaveTime)
			return err
		}
	}
}

// giveBack leaves to others what was fetched already.
func giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		m, err := messages.Next()
		if err != nil {
			return
		}
		_ = m.Nak() // else they get it later
	}
}

// errNonsense is of a message that will never be of use.
var errNonsense = errors.New("it cannot be understood")

// settle acknowledges a message, or has it come again; then it fails with the reason.
func (c *Consumer) settle(ctx context.Context, m jetstream.Msg, err error) error {
	var refusal *l3.Error
	var answer error
	switch {
	case err == nil:
		answer = m.Ack()
	case errors.Is(err, errNonsense) || errors.As(err, &refusal):
		c.Logger.Error("an agent's word is dropped", "subject", m.Subject(), "err", err)
		answer, err = m.Term(), nil
	default:
		answer = m.Nak()
	}
	if answer != nil && ctx.Err() == nil {
		c.Logger.Debug("an agent's word will come again", "subject", m.Subject(), "err", answer)
	}
	return err
}

func (c *Consumer) report(ctx context.Context, m jetstream.Msg) error {
	host, ok := name(strings.TrimPrefix(m.Subject(), subjectReports))
	if !ok {
		return fmt.Errorf("%w: its subject is no host's", errNonsense)
	}
	r, err := decodeReport(host, m.Data())
	if err != nil {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	r.At = meta.Timestamp // several readers, and what comes again, mix up their order
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
		return fmt.Errorf("%w: its subject is no host's", errNonsense)
	}
	h, err := decodeHeartbeat(host, m.Data())
	if err != nil {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", errNonsense, err)
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

// setPeer keeps the address of a host that has one among the tunnel peers, for a lifetime from now on. It writes when the address is another, and
// before half of that is over.
func (b *Bus) setPeer(ctx context.Context, h l3.Heartbeat) error {
	text, _ := h.Configurations[TunnelAddress].(string)
	if text == "" {
		return nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errNonsense, TunnelAddress, err)
	}
	value, err := json.Marshal(peer{h.Host, addr})
	if err != nil {
		return err
	}
	subject := subjectOf(bucketPeers, Token(h.Host))
	was, err := b.peers.GetLastMsgForSubject(ctx, subject)
	if err == nil && string(was.Data) == string(value) && time.Since(was.Time) < b.options.Lifetime/2 {
		return nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	_, err = b.js.Publish(ctx, subject, value)
	return err
}
