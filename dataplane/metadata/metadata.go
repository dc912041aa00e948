// Package metadata has handlers that answer workloads' requests for metadata, for the dataplanes of
// routers with [dataplane.Router.Metadata]: they pass requests on to Neutron's metadata agent, to
// any other service, or to Nova's.
//
// A request comes with the headers X-Forwarded-For, the client's address, and X-Neutron-Router-ID,
// which the client cannot set. What the service behind does not answer in time is answered by 504,
// and what cannot be asked at all by 502.
package metadata

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"time"

	"golang.org/x/time/rate"
)

// How long a service may take, and what is kept open to it.
const (
	dialTime     = 5 * time.Second
	answerTime   = 30 * time.Second
	idleTime     = 30 * time.Second
	maxIdle      = 16
	maxConns     = 256
	maxRespHeads = 64 << 10

	logEvery = 10 * time.Second // clients could fill the log
)

// The headers that say who asks.
const (
	headerClient    = "X-Forwarded-For"
	headerRouter    = "X-Neutron-Router-ID"
	headerInstance  = "X-Instance-ID"
	headerTenant    = "X-Tenant-ID"
	headerSignature = "X-Instance-ID-Signature"
)

// Config says what a handler does beside.
type Config struct {
	Timeout time.Duration // for an answer to begin; 0: 30 s
	Logger  *slog.Logger  // is told of services that cannot be asked; nil: nothing is logged
}

// Socket returns a handler that passes requests on to a service at a unix socket, as Neutron's
// metadata agent is.
func Socket(path string, c Config) http.Handler {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", path)
	}
	return c.proxy(&url.URL{Scheme: "http", Host: "metadata"}, dial, nil)
}

// URL returns a handler that passes requests on to a service by HTTP or HTTPS. The path of a
// request is appended to that of the URL.
func URL(to *url.URL, c Config) (http.Handler, error) {
	if err := check(to); err != nil {
		return nil, err
	}
	return c.proxy(to, nil, nil), nil
}

// Instance is who asks, in the words of Nova.
type Instance struct{ ID, Project string }

// Signed returns a handler that passes requests on to Nova's metadata service by HTTP or HTTPS. It
// tells which instance asks, and proves by a secret, which Nova calls
// neutron.metadata_proxy_shared_secret, that this is so. find knows the instance by the router's ID
// and the client's address, which may be a link-local one; its error is answered by 404 if it is
// [os.ErrNotExist], else by 502.
func Signed(to *url.URL, secret []byte, find func(ctx context.Context, router string, client netip.Addr) (Instance, error), c Config) (http.Handler, error) {
	if len(secret) == 0 {
		return nil, errors.New("metadata: the secret is empty")
	}
	if err := check(to); err != nil {
		return nil, err
	}
	log, quiet := c.logger(), rate.Sometimes{Interval: logEvery}
	next := c.proxy(to, nil, func(out, in http.Header) {
		for _, name := range []string{headerInstance, headerTenant, headerSignature} {
			out.Set(name, in.Get(name))
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		router := r.Header.Get(headerRouter)
		client, err := netip.ParseAddr(r.Header.Get(headerClient))
		var i Instance
		if err == nil {
			i, err = find(r.Context(), router, client)
		}
		switch {
		case errors.Is(err, os.ErrNotExist):
			answer(w, http.StatusNotFound)
			return
		case err != nil:
			quiet.Do(func() {
				log.Warn("cannot find the instance that asks for metadata", "router", router, "client", client, "err", err)
			})
			answer(w, http.StatusBadGateway)
			return
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(i.ID))
		r = r.Clone(r.Context())
		r.Header.Set(headerInstance, i.ID)
		r.Header.Set(headerTenant, i.Project)
		r.Header.Set(headerSignature, hex.EncodeToString(mac.Sum(nil)))
		next.ServeHTTP(w, r)
	}), nil
}

func check(to *url.URL) error {
	if to == nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return fmt.Errorf("metadata: %s is no URL with http or https and a host", to)
	}
	return nil
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// proxy passes requests on. more, if not nil, sets headers beside those that say who asks.
func (c Config) proxy(to *url.URL, dial func(context.Context, string, string) (net.Conn, error), more func(out, in http.Header)) http.Handler {
	log, quiet, wait := c.logger(), rate.Sometimes{Interval: logEvery}, c.Timeout
	if wait == 0 {
		wait = answerTime
	}
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTime}).DialContext
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			for _, name := range []string{headerClient, headerRouter} {
				r.Out.Header.Set(name, r.In.Header.Get(name))
			}
			if more != nil {
				more(r.Out.Header, r.In.Header)
			}
		},
		Transport: &http.Transport{
			DialContext: dial, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: wait, IdleConnTimeout: idleTime,
			MaxIdleConnsPerHost: maxIdle, MaxConnsPerHost: maxConns, MaxResponseHeaderBytes: maxRespHeads, DisableCompression: true,
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // of bodies that break off
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) { // the client has gone
				panic(http.ErrAbortHandler)
			}
			status := http.StatusBadGateway
			var late net.Error
			var long *http.MaxBytesError
			switch {
			case errors.As(err, &long):
				answer(w, http.StatusRequestEntityTooLarge)
				return
			case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
				status = http.StatusGatewayTimeout
			}
			quiet.Do(func() {
				log.Warn("metadata service does not answer", "router", r.Header.Get(headerRouter), "client", r.Header.Get(headerClient), "err", err)
			})
			answer(w, status)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), wait+dialTime) // also for a place among maxConns
		defer cancel()
		p.ServeHTTP(w, r.WithContext(ctx))
	})
}

func answer(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }
