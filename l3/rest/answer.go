package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// send writes an answer. A client that has gone away does not get it; there is nobody to tell.
func (a *api) send(w http.ResponseWriter, status int, body []byte) {
	if body == nil {
		w.Header().Del("Content-Type")
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Kinds of refusals that only HTTP has.
var (
	errMethod    = errors.New("method not allowed")
	errSize      = errors.New("request too large")
	errMediaType = errors.New("unsupported media type")
	errLoad      = errors.New("too many requests")
)

// statuses are the HTTP statuses of kinds of refusals.
var statuses = []struct {
	kind   error
	status int
}{
	{l3.ErrInvalid, http.StatusBadRequest},
	{l3.ErrForbidden, http.StatusForbidden},
	{l3.ErrNotFound, http.StatusNotFound},
	{l3.ErrConflict, http.StatusConflict},
	{l3.ErrRevision, http.StatusPreconditionFailed},
	{l3.ErrExhausted, http.StatusServiceUnavailable},
	{errMethod, http.StatusMethodNotAllowed},
	{errSize, http.StatusRequestEntityTooLarge},
	{errMediaType, http.StatusUnsupportedMediaType},
	{errLoad, http.StatusServiceUnavailable},
}

// statusOf returns the status of a refusal; 0: its kind has none.
func statusOf(refused *l3.Error) int {
	for _, s := range statuses {
		if errors.Is(refused, s.kind) {
			return s.status
		}
	}
	return 0
}

// fail answers with an error. What is not the client's fault goes to the log, and the client learns
// only that it happened.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	var (
		refused  *l3.Error
		stranger *Unauthorized
		away     *Unavailable
	)
	switch {
	case errors.As(err, &refused) && statusOf(refused) != 0:
		status := statusOf(refused)
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", retryAfter)
		}
		a.send(w, status, envelope(refused.Name, refused.Message))
	case errors.As(err, &stranger):
		uri := stranger.KeystoneURL
		if uri == "" {
			uri = a.root(r)
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Keystone uri=%q", uri))
		a.send(w, http.StatusUnauthorized, marshal(schema{"error": schema{
			"code": http.StatusUnauthorized, "title": "Unauthorized", "message": "The request you have made requires authentication.",
		}}))
	case errors.As(err, &away):
		a.log.Error("request cannot be authenticated", "request", w.Header().Get("X-Openstack-Request-Id"), "err", err)
		w.Header().Set("Retry-After", retryAfter)
		a.send(w, http.StatusServiceUnavailable, envelope("HTTPServiceUnavailable", "The identity service does not answer. Try again later."))
	case errors.Is(err, l3.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		a.log.Error("request failed", "request", w.Header().Get("X-Openstack-Request-Id"), "method", r.Method, "path", r.URL.Path, "err", err)
		w.Header().Set("Retry-After", retryAfter)
		a.send(w, http.StatusServiceUnavailable, envelope("HTTPServiceUnavailable", "The database does not answer. Try again later."))
	default:
		if !errors.Is(err, context.Canceled) || r.Context().Err() == nil {
			a.log.Error("request failed", "request", w.Header().Get("X-Openstack-Request-Id"), "method", r.Method, "path", r.URL.Path, "err", err)
		}
		a.send(w, http.StatusInternalServerError, internalError)
	}
}

// internalError says nothing about the cause, which is not for clients.
var internalError = envelope("HTTPInternalServerError", "Request Failed: internal server error while processing your request.")

func envelope(name, message string) []byte {
	return marshal(schema{"NeutronError": schema{"type": name, "message": message, "detail": ""}})
}

// root is the URL of the API as the client sees it, without a slash at its end.
func (a *api) root(r *http.Request) string {
	switch {
	case a.url != "":
		return a.url
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// marshal is for the small answers that no table is for. Their types are such that it cannot fail.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// badRequest refuses a request whose form is wrong.
func badRequest(format string, args ...any) error {
	return l3.Refuse(l3.ErrInvalid, "HTTPBadRequest", format, args...)
}

// badForm is badRequest under the name that Neutron gives to what is wrong with a request as a
// whole.
func badForm(format string, args ...any) error {
	return l3.Refuse(l3.ErrInvalid, "BadRequest", format, args...)
}

// invalid refuses a value.
func invalid(name string, err error) error {
	return l3.Refuse(l3.ErrInvalid, "InvalidInput", "Invalid input for %s. Reason: %s.", name, strings.TrimSuffix(err.Error(), "."))
}

// unreadable refuses a value, unless what read it has found the refusal that Neutron has for it.
func unreadable(name string, err error) error {
	var refused *l3.Error
	if errors.As(err, &refused) {
		return refused
	}
	return invalid(name, err)
}

// reason is what a refusal says, for a message around it.
func reason(err error) error {
	var refused *l3.Error
	if errors.As(err, &refused) {
		return errors.New(refused.Message)
	}
	return err
}
