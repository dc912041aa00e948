package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Flags are those that every binary has.
type Flags struct {
	Config  ConfigFile       `help:"YAML file to read flags from." placeholder:"FILE"`
	Version kong.VersionFlag `own:"" help:"Print the version."`

	LogLevel  logLevel `default:"info" help:"Level of the log: debug, info, warn or error."`
	LogFormat string   `enum:"text,json" default:"text" help:"Format of the log: ${enum}."`
	Metrics   string   `placeholder:"ADDRESS" help:"Address to serve /metrics (Prometheus), /healthz and /readyz at. Default: none."`
}

// logLevel is a [slog.Level] whose refusal says what there is.
type logLevel slog.Level

// UnmarshalText is called by kong.
func (l *logLevel) UnmarshalText(text []byte) error {
	if err := (*slog.Level)(l).UnmarshalText(text); err != nil {
		return fmt.Errorf("must be one of debug, info, warn, error, but is %q", text)
	}
	return nil
}

// AfterApply is called by kong. It lets the Run methods of commands take the flags.
func (f *Flags) AfterApply(ctx *kong.Context) error {
	ctx.Bind(f)
	return nil
}

// Process is what the parts of a running binary share.
type Process struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry

	mu     sync.Mutex
	checks []func(context.Context) error
}

// Ready adds what must hold for the process to be ready to work: /readyz says 503, and why, when it
// does not, and before the first is added.
func (p *Process) Ready(ok func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checks = append(p.checks, ok)
}

// Part works until its context ends, and then returns nil, or fails.
type Part func(context.Context, *Process) error

// Run runs parts until ctx ends or one of them fails or is done; then the others are told to end,
// and are waited for.
func (f Flags) Run(ctx context.Context, parts ...Part) error {
	p := &Process{Log: f.logger(), Metrics: prometheus.NewRegistry()}
	p.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if f.Metrics != "" {
		if err := CheckAddress("--metrics", f.Metrics); err != nil {
			return err
		}
		listener, err := net.Listen("tcp", f.Metrics)
		if err != nil {
			return fmt.Errorf("--metrics: listen: %w", err)
		}
		parts = append(parts, web(listener, p.Handler()))
	}
	group, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, part := range parts {
		group.Go(func() error {
			defer stop()
			return part(ctx, p)
		})
	}
	return group.Wait()
}

func (f Flags) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.Level(f.LogLevel)}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// Handler answers for the process itself: /healthz while it runs, /readyz while it can work.
func (p *Process) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

func (p *Process) ready(ctx context.Context) error {
	p.mu.Lock()
	checks := p.checks
	p.mu.Unlock()
	if len(checks) == 0 {
		return errors.New("starting")
	}
	for _, ok := range checks {
		if err := ok(ctx); err != nil {
			return err
		}
	}
	return nil
}
