package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/agent"
)

// Resume is how long an agent may be cut off and still read only what is new. After a longer time it reads everything, because the word that a
// router left may have expired meanwhile; see [Options.Markers].
const Resume = 12 * time.Hour

// Source is an [agent.Source] over the bus.
type Source struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	host string
	log  *slog.Logger
}

// NewSource makes one. There is one Source of a host at a time: a second takes the messages of the first, which begins again, and so on.
// The connection is not closed by it. log may be nil.
func NewSource(nc *nats.Conn, host string, log *slog.Logger) (*Source, error) {
	if host == "" {
		return nil, errors.New("natsbus: the host is missing")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("natsbus: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{nc, js, host, log}, nil
}

// Watch fails when the control plane has not yet declared that the bus has all routers: nothing is gone then because it is not there.
// After an interruption it goes on where it was; only where it cannot, or when somebody has closed the connection, it closes the channel.
func (s *Source) Watch(ctx context.Context, _ l3.Session) (<-chan agent.Event, error) {
	filling, err := s.filling(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch the routers of host %s: %w", s.host, err)
	}
	ctx, stop := context.WithCancel(ctx)
	events := make(chan agent.Event)
	send := func(e agent.Event) bool {
		select {
		case events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(events)
		defer stop()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { s.watchPeers(ctx, send) })
		s.watchRouters(ctx, filling, send)
		stop()
	}()
	return events, nil
}

// filling is which filling of the bucket this is; see [Bus.complete].
func (s *Source) filling(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := s.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+streamOf(bucketRouters)+"."+subjectOf(bucketRouters, keyComplete), nil)
	if err != nil {
		return "", err
	}
	if m.Header.Get("Status") != "" || len(m.Data) == 0 {
		return "", errors.New("the control plane has not filled the bus yet")
	}
	return string(m.Data), nil
}

// reading is one Watch of the routers.
type reading struct {
	*Source
	ctx     context.Context
	send    func(agent.Event) bool
	filling string // of the bucket, which must not change
	last    uint64 // sequence number

	mu     sync.Mutex
	spoilt map[string]bool // keys whose value cannot be read
	mark   uint64          // that must be got past; 0: not known yet
	caught uint64          // sequence number of the last message after which there was none
	synced bool
}

func (s *Source) watchRouters(ctx context.Context, filling string, send func(agent.Event) bool) {
	r := &reading{Source: s, ctx: ctx, send: send, filling: filling, spoilt: map[string]bool{}}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { r.complete(ctx) })
	f := s.feed(bucketRouters, Token(s.host)+".>")
	heard := time.Now()
	for {
		err := f.read(ctx, r.last, r.take, func() { heard = time.Now() })
		for err != nil && ctx.Err() == nil {
			if s.nc.IsClosed() {
				return
			}
			if errors.Is(err, errHistory) || time.Since(heard) > Resume {
				s.log.Warn("the routers are read from the beginning", "host", s.host, "err", err)
				return
			}
			s.log.Debug("the routers are read on", "host", s.host, "after", r.last, "err", err)
			if !sleep(ctx, 100*time.Millisecond) {
				return
			}
			err = r.verify()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// complete asks for a mark until it has one, and looks whether the listing is complete until it is. Meanwhile the routers are read.
func (r *reading) complete(ctx context.Context) {
	for {
		if !r.marked() {
			m, err := r.ask(ctx)
			if err != nil {
				r.log.Debug("the listing of routers waits for the control plane", "host", r.host, "err", err)
			}
			r.mu.Lock()
			r.mark = m.Routers
			r.mu.Unlock()
		}
		if synced, err := r.sync(); synced {
			return
		} else if err != nil {
			r.log.Debug("the listing of routers waits", "host", r.host, "err", err)
		}
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

func (r *reading) marked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mark > 0
}

// sync says that the listing is complete, once, if it is.
func (r *reading) sync() (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.synced || r.mark == 0 || r.caught < r.mark || len(r.spoilt) > 0 {
		return r.synced, nil
	}
	// A bucket that was lost and made anew since the reading began has not said that anything is gone.
	if err := r.verify(); err != nil {
		return false, err
	}
	r.synced = true
	return true, r.emit(agent.Synced{})
}

// verify finds out whether the bucket is still the one that the reading began with.
func (r *reading) verify() error {
	now, err := r.Source.filling(r.ctx)
	if err == nil && now != r.filling {
		return errHistory
	}
	return err
}

func (s *Source) feed(bucket, keys string) feed {
	return feed{s.nc, s.js, streamOf(bucket), Token(s.host), subjectOf(bucket, keys), 10 * time.Second}
}

// take passes a message on. A listing with a value that cannot be read is not complete before that was put right.
func (r *reading) take(m message) error {
	if m.subject != subjectOf(bucketRouters, routerKey(r.host, "")) {
		if err := r.pass(m); err != nil {
			return err
		}
	}
	r.last = m.sequence
	if !m.caughtUp {
		return nil
	}
	r.mu.Lock()
	r.caught = m.sequence
	r.mu.Unlock()
	_, err := r.sync()
	return err
}

func (r *reading) emit(e agent.Event) error {
	if !r.send(e) {
		return r.ctx.Err()
	}
	return nil
}

func (r *reading) pass(m message) error {
	id, v, err := r.decode(m)
	if err != nil {
		r.log.Error("a router of this host cannot be read; it stays as it is", "subject", m.subject, "err", err)
		r.spoil(m.subject, true)
		return nil
	}
	r.spoil(m.subject, false)
	if v.Router == nil {
		return r.emit(agent.Gone{RouterID: id, Epoch: v.Epoch, Revision: v.Revision})
	}
	return r.emit(agent.Put{Assignment: l3.Assignment{Host: r.host, Revision: v.Revision, Epoch: v.Epoch, Router: *v.Router}})
}

func (r *reading) spoil(subject string, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if is {
		r.spoilt[subject] = true
	} else {
		delete(r.spoilt, subject)
	}
}

func (r *reading) decode(m message) (id string, v routerValue, err error) {
	token := strings.TrimPrefix(m.subject, subjectOf(bucketRouters, Token(r.host)+"."))
	id, ok := name(token)
	if !ok {
		return "", v, errors.New("its key is no router's")
	}
	v, err = decodeRouter(r.host, id, m.value)
	return id, v, err
}

// watchPeers says who the tunnel peers are when it has read them all, and whenever that changes. After an interruption it reads them again.
func (s *Source) watchPeers(ctx context.Context, send func(agent.Event) bool) {
	f := s.feed(bucketPeers, ">")
	var said []netip.Addr
	for first := true; ctx.Err() == nil; {
		mark, err := s.ask(ctx)
		if err != nil {
			s.log.Debug("the tunnel peers wait for the control plane", "host", s.host, "err", err)
			sleep(ctx, time.Second)
			continue
		}
		peers, complete := map[string]netip.Addr{}, false
		err = f.read(ctx, 0, func(m message) error {
			s.takePeer(peers, m)
			complete = complete || m.caughtUp && m.sequence >= mark.Peers
			now := addresses(peers)
			if !complete || !first && slices.Equal(now, said) {
				return nil
			}
			first, said = false, now
			send(agent.Peers{Addrs: slices.Clone(now)})
			return ctx.Err()
		}, func() {})
		s.log.Debug("the tunnel peers are read again", "host", s.host, "err", err)
		if !sleep(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// takePeer notes one. Without a value, its time is over.
func (s *Source) takePeer(peers map[string]netip.Addr, m message) {
	host, ok := name(strings.TrimPrefix(m.subject, subjectOf(bucketPeers, "")))
	if !ok || host == "" {
		return
	}
	if len(m.value) == 0 {
		delete(peers, host)
		return
	}
	addr, err := decodePeer(host, m.value)
	if err != nil {
		s.log.Error("a tunnel peer cannot be read; it stays as it is", "subject", m.subject, "err", err)
		return
	}
	peers[host] = addr
}

func addresses(peers map[string]netip.Addr) []netip.Addr {
	all := slices.SortedFunc(maps.Values(peers), netip.Addr.Compare)
	return slices.Compact(all)
}

// Report returns when the report is stored.
func (s *Source) Report(ctx context.Context, r l3.Report) error {
	r.Host = s.host
	text, err := encodeReport(r)
	if err == nil {
		_, err = s.js.Publish(ctx, subjectReports+Token(s.host), text)
	}
	if err != nil {
		return fmt.Errorf("report router %s: %w", r.RouterID, err)
	}
	return nil
}

// Heartbeat returns when the heartbeat is stored.
func (s *Source) Heartbeat(ctx context.Context, h l3.Heartbeat) error {
	h.Host = s.host
	text, err := encodeHeartbeat(h)
	if err == nil {
		_, err = s.js.Publish(ctx, subjectOf(bucketAgents, Token(s.host)), text)
	}
	if err != nil {
		return fmt.Errorf("heartbeat of host %s: %w", s.host, err)
	}
	return nil
}

var _ agent.Source = (*Source)(nil)
