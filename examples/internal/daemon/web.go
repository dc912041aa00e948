package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/l3kit/l3kit/examples/internal/setting"
)

// Limits bound what the clients of a [Web] can hold on to. All must be given.
type Limits struct {
	// Connections is how many there may be at once. Requests on more are answered by Busy, and then
	// the connection is closed.
	Connections int
	Busy        http.Handler
	Read        time.Duration // that a client has to send a request
	Write       time.Duration // that a client has to take an answer
	Shutdown    time.Duration // that requests have to come to an end when the server is told to
}

// WebLimits are those of what a process serves about itself.
func WebLimits() Limits {
	return Limits{Connections: 100, Read: time.Minute, Write: time.Minute, Shutdown: 10 * time.Second,
		Busy: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many connections", http.StatusServiceUnavailable)
		})}
}

const (
	// headerTime is how long a client has to send the header of a request.
	headerTime = 10 * time.Second
	// idleTime is how long a connection stays open between requests.
	idleTime = 2 * time.Minute
	// workTime is how long the work on a request may take before its connection is given up.
	workTime = 5 * time.Minute
	// maxHeader is the size of a request's header, in bytes.
	maxHeader = 64 << 10
)

// Web is an HTTP server that listens, and serves once it is told to: so that an address which is
// taken is found before anything is begun.
type Web struct {
	server   *http.Server
	listener net.Listener
	shutdown time.Duration
}

// CheckAddress refuses what can never be an address to listen at: HOST:PORT, where HOST may be
// empty.
func CheckAddress(flag, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return setting.Errorf("%s: %q is not HOST:PORT", flag, address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return setting.Errorf("%s: %q has no port: %w", flag, address, err)
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Trim(host, "0123456789.") == "" && host != "" {
		return setting.Errorf("%s: %q is not an IP address", flag, host)
	}
	return nil
}

// Listener is an address to listen at, and the flag that gives it.
type Listener struct{ Flag, Address string }

// CheckDistinct refuses addresses of which two cannot be listened at together.
func CheckDistinct(listeners ...Listener) error {
	for i, a := range listeners {
		for _, b := range listeners[:i] {
			if overlap(a.Address, b.Address) {
				return setting.Errorf("%s %s and %s %s are the same address: give each flag one of its own", b.Flag, b.Address, a.Flag, a.Address)
			}
		}
	}
	return nil
}

// overlap reports whether two addresses have a port and a host in common.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || wildcard(hostA) || wildcard(hostB))
}

func wildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// CheckURL refuses what is not the URL of an HTTP service.
func CheckURL(flag, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return setting.Errorf("%s: %q is neither http://HOST:PORT nor https://HOST:PORT", flag, text)
	}
	return nil
}

// Listen makes a Web that bounds what a client can hold on to.
func Listen(log *slog.Logger, address string, h http.Handler, l Limits) (*Web, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Web{listener: limit(listener, l.Connections), shutdown: l.Shutdown, server: &http.Server{
		Handler: l.handler(h), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxHeaderBytes: maxHeader, ConnContext: withConnection,
		ReadHeaderTimeout: headerTime, ReadTimeout: l.Read, IdleTimeout: idleTime,
		// This is for work that does not end; an answer has its own deadline, from when it begins.
		WriteTimeout: l.Read + workTime + l.Write,
	}}, nil
}

// Address is where it listens.
func (w *Web) Address() string { return w.listener.Addr().String() }

// Close gives the address up, for whoever does not get as far as Serve.
func (w *Web) Close() error { return w.listener.Close() }

// Serve is a [Part]. It answers until ctx ends. Requests that are being answered then have the time
// of [Limits.Shutdown]; the connections of those that need more are closed.
func (w *Web) Serve(ctx context.Context, p *Process) error {
	p.Log.Info("serving", "address", w.Address())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(w.listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.shutdown)
	defer cancel()
	err := w.server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		p.Log.Warn("closing connections whose requests have not come to an end", "address", w.Address(), "after", w.shutdown)
		err = w.server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// handler answers with h, within the limits.
func (l Limits) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &timedWriter{ResponseWriter: w, limit: l.Write}
		if c, _ := r.Context().Value(connectionKey{}).(*connection); c != nil && c.surplus {
			w.Header().Set("Connection", "close")
			l.Busy.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// timedWriter gives the client a time to take the answer, from its beginning.
type timedWriter struct {
	http.ResponseWriter
	limit time.Duration
	begun bool
}

func (w *timedWriter) WriteHeader(status int) {
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

func (w *timedWriter) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *timedWriter) begin() {
	if !w.begun {
		w.begun = true
		// It fails for no connection.
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.limit))
	}
}
