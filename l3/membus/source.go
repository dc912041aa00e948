package membus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/l3"
)

// source is an [agent.Source].
type source struct {
	bus  *Bus
	host string
}

// Watch implements [agent.Source]. It waits while the bus does not run.
func (s *source) Watch(ctx context.Context, session agent.Session) (<-chan agent.Event, error) {
	session.Host = s.host
	for pause := (backoff.Backoff{Pause: 100 * time.Millisecond, Longest: 5 * time.Second}); ; {
		w, err := s.open(ctx, session)
		if err == nil {
			return w.events, nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrClosed) || errors.Is(err, agent.ErrRefused) {
			return nil, fmt.Errorf("watch the routers of host %s: %w", s.host, err)
		}
		s.bus.log.Warn("the session of the host waits for the control plane", "host", s.host, "err", err)
		_ = pause.Wait(ctx) // the next attempt fails if ctx ended
	}
}

// open opens a session when the bus runs. The sessions of a host are opened one after another, so
// that the last one that the control plane has allowed ends the others.
func (s *source) open(ctx context.Context, session agent.Session) (*watch, error) {
	b := s.bus
	running, err := b.whenRunning(ctx)
	if err != nil {
		return nil, err
	}
	asking, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(running, end)()
	turn := b.turn(s.host)
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-asking.Done():
		return nil, ErrNotRunning
	}
	err = b.control.Attach(asking, session)
	if errors.Is(err, l3.ErrHostTaken) {
		b.log.Warn("refused the session of an agent", "host", s.host, "machine", session.Machine, "err", err)
		return nil, fmt.Errorf("%w: %w", agent.ErrRefused, err)
	}
	if err != nil {
		return nil, err
	}
	deployment, err := b.control.Deployment(asking)
	if err != nil {
		return nil, err
	}
	return b.begin(ctx, s.host, deployment.ID)
}

// whenRunning waits until the bus runs, and returns the context of Run.
func (b *Bus) whenRunning(ctx context.Context) (context.Context, error) {
	for {
		running, changed, err := b.state()
		if err == nil || errors.Is(err, ErrClosed) {
			return running, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// turn returns what has room for one session of a host that is being opened.
func (b *Bus) turn(host string) chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opening[host] == nil {
		b.opening[host] = make(chan struct{}, 1)
	}
	return b.opening[host]
}

// Report implements [agent.Source]. A report that the control plane refuses is dropped: it would be
// refused again.
func (s *source) Report(ctx context.Context, r agent.Report) error {
	r.Host, r.At = s.host, time.Now()
	if err := s.hand(func() error { return s.bus.control.Report(ctx, r) }); err != nil {
		return fmt.Errorf("report router %s: %w", r.RouterID, err)
	}
	return nil
}

// Sight implements [agent.Source]. Sightings that the control plane refuses are dropped.
func (s *source) Sight(ctx context.Context, seen agent.Sightings) error {
	seen.Host, seen.At = s.host, time.Now()
	if err := s.hand(func() error { return s.bus.control.Sight(ctx, seen) }); err != nil {
		return fmt.Errorf("report sightings on host %s: %w", s.host, err)
	}
	return nil
}

// hand hands something to the control plane, unless the bus serves nobody.
func (s *source) hand(take func() error) error {
	_, _, err := s.bus.state()
	if err == nil {
		err = take()
	}
	var refusal *l3.Error
	if errors.As(err, &refusal) || errors.Is(err, l3.ErrHostTaken) {
		s.bus.log.Error("ignoring what an agent sent", "host", s.host, "err", err)
		return nil
	}
	return err
}

// Heartbeat implements [agent.Source].
func (s *source) Heartbeat(ctx context.Context, h agent.Heartbeat) error {
	h.Host = s.host
	if err := s.bus.heartbeat(ctx, h, time.Now()); err != nil {
		return fmt.Errorf("send heartbeat of host %s: %w", s.host, err)
	}
	return nil
}

var _ agent.Source = (*source)(nil)
