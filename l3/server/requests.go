package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests measures how long a handler takes to answer each request, and logs it: at debug, and
// what is refused at info.
type requests struct {
	handler  http.Handler
	duration *prometheus.HistogramVec
	log      *slog.Logger
}

func (q *requests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, noted := time.Now(), &notedAnswer{ResponseWriter: w, status: http.StatusOK}
	method, path := r.Method, r.URL.RequestURI()
	q.handler.ServeHTTP(noted, r)
	took := time.Since(start)
	q.duration.WithLabelValues(method, strconv.Itoa(noted.status)).Observe(took.Seconds())

	level, text := slog.LevelDebug, "answered request"
	if noted.status >= http.StatusBadRequest {
		level, text = slog.LevelInfo, "refused request"
	}
	if !q.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request", noted.Header().Get("X-Openstack-Request-Id")), slog.String("method", method), slog.String("path", path),
		slog.Int("status", noted.status), slog.Duration("took", took), slog.String("client", r.RemoteAddr),
	}
	if reason := noted.reason(); reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	q.log.LogAttrs(r.Context(), level, text, attrs...)
}

// notedAnswer remembers the status of an answer, and the body of a refusal.
type notedAnswer struct {
	http.ResponseWriter
	status  int
	refusal []byte
}

func (n *notedAnswer) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// maxRefusal bounds what is remembered of a refusal, in bytes.
const maxRefusal = 4096

func (n *notedAnswer) Write(b []byte) (int, error) {
	if n.status >= http.StatusBadRequest && len(n.refusal)+len(b) <= maxRefusal {
		n.refusal = append(n.refusal, b...)
	}
	return n.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (n *notedAnswer) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// reason is what the client is told; empty if it is told nothing.
func (n *notedAnswer) reason() string {
	var body map[string]struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(n.refusal, &body) != nil {
		return ""
	}
	for _, e := range body {
		return e.Message
	}
	return ""
}
