package namespace

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// metadataSite is a namespace of its own with a metadata server, and clients in the same namespace.
type metadataSite struct {
	t      *testing.T
	fd     int
	server *metadataServer
}

// newMetadataSite lets change adapt the server before it serves.
func newMetadataSite(t *testing.T, h http.Handler, change func(*metadataServer)) *metadataSite {
	t.Helper()
	needs.Root(t)
	f, err := netns.New(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for p := range wantLo(dataplane.Router{Metadata: true}) {
			if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(p.Addr().AsSlice())}); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(lo)
	})
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	cfg := Config{Metadata: h, Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	s := &metadataSite{t: t, fd: int(f.Fd()), server: newMetadataServer(NS{Router: "r1", FD: int(f.Fd())}, cfg)}
	if change != nil {
		change(s.server)
	}
	require.NoError(t, s.server.set([]int{0}))
	t.Cleanup(func() { require.NoError(t, s.server.close()) })
	return s
}

// dial connects from a client of that number.
func (s *metadataSite) dial(client int) net.Conn {
	s.t.Helper()
	var c net.Conn
	require.NoError(s.t, netns.Do(s.fd, func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(client))}}
		c, err = d.DialContext(s.t.Context(), "tcp", "169.254.169.254:80")
		return err
	}))
	s.t.Cleanup(func() { c.Close() })
	require.NoError(s.t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c
}

const simpleRequest = "GET /latest HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n"

// ask sends a request, and returns the answer's status and body.
func ask(c net.Conn, request string) (int, string, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// A router's workloads hold as many connections as one router may, a client as many as its share;
// what is beyond the former waits, and what is beyond the latter is closed.
func TestMetadataConnectionsAreBounded(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	s := newMetadataSite(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		now.Add(-1)
	}), nil)
	const clients = maxMetadataConns/maxMetadataConnsEach + 2
	var asking sync.WaitGroup
	var refused atomic.Int64
	for client := range clients {
		for range maxMetadataConnsEach {
			c := s.dial(client + 1)
			asking.Go(func() {
				if status, _, err := ask(c, simpleRequest); err != nil || status != http.StatusOK {
					refused.Add(1)
				}
			})
		}
	}
	require.Eventually(t, func() bool { return now.Load() == maxMetadataConns }, 20*time.Second, time.Millisecond)
	close(release)
	asking.Wait()
	require.Zero(t, refused.Load(), "those that waited are answered")
	require.EqualValues(t, maxMetadataConns, most.Load())

	for range maxMetadataConnsEach {
		_, err := io.WriteString(s.dial(1), "GET")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		s.server.places.mu.Lock()
		defer s.server.places.mu.Unlock()
		return s.server.places.each[netip.MustParseAddr("127.0.0.1")] == maxMetadataConnsEach
	}, 20*time.Second, time.Millisecond)
	_, _, err := ask(s.dial(1), simpleRequest)
	require.Error(t, err, "its share is used")
	status, _, err := ask(s.dial(2), simpleRequest)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "others are served")
}

// All routers share a number of places; a server that ends waits for none.
func TestMetadataConnectionsOfAllRouters(t *testing.T) {
	all := make(chan struct{}, 1)
	s := newMetadataSite(t, http.NotFoundHandler(), func(m *metadataServer) { m.places.all = all })
	all <- struct{}{} // another router's
	c := s.dial(1)
	_, err := io.WriteString(c, simpleRequest)
	require.NoError(t, err)
	<-all
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	resp.Body.Close()
	require.Eventually(t, func() bool { return len(all) == 0 }, 20*time.Second, time.Millisecond)
	all <- struct{}{}
	s.dial(1) // and the server ends while this one waits
	require.Eventually(t, func() bool { return len(s.server.places.own) == 1 }, 20*time.Second, time.Millisecond)
}

// A client that does not finish its request loses its connection.
func TestMetadataSlowClients(t *testing.T) {
	s := newMetadataSite(t, http.NotFoundHandler(), func(m *metadataServer) {
		require.Positive(t, m.server.ReadHeaderTimeout)
		require.Positive(t, m.server.ReadTimeout)
		require.Positive(t, m.server.WriteTimeout)
		require.Positive(t, m.server.IdleTimeout)
		m.server.ReadHeaderTimeout, m.server.ReadTimeout = 20*time.Millisecond, 20*time.Millisecond
	})
	c := s.dial(1)
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost:")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err, "it is closed long before the test ends to wait")
	require.Eventually(t, func() bool { return len(s.server.places.own) == 0 }, 20*time.Second, time.Millisecond)
}

// Headers and bodies have limits.
func TestMetadataSizes(t *testing.T) {
	s := newMetadataSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	}), nil)
	post := "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"a header":           {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 2*maxMetadataHeader) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"a body":             {post + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", maxMetadataBody, strings.Repeat("b", maxMetadataBody)), http.StatusOK},
		"a body too large":   {post + fmt.Sprintf("Content-Length: %d\r\n\r\n", maxMetadataBody+1), http.StatusRequestEntityTooLarge},
		"chunks, too many":   {post + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", maxMetadataBody+1, strings.Repeat("c", maxMetadataBody+1)), http.StatusTeapot},
		"no request":         {"\x16\x03\x01\r\n\r\n", http.StatusBadRequest},
		"an absolute target": {"GET http://192.0.2.1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, err := ask(s.dial(1), c.request)
			require.NoError(t, err)
			require.Equal(t, c.status, status)
		})
	}
}

// What a handler is told: who asks, and nothing that a client says of that.
func TestMetadataHeaders(t *testing.T) {
	var got http.Header
	h := identified("r1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, bounded := r.Context().Deadline()
		require.True(t, bounded)
	}))
	for remote, client := range map[string]string{
		"10.0.0.5:1234": "10.0.0.5", "[fd00::5]:1234": "fd00::5", "[fe80::f816:3eff:fe00:1%7]:1234": "fe80::f816:3eff:fe00:1",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = remote
		keep := http.Header{"Accept": {"*/*"}, "User-Agent": {"curl"}, "X-Aws-Ec2-Metadata-Token": {"t"}, "Metadata": {"true"}}
		for name, v := range keep {
			r.Header[name] = v
		}
		for _, name := range []string{
			"X-Forwarded-For", "X-Neutron-Router-Id", "X-Neutron-Network-Id", "X-Instance-Id", "X-Tenant-Id", "X-Instance-Id-Signature",
			"X-Metadata-Provider", "X-Metadata-Provider-Signature", "X-Real-Ip", "X_forwarded_for", "Forwarded", "Connection", "Upgrade",
		} {
			r.Header[name] = []string{"forged"}
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		keep[headerClient], keep[headerRouter] = []string{client}, []string{"r1"}
		require.Equal(t, keep, got)
	}
}

// A change of ports keeps the listeners that stay, and connections by them.
func TestMetadataListenersFollowPorts(t *testing.T) {
	s := newMetadataSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get(headerClient))
	}), nil)
	four := s.server.listeners[0]
	require.NoError(t, s.server.set([]int{0, loopbackIndex}))
	require.Same(t, four, s.server.listeners[0])
	require.Error(t, s.server.set([]int{0, 99}), "there is no such device")
	require.NoError(t, s.server.set([]int{0}))
	require.Len(t, s.server.listeners, 1)
	status, body, err := ask(s.dial(3), simpleRequest)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "127.0.0.3", body)
}
