package httpserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 60 * time.Second

// lengthy answers with more than all buffers between it and a client hold, and counts those that it
// answers at the moment.
type lengthy struct{ begun, busy atomic.Int64 }

func (l *lengthy) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	l.begun.Add(1)
	l.busy.Add(1)
	defer l.busy.Add(-1)
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return
		}
	}
}

func limits() Limits {
	return Limits{Connections: 100, Read: time.Minute, Write: time.Minute, Shutdown: 10 * time.Second,
		Busy: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many connections", http.StatusServiceUnavailable)
		})}
}

// serving is a Server that serves until stop is called, which returns what Serve does.
func serving(t *testing.T, h http.Handler, l Limits) (s *Server, stop func() error) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s = New(listener, h, l, log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	stopped := false
	stop = func() error {
		cancel()
		if stopped {
			return nil
		}
		stopped = true
		return <-ended
	}
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

// connected is a connection to a Server.
func connected(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
}

// answer reads an answer without its body.
func answer(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	return r
}

// TestClientsThatDoNotRead: their connections are closed, though they never say a word.
func TestClientsThatDoNotRead(t *testing.T) {
	l := limits()
	l.Write = 100 * time.Millisecond
	h := new(lengthy)
	s, _ := serving(t, h, l)
	const clients = 50
	for range clients {
		send(t, connected(t, s))
	}
	require.Eventually(t, func() bool { return h.begun.Load() == clients && h.busy.Load() == 0 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return s.listener.(*limited).open.Load() == 0 }, patience, time.Millisecond)
}

// TestShutdownIsBounded: clients that do not read do not hold up the end.
func TestShutdownIsBounded(t *testing.T) {
	l := limits()
	l.Write, l.Shutdown = time.Hour, 50*time.Millisecond
	h := new(lengthy)
	s, stop := serving(t, h, l)
	for range 20 {
		send(t, connected(t, s))
	}
	require.Eventually(t, func() bool { return h.begun.Load() == 20 }, patience, time.Millisecond)
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	require.Eventually(t, func() bool { return h.busy.Load() == 0 }, patience, time.Millisecond)
}

// TestConnectionsAreBounded: some beyond the limit are told so, and those beyond these wait.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 4
	l := limits()
	l.Connections, l.Read = most, time.Hour
	s, _ := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }), l)
	open := &s.listener.(*limited).open
	var served []net.Conn
	for range most {
		c := connected(t, s)
		send(t, c)
		require.Equal(t, http.StatusOK, answer(t, c).StatusCode)
		served = append(served, c)
	}
	for range 2 {
		c := connected(t, s)
		send(t, c)
		r := answer(t, c)
		require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
		require.Equal(t, "1", r.Header.Get("Retry-After"))
		require.True(t, r.Close, "and it is closed")
		require.Eventually(t, func() bool { return open.Load() == most }, patience, time.Millisecond)
	}
	send(t, served[0])
	require.Equal(t, http.StatusOK, answer(t, served[0]).StatusCode, "those that were there are served as before")

	// Fill what is beyond, with clients that say nothing; the next one is not accepted.
	for range surplus(most) {
		connected(t, s)
	}
	require.Eventually(t, func() bool { return open.Load() == int64(most+surplus(most)) }, patience, time.Millisecond)
	waits := connected(t, s) // by the kernel
	send(t, waits)
	require.NoError(t, waits.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := waits.Read(make([]byte, 1))
	require.Error(t, err)
	require.Equal(t, int64(most+surplus(most)), open.Load())
	for _, c := range served {
		require.NoError(t, c.Close())
	}
	require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, answer(t, waits).StatusCode, "its turn has come")
}
