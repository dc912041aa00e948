package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// source is an [agent.Source] over a connection that may not be there yet: a host that boots before
// its servers has its routers meanwhile. Who asks waits.
type source struct {
	login natsbus.Login
	log   *slog.Logger

	mu    sync.Mutex
	now   *connection   // nil: there is none
	there chan struct{} // closed when there is one
}

// connection is one that works, or may again, until ctx ends.
type connection struct {
	*natsbus.Source
	ctx context.Context
}

func newSource(l natsbus.Login, log *slog.Logger) *source {
	l.Logger = log
	return &source{login: l, log: log, there: make(chan struct{})}
}

// keep has a connection until ctx ends, and then returns nil. It fails when the bus refuses the
// login before it ever accepted it: that is a mistake of whoever started us. Later it may be one of
// somebody else's, who puts it right.
func (s *source) keep(ctx context.Context) error {
	for accepted, said := false, false; ; {
		nc, err := s.connect(ctx)
		if err == nil {
			accepted, said = true, false
			err = s.use(ctx, nc)
		} else if refused(err) && !accepted {
			return s.loginRefused(err)
		}
		if err != nil && !said && ctx.Err() == nil {
			s.log.Warn("cannot connect to the message queue; routers stay as they were applied last", "err", err)
			said = true
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// connect returns when ctx ends, though connecting takes its time.
func (s *source) connect(ctx context.Context) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := natsbus.Connect(s.login)
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
func (s *source) use(ctx context.Context, nc *nats.Conn) error {
	defer nc.Close()
	closed := nc.StatusChanged(nats.CLOSED)
	bus, err := natsbus.NewSource(nc, s.login.Host, s.log)
	if err != nil || nc.IsClosed() { // before anybody watched
		return errors.Join(err, nc.LastError())
	}
	s.log.Info("connected to the message queue", "server", s.server(nc))
	alive, end := context.WithCancel(ctx)
	defer end()
	s.set(&connection{bus, alive})
	defer s.set(nil)
	select {
	case <-closed:
		return errors.Join(errors.New("the connection was closed for good"), nc.LastError())
	case <-ctx.Done():
		return nil
	}
}

// server names the server that a connection leads to.
func (s *source) server(nc *nats.Conn) string {
	if s.login.Server != nil {
		return "in this process"
	}
	return nc.ConnectedUrlRedacted()
}

// loginRefused says what to do about a refused login.
func (s *source) loginRefused(err error) error {
	if !errors.Is(err, nats.ErrAuthorization) {
		return err
	}
	return fmt.Errorf("%w: the password is not that of host %s: on the server, in its directory or with its "+
		"--bus-secret-file, server credential %s prints it; "+
		"give it with --bus-password-file, or the right name with --host", err, s.login.Host, s.login.Host)
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

func (s *source) set(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now = c; c == nil {
		s.there = make(chan struct{})
		return
	}
	close(s.there)
}

// wait returns the connection as soon as there is one.
func (s *source) wait(ctx context.Context) (*connection, error) {
	for {
		s.mu.Lock()
		now, there := s.now, s.there
		s.mu.Unlock()
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

// Watch is [agent.Source]'s. It ends with the connection: the next one is to be watched then.
func (s *source) Watch(ctx context.Context, session agent.Session) (<-chan agent.Event, error) {
	c, err := s.wait(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(c.ctx, cancel)
	events, err := c.Watch(ctx, session)
	for begin := time.Now(); errors.Is(err, natsbus.ErrNoSessions) && time.Since(begin) < sessionPatience && ctx.Err() == nil; {
		time.Sleep(sessionPatience / 100)
		events, err = c.Watch(ctx, session)
	}
	if err != nil {
		cancel()
	}
	return events, err
}

// sessionPatience is how long a control plane that is starting may take to open sessions before
// that is an error.
const sessionPatience = 5 * time.Second

// Report is [agent.Source]'s.
func (s *source) Report(ctx context.Context, r agent.Report) error {
	c, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return c.Report(ctx, r)
}

// Heartbeat is [agent.Source]'s.
func (s *source) Heartbeat(ctx context.Context, h agent.Heartbeat) error {
	c, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return c.Heartbeat(ctx, h)
}
