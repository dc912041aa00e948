package ovs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/backoff"
)

// patience is how long ovsdb-server may take to answer. It answers from memory; one that does not
// is stuck, or its host is gone, which TCP would not tell.
const patience = 5 * time.Second

const longestPause = 64 * 20 * time.Millisecond

// firstPauses are those after a loss of Open vSwitch.
func firstPauses() backoff.Backoff {
	return backoff.Backoff{Pause: longestPause / 64, Longest: longestPause}
}

// dbClient keeps a session with ovsdb-server. After the end of one it tries to begin the next, at
// growing intervals, and at once whenever somebody asks.
type dbClient struct {
	endpoints []string
	tls       *tls.Config
	home      string         // integration bridge
	began     func(*session) // told of each session

	turn    chan struct{} // holds one token: whoever took it owns what follows
	session *session
	closed  bool

	stop       context.CancelFunc
	background sync.WaitGroup
}

// connect begins the first session, and fails if that fails.
func connect(ctx context.Context, cfg Config, began func(*session)) (*dbClient, error) {
	c := &dbClient{endpoints: cfg.Endpoints, tls: cfg.TLS, home: cfg.Integration, began: began, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	s, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	lifetime, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.background.Go(func() { c.follow(lifetime, s) })
	return c, nil
}

// current returns the session. If there is none it tries to begin one.
func (c *dbClient) current(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil { // select takes either of two that are ready
		return nil, err
	}
	select {
	case <-c.turn:
	case <-ctx.Done():
		return nil, c.away(ctx.Err())
	}
	defer func() { c.turn <- struct{}{} }()
	switch {
	case c.closed:
		return nil, dataplane.ErrClosed
	case c.session != nil && !c.session.over():
		return c.session, nil
	}
	s, err := c.dial(ctx)
	if err != nil {
		return nil, c.away(err)
	}
	c.session = s
	c.began(s)
	return s, nil
}

// dial begins a session with the first endpoint that answers.
func (c *dbClient) dial(ctx context.Context) (*session, error) {
	var errs []error
	for _, e := range c.endpoints {
		s, err := begin(ctx, e, c.tls, c.home)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (c *dbClient) away(cause error) error {
	return fmt.Errorf("%w: ovsdb-server at %s does not answer: %w", dataplane.ErrDaemon, strings.Join(c.endpoints, ", "), cause)
}

// follow begins a session after the end of each.
func (c *dbClient) follow(ctx context.Context, s *session) {
	for {
		select {
		case <-s.gone:
		case <-ctx.Done():
			return
		}
		for pause := firstPauses(); ; {
			next, err := c.current(ctx)
			if err == nil {
				s = next
				break
			}
			if pause.Wait(ctx) != nil {
				return
			}
		}
	}
}

// synced returns the session with its view up to date: it has every change that anybody had
// completed when the call began.
func (c *dbClient) synced(ctx context.Context) (*session, error) {
	return c.after(ctx, (*session).sync)
}

// received returns the session with a view of the database as it was a moment ago: ovsdb-server is
// not asked whether there is more. A transaction that follows from the view finds out.
func (c *dbClient) received(ctx context.Context) (*session, error) {
	return c.after(ctx, (*session).settle)
}

// after calls fn for the session.
func (c *dbClient) after(ctx context.Context, fn func(*session, context.Context) error) (*session, error) {
	s, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	if err = fn(s, ctx); !errors.Is(err, errOver) {
		return s, c.explain(err)
	}
	// That ovsdb-server has been started anew is nobody's business.
	if s, err = c.current(ctx); err != nil {
		return nil, err
	}
	return s, c.explain(fn(s, ctx))
}

// explain makes an error of a session that ended one of the client.
func (c *dbClient) explain(err error) error {
	if errors.Is(err, errOver) {
		return c.away(err)
	}
	return err
}

// close ends the session, and all attempts to begin one. A second close is fine.
func (c *dbClient) close() {
	c.stop()
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	c.closed = true
	c.session.hangUp()
	c.background.Wait()
}
