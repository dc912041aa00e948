package control

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// answer answers a request of the API, measures how long that takes, and logs it: at debug, and
// what is refused at info.
func (c *Control) answer(w http.ResponseWriter, r *http.Request) {
	start, noted := time.Now(), &notedAnswer{ResponseWriter: w, status: http.StatusOK}
	method, path := r.Method, r.URL.RequestURI()
	c.api.ServeHTTP(noted, r)
	took := time.Since(start)
	c.metrics.requests.WithLabelValues(method, strconv.Itoa(noted.status)).Observe(took.Seconds())

	level, text := slog.LevelDebug, "answered request"
	if noted.status >= http.StatusBadRequest {
		level, text = slog.LevelInfo, "refused request"
	}
	if !c.process.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request", noted.Header().Get("X-Openstack-Request-Id")), slog.String("method", method), slog.String("path", path),
		slog.Int("status", noted.status), slog.Duration("took", took), slog.String("client", r.RemoteAddr),
	}
	if reason := noted.reason(); reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	c.process.Log.LogAttrs(r.Context(), level, text, attrs...)
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
