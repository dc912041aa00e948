package natsbus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// marks are what the control plane has just written, at the request of a host, by their sequence numbers. Who has read that far, and has nothing pending,
// has everything that was there when he asked. Without them he could not know: in a cluster any server may answer a reader, and one that is just
// back, and behind the others, does not say so.
type marks struct {
	Routers uint64 `json:"routers"`
	Peers   uint64 `json:"peers"`
}

// ask has the control plane write marks.
func (s *Source) ask(ctx context.Context) (m marks, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := s.nc.RequestWithContext(ctx, subjectListing+Token(s.host), nil)
	if err == nil {
		err = json.Unmarshal(answer.Data, &m)
	}
	if err == nil && (m.Routers == 0 || m.Peers == 0) {
		err = fmt.Errorf("the answer %s has no marks", answer.Data)
	}
	return m, err
}

// marker writes marks for hosts that ask. Those of the peers, which all hosts read, are for all who ask within a few seconds: what a host misses of
// the time between them comes as a change.
type marker struct {
	bus *Bus

	mu    sync.Mutex
	peers uint64
	until time.Time
}

const peersMarkTime = 5 * time.Second

// serve answers until the function that it returns is called.
func (m *marker) serve(ctx context.Context, failed func(host string, err error)) (stop func() error, err error) {
	// One of the control planes answers.
	s, err := m.bus.js.Conn().QueueSubscribe(subjectListing+"*", durable, func(request *nats.Msg) {
		host, ok := name(strings.TrimPrefix(request.Subject, subjectListing))
		if !ok || host == "" {
			return
		}
		if err := m.answer(ctx, host, request); err != nil {
			failed(host, err) // who asked asks again
		}
	})
	if err != nil {
		return nil, fmt.Errorf("answer hosts that ask for marks: %w", err)
	}
	return s.Unsubscribe, nil
}

func (m *marker) answer(ctx context.Context, host string, request *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	peers, err := m.peersMark(ctx)
	if err != nil {
		return err
	}
	routers, err := m.mark(ctx, bucketRouters, Token(host)+"."+keyMark, m.bus.options.Markers)
	if err != nil {
		return err
	}
	text, err := json.Marshal(marks{routers, peers})
	if err != nil {
		return err
	}
	return request.Respond(text)
}

func (m *marker) mark(ctx context.Context, bucket, key string, life time.Duration) (uint64, error) {
	ack, err := m.bus.js.Publish(ctx, subjectOf(bucket, key), []byte("{}"), jetstream.WithMsgTTL(life))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (m *marker) peersMark(ctx context.Context) (_ uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().Before(m.until) {
		return m.peers, nil
	}
	if m.peers, err = m.mark(ctx, bucketPeers, keyMark, m.bus.options.Lifetime); err == nil {
		m.until = time.Now().Add(peersMarkTime)
	}
	return m.peers, err
}
