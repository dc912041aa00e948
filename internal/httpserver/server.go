// Package httpserver is an HTTP server that bounds what its clients can hold on to: connections,
// time and headers.
package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits bound what the clients of a [Server] can hold on to. All must be given.
type Limits struct {
	// Connections is how many there may be at once. Requests on more are answered by Busy, and then
	// the connection is closed.
	Connections int
	Busy        http.Handler
	Read        time.Duration // that a client has to send a request
	Write       time.Duration // that a client has to take an answer
	Shutdown    time.Duration // that requests have to come to an end when the server is told to
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

// Server is an HTTP server on a listener. An address that is taken is thus found before anything is
// begun.
type Server struct {
	server   *http.Server
	listener net.Listener
	shutdown time.Duration
	log      *slog.Logger
}

// New returns a server. Nothing runs before [Server.Serve].
func New(listener net.Listener, h http.Handler, l Limits, log *slog.Logger) *Server {
	return &Server{listener: limit(listener, l.Connections), shutdown: l.Shutdown, log: log, server: &http.Server{
		Handler: l.handler(h), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxHeaderBytes: maxHeader, ConnContext: withConnection,
		ReadHeaderTimeout: headerTime, ReadTimeout: l.Read, IdleTimeout: idleTime,
		// This is for work that does not end; an answer has its own deadline, from when it begins.
		WriteTimeout: l.Read + workTime + l.Write,
	}}
}

// Serve answers until ctx ends, closes the listener, and returns nil. Requests that are being
// answered then have the time of [Limits.Shutdown]; the connections of those that need more are
// closed.
func (s *Server) Serve(ctx context.Context) error {
	address := s.listener.Addr().String()
	s.log.Info("serving", "address", address)
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(s.listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.shutdown)
	defer cancel()
	err := s.server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("closing connections whose requests have not come to an end", "address", address, "after", s.shutdown)
		err = s.server.Close()
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
