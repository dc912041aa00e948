package httpserver

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// limited is a listener with a limit of connections. Some more are accepted, so that their clients
// can be told why they are not served. Beyond these, clients wait until the kernel can hand them
// over.
type limited struct {
	net.Listener
	most   int64
	open   atomic.Int64
	room   chan struct{} // a place for every connection that is accepted
	ending sync.Once
	ended  chan struct{}
}

func limit(l net.Listener, most int) *limited {
	return &limited{Listener: l, most: int64(most), room: make(chan struct{}, most+surplus(most)), ended: make(chan struct{})}
}

// surplus is how many connections beyond a limit are told that there are too many.
func surplus(most int) int { return most/4 + 16 }

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.ended:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &connection{Conn: c, of: l, surplus: l.open.Add(1) > l.most}, nil
}

func (l *limited) Close() error {
	l.ending.Do(func() { close(l.ended) })
	return l.Listener.Close()
}

// connection gives its place back when it is closed.
type connection struct {
	net.Conn
	of      *limited
	surplus bool // it is one too many
	closing sync.Once
}

func (c *connection) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() {
		c.of.open.Add(-1)
		<-c.of.room
	})
	return err
}

type connectionKey struct{}

// withConnection lets handlers know a request's connection.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}
