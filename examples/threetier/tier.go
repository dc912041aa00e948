package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// tier is a small web server on one machine. It says who asked, and asks the next tier before it
// answers.
type tier struct {
	name string
	host *lab.Host
	next string // URL of the next tier; empty: none

	server *http.Server
	echoes *net.UDPConn

	mu      sync.Mutex
	callers map[netip.Addr]bool // whoever has connected, as the tier saw it
}

// page is a tier's answer.
type page struct {
	Tier string     `json:"tier"`
	Saw  netip.Addr `json:"saw"` // where the request came from, as the tier saw it
	Next *page      `json:"next,omitempty"`
}

// start serves port 80, and the echo port. A socket stays in the namespace that it was made in.
func (t *tier) start() error {
	var l net.Listener
	err := t.host.Do(func() (err error) {
		if l, err = net.Listen("tcp", ":80"); err == nil {
			t.echoes, err = net.ListenUDP("udp4", &net.UDPAddr{Port: echoPort})
		}
		return err
	})
	if err != nil {
		return err
	}
	go echo(t.echoes)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", t.answer)
	mux.HandleFunc("GET /download", download)
	t.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			t.note(c.RemoteAddr())
		}
	}}
	go func() { _ = t.server.Serve(l) }() // it returns when the server is closed
	return nil
}

func (t *tier) stop() error { return errors.Join(t.server.Close(), t.echoes.Close()) }

func (t *tier) note(caller net.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.callers == nil {
		t.callers = map[netip.Addr]bool{}
	}
	t.callers[netip.MustParseAddrPort(caller.String()).Addr()] = true
}

// heard says whether an address has connected.
func (t *tier) heard(caller string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.callers[addr(caller)]
}

func (t *tier) answer(w http.ResponseWriter, r *http.Request) {
	p := page{Tier: t.name, Saw: netip.MustParseAddrPort(r.RemoteAddr).Addr()}
	if t.next != "" {
		next, err := get(r.Context(), t.host, "", t.next)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		p.Next = next
	}
	_ = json.NewEncoder(w).Encode(p) // whoever asked is gone, if this fails
}

// get asks a server for its page, from one of the host's addresses; an empty one leaves the choice
// to the kernel.
func get(ctx context.Context, from *lab.Host, source, url string) (*page, error) {
	r, err := request(ctx, from, source, url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 200))
		return nil, errors.New(string(text))
	}
	p := new(page)
	if err := json.NewDecoder(r.Body).Decode(p); err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return p, nil
}

// answerTime is how long is waited for what must come, so that one failure does not hide the
// others.
const answerTime = 5 * time.Second

// request makes a connection of its own for each request, so that each goes through the router's
// rules anew.
func request(ctx context.Context, from *lab.Host, source, url string) (*http.Response, error) {
	dialer := net.Dialer{Timeout: answerTime}
	if source != "" {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr(source), 0))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	// A Transport may still be dialling when the request has been given up, and the namespace is
	// closed.
	var conn net.Conn
	err = from.Do(func() (err error) {
		conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(r.URL.Hostname(), cmp.Or(r.URL.Port(), "80")))
		return err
	})
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: answerTime,
		DialContext:           func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	response, err := client.Do(r)
	if err != nil {
		_ = conn.Close() // the transport may not have taken it
		return nil, err
	}
	return response, nil
}
