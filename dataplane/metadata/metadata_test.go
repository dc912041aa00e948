package metadata_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/metadata"
)

// service is what is behind a handler: it keeps the last request.
type service struct {
	*httptest.Server
	got *http.Request
}

func newService(t *testing.T, l net.Listener, h http.HandlerFunc) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.got = r.Clone(context.Background())
		h(w, r)
	}))
	if l != nil {
		s.Listener.Close()
		s.Listener = l
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *service) url(t *testing.T, path string) *url.URL {
	u, err := url.Parse(s.URL + path)
	require.NoError(t, err)
	return u
}

func ask(h http.Handler, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://169.254.169.254/openstack/latest/meta_data.json?x=1", nil)
	r.Header.Set("X-Forwarded-For", "10.0.0.5")
	r.Header.Set("X-Neutron-Router-ID", "r1")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func found(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "found") }

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metadata.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	s := newService(t, l, found)
	h := metadata.Socket(path, metadata.Config{})
	// A client may call headers those of the connection, which proxies remove.
	w := ask(h, func(r *http.Request) { r.Header.Set("Connection", "X-Forwarded-For, X-Neutron-Router-ID") })
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "found", w.Body.String())
	require.Equal(t, "/openstack/latest/meta_data.json?x=1", s.got.URL.String())
	require.Equal(t, []string{"10.0.0.5"}, s.got.Header["X-Forwarded-For"])
	require.Equal(t, []string{"r1"}, s.got.Header["X-Neutron-Router-Id"])
	s.Close()
	require.Equal(t, http.StatusBadGateway, ask(h, nil).Code)
}

func TestURL(t *testing.T) {
	s := newService(t, nil, found)
	h, err := metadata.URL(s.url(t, "/below"), metadata.Config{})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, ask(h, nil).Code)
	require.Equal(t, "/below/openstack/latest/meta_data.json?x=1", s.got.URL.String())
	for _, wrong := range []string{"", "ftp://host/", "http://", "host:80"} {
		u, err := url.Parse(wrong)
		require.NoError(t, err)
		_, err = metadata.URL(u, metadata.Config{})
		require.Error(t, err, wrong)
	}
}

func TestHangingService(t *testing.T) {
	end := make(chan struct{})
	s := newService(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	defer close(end)
	h, err := metadata.URL(s.url(t, ""), metadata.Config{Timeout: 50 * time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, http.StatusGatewayTimeout, ask(h, nil).Code)
}

func TestSigned(t *testing.T) {
	s := newService(t, nil, found)
	find := func(_ context.Context, router string, client netip.Addr) (metadata.Instance, error) {
		switch {
		case router != "r1":
			return metadata.Instance{}, errors.New("no such router")
		case client != netip.MustParseAddr("10.0.0.5"):
			return metadata.Instance{}, os.ErrNotExist
		}
		return metadata.Instance{ID: "i-1", Project: "p-1"}, nil
	}
	h, err := metadata.Signed(s.url(t, ""), []byte("shared secret"), find, metadata.Config{})
	require.NoError(t, err)
	w := ask(h, func(r *http.Request) { r.Header.Set("X-Instance-ID", "i-2") })
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, []string{"i-1"}, s.got.Header["X-Instance-Id"])
	require.Equal(t, []string{"p-1"}, s.got.Header["X-Tenant-Id"])
	// printf %s i-1 | openssl dgst -sha256 -hmac 'shared secret'
	require.Equal(t, []string{"6d41191f25ddf3cb1a0a9c202eca61b3468aeb09ffb25344cd0418656cf9eb88"}, s.got.Header["X-Instance-Id-Signature"])
	require.Equal(t, http.StatusNotFound, ask(h, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.6") }).Code)
	require.Equal(t, http.StatusBadGateway, ask(h, func(r *http.Request) { r.Header.Set("X-Neutron-Router-ID", "r2") }).Code)
	require.Equal(t, http.StatusBadGateway, ask(h, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "nobody") }).Code)
	_, err = metadata.Signed(s.url(t, ""), nil, find, metadata.Config{})
	require.Error(t, err)
}

func TestBodyTooLarge(t *testing.T) {
	s := newService(t, nil, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	h, err := metadata.URL(s.url(t, ""), metadata.Config{})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "http://169.254.169.254/openstack/latest/password", strings.NewReader(strings.Repeat("x", 1<<20)))
	r.ContentLength = -1
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
}
