package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/alecthomas/kong"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/sqlstore"
	"github.com/l3kit/l3kit/scheduler"
)

// server is the flags.
type server struct {
	Config  kong.ConfigFlag  `help:"YAML file to read flags from." placeholder:"FILE"`
	Version kong.VersionFlag `help:"Print the version, and end."`

	Listen   string `default:"127.0.0.1:9696" help:"Address to serve the API at. Without authentication it must be a loopback address."`
	URL      string `placeholder:"URL" help:"Of the API's root as clients see it, for links in answers. Default: as each client calls it."`
	Database string `default:"sqlite:l3kit.db" help:"sqlite:FILE, or postgres://USER@HOST/NAME. Tables are made, and brought up to date."`
	Metrics  string `placeholder:"ADDRESS" help:"Address to serve /metrics (Prometheus), /healthz and /readyz at. Default: nowhere."`

	Auth authFlags `embed:""`

	Scheduler     string         `enum:"chance,least-routers,least-loaded" default:"least-routers" help:"What chooses a router's agent: ${enum}."`
	AgentDownTime time.Duration  `default:"75s" help:"How long after its last heartbeat an agent is taken for dead."`
	MaxRoutes     int            `default:"30" help:"Extra routes that a router may have."`
	PhysicalMTU   int            `default:"1500" help:"Bytes of the network under the tunnels, which bounds networks' MTU."`
	Quota         map[string]int `placeholder:"RESOURCE=LIMIT" help:"Default quotas of projects, such as router=10; -1 is unlimited."`

	LogLevel  slog.Level `default:"info" help:"debug, info, warn or error."`
	LogFormat string     `enum:"text,json" default:"text" help:"${enum}."`
}

// shutdownTime is how long requests that are being answered may take once the server is told to end.
const shutdownTime = 10 * time.Second

// run serves until ctx ends. What it has started when something fails, it stops.
func (s *server) run(ctx context.Context, log *slog.Logger) (err error) {
	auth, err := s.Auth.open(s.Listen)
	if err != nil {
		return err
	}
	store, err := sqlstore.Open(ctx, s.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	service, err := l3.New(l3.Config{
		Store: store, Scheduler: s.scheduler(), AgentDownTime: s.AgentDownTime, MaxRoutes: s.MaxRoutes, PhysicalMTU: s.PhysicalMTU, Quotas: s.Quota,
		Logger: log,
	})
	if err != nil {
		return err
	}
	m := newMetrics()
	servers := []*http.Server{newServer(s.Listen, m.count(rest.New(rest.Config{Service: service, Auth: auth, URL: s.URL, Logger: log})), log)}
	if s.Metrics != "" {
		servers = append(servers, newServer(s.Metrics, m.handler(store), log))
	}
	return serve(ctx, log, servers)
}

func (s *server) scheduler() l3.Scheduler {
	switch s.Scheduler {
	case "chance":
		return scheduler.NewChance(nil)
	case "least-loaded":
		return scheduler.NewLeastLoaded(scheduler.DefaultWeights(), nil)
	default:
		return scheduler.NewLeastRouters(nil)
	}
}

// newServer bounds what a client can hold on to.
func newServer(address string, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr: address, Handler: h, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
	}
}

// serve listens at all addresses before it answers at any, and ends when ctx does or one of the servers fails.
func serve(ctx context.Context, log *slog.Logger, servers []*http.Server) error {
	listeners := make([]net.Listener, len(servers))
	for i, server := range servers {
		listener, err := net.Listen("tcp", server.Addr)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		defer listener.Close()
		listeners[i] = listener
	}
	failed := make(chan error, len(servers))
	for i, server := range servers {
		log.Info("serving", "address", listeners[i].Addr().String())
		go func() { failed <- server.Serve(listeners[i]) }()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("ending")
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	for _, server := range servers {
		err = errors.Join(err, server.Shutdown(last))
	}
	return err
}
