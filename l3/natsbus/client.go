package natsbus

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// Client is the [agent.Source] of a host over connections that it makes itself, while [Client.Run]
// works. A host that boots before its servers has its routers meanwhile: a method waits for a
// connection, or for the end of its context. The methods may be called concurrently.
type Client struct {
	login Login
	log   *slog.Logger

	mu    sync.Mutex
	now   *connection   // nil: there is none
	there chan struct{} // closed when there is one
}

// connection is one that works, or may again, until ctx ends.
type connection struct {
	*Source
	ctx context.Context
}

// NewClient returns the source of the host of a login.
func NewClient(l Login) *Client {
	if l.Logger == nil {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{login: l, log: l.Logger, there: make(chan struct{})}
}

// Run keeps a connection until ctx ends, and then returns nil. It waits for servers that are not
// there yet, and connects again whenever a connection is lost. It fails when the bus refuses the
// login before it ever accepted it, because the login is wrong then. A refusal later is tried
// again: the servers may have another secret for a while.
func (c *Client) Run(ctx context.Context) error {
	if c.login.Host == "" {
		return errors.New("connect to bus: Login.Host is missing")
	}
	for accepted, said := false, false; ; {
		nc, err := c.connect(ctx)
		if err == nil {
			accepted, said = true, false
			err = c.use(ctx, nc)
		} else if refused(err) && !accepted {
			return err
		}
		if err != nil && !said && ctx.Err() == nil {
			c.log.Warn("cannot connect to the message queue; routers stay as they were applied last", "err", err)
			said = true
		}
		if !sleep(ctx, 500*time.Millisecond) {
			return nil
		}
	}
}

// connect returns when ctx ends, though connecting takes its time.
func (c *Client) connect(ctx context.Context) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := Connect(c.login)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// use has callers use a connection until ctx ends, or until it is closed for good, which happens
// when the bus refuses a login that it accepted before.
func (c *Client) use(ctx context.Context, nc *nats.Conn) error {
	defer nc.Close()
	closed := nc.StatusChanged(nats.CLOSED)
	bus, err := NewSource(nc, c.login.Host, c.log)
	if err != nil || nc.IsClosed() { // before anybody watched
		return errors.Join(err, nc.LastError())
	}
	c.log.Info("connected to the message queue", "server", c.login.server(nc))
	alive, end := context.WithCancel(ctx)
	defer end()
	c.set(&connection{bus, alive})
	defer c.set(nil)
	select {
	case <-closed:
		return errors.Join(errors.New("the connection was closed for good"), nc.LastError())
	case <-ctx.Done():
		return nil
	}
}

// refused tells a wrong login from a bus that is not there.
func refused(err error) bool {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return true
	}
	for _, reason := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrSecureConnRequired, nats.ErrSecureConnWanted, nats.ErrNkeysNotSupported,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

func (c *Client) set(now *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now = now; now == nil {
		c.there = make(chan struct{})
		return
	}
	close(c.there)
}

// wait returns the connection as soon as there is one.
func (c *Client) wait(ctx context.Context) (*connection, error) {
	for {
		c.mu.Lock()
		now, there := c.now, c.there
		c.mu.Unlock()
		if now != nil {
			return now, nil
		}
		select {
		case <-there:
		case <-ctx.Done():
			return nil, errors.Join(errors.New("no connection to the message queue"), ctx.Err())
		}
	}
}

// Watch is that of [Source]. It ends with the connection, and the next one is to be watched then.
func (c *Client) Watch(ctx context.Context, session agent.Session) (<-chan agent.Event, error) {
	now, err := c.wait(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(now.ctx, cancel)
	events, err := now.Watch(ctx, session)
	if err != nil {
		cancel()
	}
	return events, err
}

// Report is that of [Source].
func (c *Client) Report(ctx context.Context, r agent.Report) error {
	now, err := c.wait(ctx)
	if err != nil {
		return err
	}
	return now.Report(ctx, r)
}

// Sight is that of [Source].
func (c *Client) Sight(ctx context.Context, seen agent.Sightings) error {
	now, err := c.wait(ctx)
	if err != nil {
		return err
	}
	return now.Sight(ctx, seen)
}

// Heartbeat is that of [Source].
func (c *Client) Heartbeat(ctx context.Context, h agent.Heartbeat) error {
	now, err := c.wait(ctx)
	if err != nil {
		return err
	}
	return now.Heartbeat(ctx, h)
}

var _ agent.Source = (*Client)(nil)
