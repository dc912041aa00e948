package dataplanetest

import (
	"cmp"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// talks are connections that are open: by TCP, and by UDP either a stream that counts losses or a
// conversation.
type talks struct {
	conns   []*openConn
	streams []*openStream
}

type openConn struct {
	talk
	proto dataplane.Proto
	conn  Conn
	was   Seen
}

type openStream struct {
	talk
	stream Stream
}

// interval is the pace of streams: a gap of more than this in a change shows.
const interval = 4 * time.Millisecond

// begin opens connections, and ends the clause if one cannot be opened. Streams are for those that
// are to survive.
func (s *scene) begin(list []talk, stream bool) *talks {
	open := &talks{}
	for _, t := range list {
		s.host(t.from)
		protos := []dataplane.Proto{dataplane.TCP}
		if !stream {
			protos = append(protos, dataplane.UDP, dataplane.ICMP)
		}
		for _, proto := range protos {
			open.conns = append(open.conns, &openConn{talk: t, proto: proto})
		}
		if stream {
			open.streams = append(open.streams, &openStream{talk: t})
		}
	}
	failed := s.concurrently(len(open.conns)+len(open.streams), func(i int) error {
		if i < len(open.conns) {
			return open.conns[i].dial(s)
		}
		return open.streams[i-len(open.conns)].start(s)
	})
	for _, o := range open.conns {
		if o.conn != nil {
			s.closeLater(o.conn)
		}
	}
	for _, o := range open.streams {
		if o.stream != nil {
			s.closeLater(closer(func() { o.stop(s) }))
		}
	}
	s.must(failed)
	return open
}

type closer func()

func (c closer) Close() error { c(); return nil }

// concurrently runs n functions at once and returns an error of one of them.
func (s *scene) concurrently(n int, fn func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- fn(i) }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// target is what the connection is opened to.
func (t talk) target() netip.AddrPort { return netip.AddrPortFrom(t.to, cmp.Or(t.port, servicePort)) }

func (o *openConn) dial(s *scene) (err error) {
	ctx, cancel := s.soon()
	defer cancel()
	o.conn, err = s.hosts[o.from].Dial(ctx, o.proto, netip.AddrPortFrom(o.src, 0), o.target())
	if err == nil {
		o.was, err = o.conn.Exchange(ctx, 0)
	}
	if err == nil && o.proto != dataplane.ICMP && o.was.Src.Addr() != o.sees {
		err = fmt.Errorf("the source seen is %s, not %s", o.was.Src.Addr(), o.sees)
	}
	if err != nil {
		return fmt.Errorf("%s: open by %s: %w", o.name, o.proto, err)
	}
	return nil
}

func (o *openStream) start(s *scene) (err error) {
	ctx, cancel := s.soon()
	defer cancel()
	o.stream, err = s.hosts[o.from].Stream(ctx, netip.AddrPortFrom(o.src, 0), o.target(), interval)
	if err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	return nil
}

// stop ends the stream, once.
func (o *openStream) stop(s *scene) Flow {
	if o.stream == nil {
		return Flow{}
	}
	ctx, cancel := s.soon()
	defer cancel()
	f := o.stream.Stop(ctx)
	o.stream = nil
	return f
}

// pause lets the streams run for a while, so that a change comes amid them, and waits for nothing
// that has ceased to flow.
func (t *talks) pause(s *scene) {
	var wg sync.WaitGroup
	for _, o := range t.streams {
		wg.Go(func() {
			ctx, cancel := s.soon()
			defer cancel()
			if err := o.stream.Pause(ctx, 8); err != nil {
				s.failf("%s: %w", o.name, err)
			}
		})
	}
	wg.Wait()
}

// expectUnharmed wants every connection as it was, and every datagram back.
func (t *talks) expectUnharmed(s *scene) {
	var wg sync.WaitGroup
	for _, o := range t.streams {
		wg.Go(func() {
			switch f := o.stop(s); {
			case f.Lost > 0:
				s.failf("%s lost packets: %s", o.name, f)
			case len(f.Sources) != 1:
				s.failf("%s is seen from another source than before: %s", o.name, f)
			}
		})
	}
	wg.Wait()
	t.expectSame(s)
}

// expectSame wants every connection as it was.
func (t *talks) expectSame(s *scene) {
	s.fail(s.concurrently(len(t.conns), func(i int) error {
		o := t.conns[i]
		ctx, cancel := s.soon()
		defer cancel()
		now, err := o.conn.Exchange(ctx, 0)
		if err == nil && now != o.was {
			err = fmt.Errorf("it is seen from another source: %s, was %s", now.Src, o.was.Src)
		}
		if err != nil {
			return fmt.Errorf("%s by %s has ended, although nothing that concerns it has changed: %w", o.name, o.proto, err)
		}
		return nil
	}))
}

// expectEnded wants every connection to be dead: no answer, or, because a datagram is also the
// first of a new connection, one to another source. Of an ICMP conversation no source is known, so
// it may go on if the new router would let it begin.
func (t *talks) expectEnded(s *scene) {
	s.fail(s.concurrently(len(t.conns), func(i int) error {
		o := t.conns[i]
		ctx, cancel := s.briefly()
		defer cancel()
		now, err := o.conn.Exchange(ctx, 0)
		if err == nil && now == o.was && o.proto != dataplane.ICMP {
			return fmt.Errorf("%s by %s goes on as if nothing had changed, seen from %s", o.name, o.proto, now.Src)
		}
		return nil
	}))
}

// expectAnew wants the next datagram of every conversation by UDP to begin a new connection: to be
// answered, and to be seen in another way than before. One that still goes the old way may get lost
// for as long as its sender tries.
func (t *talks) expectAnew(s *scene) {
	s.fail(s.concurrently(len(t.conns), func(i int) error {
		o := t.conns[i]
		if o.proto != dataplane.UDP {
			return nil
		}
		ctx, cancel := s.soon()
		defer cancel()
		now, err := o.conn.Exchange(ctx, 0)
		if err == nil && now == o.was {
			err = fmt.Errorf("it is still seen by %s from %s", now.Host, now.Src)
		}
		if err != nil {
			return fmt.Errorf("%s by %s does not begin anew: %w", o.name, o.proto, err)
		}
		return nil
	}))
}
