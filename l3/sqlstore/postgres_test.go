package sqlstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// cut is what a proxy does to the next commit.
type cut int

const (
	none   cut = iota
	before     // the server never hears of it
	after      // the server's answer is lost
)

// proxy stands between a store and its server.
type proxy struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	cut   cut
	conns []net.Conn
}

// startProxy returns it with the URL that leads through it.
func startProxy(t *testing.T, address string) (*proxy, string) {
	u, err := url.Parse(address)
	require.NoError(t, err)
	query := u.Query()
	const socket = ".s.PGSQL.5432"
	p := &proxy{server: filepath.Join(query.Get("host"), socket)}
	dir := t.TempDir()
	p.listener, err = net.Listen("unix", filepath.Join(dir, socket))
	require.NoError(t, err)
	go func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	t.Cleanup(func() {
		p.listener.Close()
		p.hangUp()
	})
	query.Set("host", dir)
	u.RawQuery = query.Encode()
	return p, u.String()
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		_, _ = io.Copy(client, server)
		client.Close()
	}()
	buffer := make([]byte, 1<<16)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if bytes.Contains(buffer[:n], []byte("COMMIT\x00")) {
			switch p.take() {
			case before:
				return
			case after:
				client.Close() // so that the answer goes nowhere
				_, _ = server.Write(buffer[:n])
				<-answers
				return
			}
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// take is what is to be done now, once.
func (p *proxy) take() cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.cut
	p.cut = none
	return c
}

func (p *proxy) set(c cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = c
}

// hangUp cuts all connections.
func (p *proxy) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// TestConnectionLostAtCommit: the change is there once, whether the server had committed or not.
func TestConnectionLostAtCommit(t *testing.T) {
	for name, c := range map[string]cut{"before it was sent": before, "after it was done": after} {
		t.Run(name, func(t *testing.T) {
			p, address := startProxy(t, l3test.PostgresURL(t))
			s := l3test.Open(t, address)
			require.NoError(t, addSubnet(t.Context(), s))
			for range 3 {
				p.set(c)
				_, err := addPort(t.Context(), s)
				require.NoError(t, err)
				require.Equal(t, none, p.take(), "the commit was not cut off")
			}
			require.NoError(t, s.View(t.Context(), func(tx l3.Tx) error {
				n, err := tx.Ports().Count(t.Context())
				require.Equal(t, 3, n)
				return err
			}))
			require.NoError(t, l3test.Audit(t.Context(), s))
		})
	}
}

// TestConnectionLostAtCommitForGood: when nobody can be asked how it ended, the error says so.
func TestConnectionLostAtCommitForGood(t *testing.T) {
	p, address := startProxy(t, l3test.PostgresURL(t))
	s := l3test.Open(t, address)
	sqlstore.SetEndTime(s, time.Second)
	require.NoError(t, addSubnet(t.Context(), s))
	err := s.Update(t.Context(), func(tx l3.Tx) error {
		p.set(after)
		p.listener.Close()
		return tx.Networks().Delete(t.Context(), netID)
	})
	require.ErrorIs(t, err, sqlstore.ErrUnknown)
}

// TestConnectionLostInside: before the commit, the transaction is run again.
func TestConnectionLostInside(t *testing.T) {
	p, address := startProxy(t, l3test.PostgresURL(t))
	s := l3test.Open(t, address)
	ctx := t.Context()
	require.NoError(t, addSubnet(ctx, s))
	runs := 0
	require.NoError(t, s.Update(ctx, func(tx l3.Tx) error {
		if _, err := tx.Networks().Get(ctx, netID); err != nil {
			return err
		}
		if runs++; runs == 1 {
			p.hangUp()
		}
		return tx.Subnets().Delete(ctx, subID)
	}))
	require.Equal(t, 2, runs)
	runs = 0
	require.NoError(t, s.View(ctx, func(tx l3.Tx) error {
		if _, err := tx.Networks().Get(ctx, netID); err != nil {
			return err
		}
		if runs++; runs == 1 {
			p.hangUp()
		}
		n, err := tx.Subnets().Count(ctx)
		require.Zero(t, n)
		return err
	}))
	require.Equal(t, 2, runs)
}

// TestServerIsAway: whoever has no patience gets his context's error, and the cause with it; the
// store's own has an end too.
func TestServerIsAway(t *testing.T) {
	p, address := startProxy(t, l3test.PostgresURL(t))
	s := l3test.Open(t, address)
	p.listener.Close()
	p.hangUp()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := s.Update(ctx, func(tx l3.Tx) error {
		_, err := tx.Networks().Count(ctx)
		return err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	sqlstore.SetPatience(s, 300*time.Millisecond)
	for _, run := range []func(context.Context, func(l3.Tx) error) error{s.View, s.Update} {
		require.ErrorIs(t, run(t.Context(), func(tx l3.Tx) error {
			_, err := tx.Networks().Count(t.Context())
			return err
		}), l3.ErrUnavailable)
	}
}

// TestAskedToRunAgain: PostgreSQL may refuse a transaction because of what others do who do not
// take the lock.
func TestAskedToRunAgain(t *testing.T) {
	address := l3test.PostgresURL(t)
	s := l3test.Open(t, address)
	ctx := t.Context()
	require.NoError(t, addSubnet(ctx, s))
	stranger, err := pgx.Connect(ctx, address)
	require.NoError(t, err)
	defer stranger.Close(ctx)
	runs := 0
	require.NoError(t, s.Update(ctx, func(tx l3.Tx) error {
		n, err := tx.Networks().Get(ctx, netID)
		if err != nil {
			return err
		}
		if runs++; runs == 1 {
			_, err := stranger.Exec(ctx, "UPDATE networks SET doc = jsonb_set(doc::jsonb, '{name}', '\"other\"')::json")
			require.NoError(t, err)
		}
		n.Description = "changed"
		err = tx.Networks().Update(ctx, &n)
		if err == nil {
			require.Equal(t, "other", n.Name, "the stranger's change would be lost")
		}
		return errors.Join(err)
	}))
	require.Equal(t, 2, runs)
}
