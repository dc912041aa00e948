package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/backoff"
)

// Source is an [agent.Source] over the bus.
type Source struct {
	nc   *nats.Conn
	host string
	log  *slog.Logger
}

// NewSource returns the source of a host. There is one at a time: a second one takes the messages
// of the first, which begins again, and so on. It does not close the connection. log may be nil.
func NewSource(nc *nats.Conn, host string, log *slog.Logger) (*Source, error) {
	if host == "" {
		return nil, errors.New("open source of routers: the host is missing")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{nc, host, log}, nil
}

// Watch opens the session of the host and yields its routers. It waits while no control plane opens
// sessions. After an interruption it goes on where it was. It closes the channel only where it
// cannot, or when somebody has closed the connection.
func (s *Source) Watch(ctx context.Context, session agent.Session) (<-chan agent.Event, error) {
	session.Host = s.host
	answer, err := s.wait(ctx, sessionRequest{Session: session})
	if err != nil {
		return nil, fmt.Errorf("watch the routers of host %s: %w", s.host, err)
	}
	ctx, stop := context.WithCancel(ctx)
	w := &watch{Source: s, session: session, events: make(chan agent.Event), spoilt: map[string]bool{}}
	w.begin(answer)
	go func() {
		defer close(w.events)
		defer stop()
		w.run(ctx)
	}()
	return w.events, nil
}

// wait opens the session as soon as a control plane does so.
func (s *Source) wait(ctx context.Context, r sessionRequest) (sessionAnswer, error) {
	pause := backoff.Backoff{Pause: 100 * time.Millisecond, Longest: 5 * time.Second, Spread: 0.5}
	for first := true; ; first = false {
		a, err := s.open(ctx, r)
		if err == nil || ctx.Err() != nil || s.nc.IsClosed() || errors.Is(err, agent.ErrRefused) {
			return a, err
		}
		if first {
			s.log.Warn("the session of the host waits for a control plane", "host", s.host, "err", err)
		}
		if pause.Wait(ctx) != nil {
			return a, errors.Join(err, ctx.Err())
		}
	}
}

// ErrNoSessions is returned by [Source.Watch] while no control plane is connected to the bus, such
// as when it is starting.
var ErrNoSessions = errors.New("no control plane opens sessions")

// open asks the control plane for the session of the host.
func (s *Source) open(ctx context.Context, r sessionRequest) (a sessionAnswer, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	ctx, end := whileConnected(ctx, s.nc)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	m, err := s.nc.RequestWithContext(ctx, localSession, text)
	if errors.Is(err, nats.ErrNoResponders) {
		return a, ErrNoSessions
	}
	if err != nil {
		return a, fmt.Errorf("open session: %w", err)
	}
	err = json.Unmarshal(m.Data, &a)
	switch {
	case err != nil:
		return a, fmt.Errorf("open session: read the answer: %w", err)
	case a.Refused != "":
		return a, fmt.Errorf("%w: %s", agent.ErrRefused, a.Refused)
	case a.Error != "":
		return a, fmt.Errorf("open session: %s", a.Error)
	case a.ID == "" || a.Filling == "" || a.Routers == 0 || a.Peers == 0:
		return a, fmt.Errorf("open session: the answer %s is incomplete", m.Data)
	}
	return a, nil
}

// Report returns when the report is stored.
func (s *Source) Report(ctx context.Context, r agent.Report) error {
	r.Host = s.host
	text, err := encodeReport(r)
	if err == nil {
		err = s.store(ctx, localReport, text)
	}
	if err != nil {
		return fmt.Errorf("report router %s: %w", r.RouterID, err)
	}
	return nil
}

// Sight returns when the sightings are stored.
func (s *Source) Sight(ctx context.Context, seen agent.Sightings) error {
	seen.Host = s.host
	text, err := encodeSightings(seen)
	if err == nil {
		err = s.store(ctx, localReport, text)
	}
	if err != nil {
		return fmt.Errorf("report sightings on host %s: %w", s.host, err)
	}
	return nil
}

// Heartbeat returns when the heartbeat is stored.
func (s *Source) Heartbeat(ctx context.Context, h agent.Heartbeat) error {
	h.Host = s.host
	text, err := encodeHeartbeat(h)
	if err == nil {
		err = s.store(ctx, localHeartbeat, text)
	}
	if err != nil {
		return fmt.Errorf("send heartbeat of host %s: %w", s.host, err)
	}
	return nil
}

// store sends a message and waits until JetStream has acknowledged it.
func (s *Source) store(ctx context.Context, subject string, text []byte) error {
	ctx, end := whileConnected(ctx, s.nc)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	m, err := s.nc.RequestWithContext(ctx, subject, text)
	if err != nil {
		return err
	}
	var ack struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return fmt.Errorf("read the acknowledgement: %w", err)
	case ack.Error != nil:
		return ack.Error
	case ack.Stream == "":
		return fmt.Errorf("%q is no acknowledgement", m.Data)
	}
	return nil
}

var _ agent.Source = (*Source)(nil)
