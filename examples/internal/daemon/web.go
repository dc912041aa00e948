package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Web is an HTTP server that listens, and serves once it is told to: so that an address which is taken is found before anything is begun.
type Web struct {
	server   *http.Server
	listener net.Listener
}

// shutdownTime is how long requests that are being answered may take once the server is told to end.
const shutdownTime = 10 * time.Second

// Listen makes one; it bounds what a client can hold on to.
func Listen(log *slog.Logger, address string, h http.Handler) (*Web, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Web{listener: listener, server: &http.Server{
		Handler: h, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
	}}, nil
}

// Address is where it listens.
func (w *Web) Address() string { return w.listener.Addr().String() }

// Close gives the address up, for whoever does not get as far as Serve.
func (w *Web) Close() error { return w.listener.Close() }

// Serve is a [Part]. It answers until ctx ends, and what is being answered then to its end.
func (w *Web) Serve(ctx context.Context, p *Process) error {
	p.Log.Info("serving", "address", w.Address())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(w.listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := w.server.Shutdown(last)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
