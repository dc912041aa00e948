package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/httpserver"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// Server is a control plane. Its methods may be called concurrently, but for Run and Close.
type Server struct {
	config  Config
	own     *sqlstore.Store // nil: Config.Store is the caller's
	service *service.Service
	bus     l3.Bus
	metrics *metrics
	handler http.Handler
	ran     atomic.Bool
	close   func() error
}

// ErrRan is returned by the second call of [Server.Run].
var ErrRan = errors.New("the server was run already")

// Open opens the store and the bus, and checks everything that can be checked. If it fails, nothing
// of that stays. ctx bounds Open only.
//
// From Open to Close, or for [l3.BusClaimTime] after a crash, the store is claimed by the bus: a
// server with another bus on the same store is refused, or waits for the end of a claim that is not
// renewed.
func Open(ctx context.Context, c Config) (_ *Server, err error) {
	c, err = c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open server: %w", err)
	}
	s := &Server{config: c}
	s.close = sync.OnceValue(s.closeAll)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open server: %w", err), s.close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	c := &s.config
	if c.Store == nil {
		if s.own, err = sqlstore.Open(ctx, "sqlite::memory:"); err != nil {
			return err
		}
		c.Store = s.own
	}
	if s.service, err = service.New(c.service()); err != nil {
		return err
	}
	if s.metrics, err = newMetrics(c.Metrics, c.Store, s.service); err != nil {
		return err
	}
	if s.handler, err = s.newHandler(); err != nil {
		return err
	}
	bus, err := c.Bus(ctx, counting{s.service, s.metrics})
	if err != nil {
		return err
	}
	if bus == nil {
		return invalid("Config.Bus: it returned no bus")
	}
	s.bus = bus
	return nil
}

// newHandler returns the API, within its limits.
func (s *Server) newHandler() (http.Handler, error) {
	c := s.config
	h := rest.New(rest.Config{Service: s.service, Auth: c.Auth, URL: c.URL, Limits: c.Limits.Limits, Logger: c.Logger})
	if c.Middleware != nil {
		if h = c.Middleware(h); h == nil {
			return nil, invalid("Config.Middleware: it returned no handler")
		}
	}
	h = &requests{h, s.metrics.requests, c.Logger}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), c.Limits.Request)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	}), nil
}

// Handler returns the API. It works from Open until Close, whether Run works or not. Agents
// hear of a change when Run works; until then it waits in the store.
func (s *Server) Handler() http.Handler { return s.handler }

// Service returns the service behind the API.
func (s *Server) Service() *service.Service { return s.service }

// Login returns the source of the agent of a host in this process, which needs no port. See
// [l3.Bus] for what it promises. It fails if the bus is not in this process.
func (s *Server) Login(host string) (agent.Source, error) { return s.bus.Source(host) }

// readyTime is for how long Ready waits for the database, and for the bus.
const readyTime = 5 * time.Second

// Ready returns why requests, or agents, cannot be served now: the database cannot be read or
// written, or the bus is not ready. It is an error while Run does not work. It returns within 10 s.
func (s *Server) Ready(ctx context.Context) error {
	if err := within(ctx, s.databaseReady); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if err := within(ctx, s.bus.Ready); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	return nil
}

func within(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	return ready(ctx)
}

// databaseReady reads the database. That it can be written too is up to the bus, which renews its
// claim.
func (s *Server) databaseReady(ctx context.Context) error {
	return s.config.Store.View(ctx, func(tx l3.Tx) error {
		_, err := tx.Agents().Count(ctx)
		return err
	})
}

// Run serves agents, moves routers away from agents that are dead, and serves the API at
// [Config.Listener], until ctx ends. Then it returns nil. If a part fails, Run ends the others and
// returns the error. It is called once: a second call is [ErrRan], and leaves the first alone.
//
// Agents in this process should end first, so that their last reports are heard.
func (s *Server) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return fmt.Errorf("run server: %w", ErrRan)
	}
	c := s.config
	failover := service.Failover{
		Service: s.service, DownTime: c.AgentDownTime, Rate: c.FailoverRate, Hearing: s.bus.CaughtUp, Moved: s.metrics.moved, Logger: c.Logger,
	}
	parts := []func(context.Context) error{s.bus.Run, failover.Run}
	if c.Listener != nil {
		parts = append(parts, httpserver.New(c.Listener, s.handler, c.limits(), c.Logger).Serve)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range parts {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}

// Close closes the bus, which ends the watches of all sources, and what Open has opened. Run must
// have returned. What was acknowledged is on the disk when it returns. A second call does nothing.
func (s *Server) Close() error { return s.close() }

func (s *Server) closeAll() (err error) {
	if s.bus != nil {
		err = s.bus.Close()
		if s.config.Listener != nil {
			_ = s.config.Listener.Close() // it is closed already, where it has been served
		}
	}
	if s.metrics != nil {
		s.metrics.unregister()
	}
	if s.own != nil {
		err = errors.Join(err, s.own.Close())
	}
	return err
}
