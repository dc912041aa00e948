package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

const (
	sessionTime = 10 * time.Second // for one request; then the agent asks again
	sessionsNow = 16               // requests that are worked on at once

	// agentMetadata marks the consumers that are made for agents.
	agentMetadata = "l3kit-host"
	// idleConsumer is how long a consumer outlives the last request of its agent. Within that time
	// an agent can go on reading while no control plane answers.
	idleConsumer = time.Hour

	peersMarkTime = 5 * time.Second
	markLife      = 24 * time.Hour
)

// sessions answers the agents that ask to be served: it creates the consumers that a host reads,
// and writes marks.
//
// A mark is a message that is written at a host's request. A host that has read up to the mark, and
// has nothing pending, has everything that was there when it asked. Without marks it could not
// know: in a cluster any server may answer a reader, and one that is just back, and behind the
// others, does not say so. The mark among a host's routers also names the session, before its
// consumers are created and after. So a host notices that it reads the consumers of another
// session: of a request that nobody waits for any more, and that was worked on late.
type sessions struct {
	bus    *Bus
	attach func(context.Context, agent.Session) error // [l3.Reporting].Attach
	log    *slog.Logger
	// check compares what the bus has for a host with the database.
	check func(ctx context.Context, host string) error

	turns chan struct{} // has room for those that are worked on

	mu   sync.Mutex
	busy map[string]bool // hosts whose request is worked on

	markMu sync.Mutex
	peers  uint64 // sequence number of the last mark among the peers, which all hosts read
	until  time.Time
}

func newSessions(
	b *Bus, attach func(context.Context, agent.Session) error, log *slog.Logger, check func(context.Context, string) error,
) *sessions {
	return &sessions{
		bus: b, attach: attach, log: log, check: check,
		turns: make(chan struct{}, sessionsNow), busy: map[string]bool{},
	}
}

// serve answers requests until the function that it returns is called. That function waits until no
// request is worked on.
func (s *sessions) serve(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	// One of the control planes answers.
	sub, err := s.bus.js.Conn().QueueSubscribe(subjectSession+"*", durable, func(request *nats.Msg) {
		host, ok := name(strings.TrimPrefix(request.Subject, subjectSession))
		if !ok || host == "" {
			return
		}
		// However fast one host asks, it has one turn at a time, and others wait for no more than
		// that.
		if !s.begin(host) {
			s.respond(request, host, sessionAnswer{Error: "another request of the host is being worked on"})
			return
		}
		wg.Go(func() {
			defer s.end(host)
			select {
			case s.turns <- struct{}{}:
				defer func() { <-s.turns }()
			case <-ctx.Done():
			}
			s.respond(request, host, s.answer(ctx, host, request.Data))
		})
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("answer agents that ask for a session: %w", err)
	}
	drained := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(drained) })
	return func() {
		cancel() // requests that are here already are answered with an error, so that no agent waits
		if sub.Drain() == nil {
			<-drained
		}
		wg.Wait()
	}, nil
}

func (s *sessions) begin(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[host] {
		return false
	}
	s.busy[host] = true
	return true
}

func (s *sessions) end(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, host)
}

func (s *sessions) respond(request *nats.Msg, host string, a sessionAnswer) {
	text, err := json.Marshal(a)
	if err == nil {
		err = request.Respond(text)
	}
	if err != nil {
		s.log.Debug("cannot answer an agent that asks for a session", "host", host, "err", err)
	}
}

func (s *sessions) answer(ctx context.Context, host string, text []byte) sessionAnswer {
	ctx, end := whileConnected(ctx, s.bus.js.Conn())
	defer end()
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	var r sessionRequest
	err := json.Unmarshal(text, &r)
	if err == nil && r.Host != host {
		err = fmt.Errorf("it is of host %q", r.Host)
	}
	if err != nil {
		return sessionAnswer{Error: fmt.Sprintf("the request cannot be understood: %v", err)}
	}
	a, err := s.open(ctx, r)
	switch {
	case errors.Is(err, l3.ErrHostTaken):
		s.log.Warn("refused the session of an agent", "host", host, "machine", r.Machine, "err", err)
		return sessionAnswer{Refused: err.Error()}
	case err != nil:
		s.log.Debug("an agent waits for its session", "host", host, "err", err)
		return sessionAnswer{Error: err.Error()}
	}
	return a
}

func (s *sessions) open(ctx context.Context, r sessionRequest) (a sessionAnswer, err error) {
	if err := s.attach(ctx, r.Session); err != nil {
		return a, err
	}
	a.Deployment = s.bus.self().Deployment
	if a.Filling, _, err = s.bus.filling(ctx); err != nil {
		return a, err
	}
	if a.Filling == "" {
		return a, errors.New("the bus does not have all routers yet")
	}
	if r.Filling == a.Filling {
		a.After = r.After
	}
	if a.After == 0 {
		if err := s.check(ctx, r.Host); err != nil {
			return a, err
		}
	}
	a.ID = rand.Text()
	began, err := s.markSession(ctx, r.Host, a.ID)
	if err != nil {
		return a, err
	}
	if a.After, err = s.consume(ctx, bucketRouters, r.Host, Token(r.Host)+".>", a.After); err != nil {
		return a, err
	}
	if _, err := s.consume(ctx, bucketPeers, r.Host, ">", 0); err != nil {
		return a, err
	}
	if a.Peers, err = s.peersMark(ctx); err != nil {
		return a, err
	}
	a.Routers, err = s.markSession(ctx, r.Host, a.ID, jetstream.WithExpectLastSequencePerSubject(began))
	if conflicts(err) {
		err = fmt.Errorf("another session of the host was opened meanwhile: %w", err)
	}
	return a, err
}

// consume creates the consumer of a host, in place of the one that it had: a consumer cannot be
// told to start elsewhere. It reads what was written after a sequence number; 0: the last value of
// each key, and then what is written. It returns the number, or 0 if the stream has not come as
// far.
func (s *sessions) consume(ctx context.Context, bucket, host, keys string, after uint64) (uint64, error) {
	stream := s.bus.stream(bucket)
	c := jetstream.ConsumerConfig{
		Name: Token(host), FilterSubject: subjectOf(bucket, keys), AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: idleConsumer,
		MaxWaiting: 16, MaxRequestBatch: 1000, MaxRequestExpires: time.Minute,
		Metadata: map[string]string{agentMetadata: host},
	}
	for {
		if err := deleteConsumer(ctx, stream, c.Name); err != nil {
			return 0, err
		}
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverLastPerSubjectPolicy, 0
		if after > 0 {
			c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, after+1
		}
		made, err := stream.CreateConsumer(ctx, c)
		switch {
		case err != nil:
			return 0, err
		case after == 0 || made.CachedInfo().Delivered.Stream >= after:
			return after, nil
		}
		after = 0 // it is an older copy
	}
}

// deleteConsumer deletes a consumer if it exists. In a cluster, the server that had it may be lost.
// Then nobody confirms, and the consumer is deleted all the same.
func deleteConsumer(ctx context.Context, s jetstream.Stream, consumer string) error {
	attempt, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := s.DeleteConsumer(attempt, consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || err != nil && attempt.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// markSession writes a mark among the routers of a host.
func (s *sessions) markSession(ctx context.Context, host, session string, options ...jetstream.PublishOpt) (uint64, error) {
	return s.mark(ctx, bucketRouters, routerKey(host, ""), markValue{Session: session}, options...)
}

func (s *sessions) mark(ctx context.Context, bucket, key string, v markValue, options ...jetstream.PublishOpt) (uint64, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	ack, err := s.bus.js.Publish(ctx, subjectOf(bucket, key), text, append(options, jetstream.WithMsgTTL(markLife))...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// peersMark returns a mark that is a few seconds old at most. What a host misses of the time since
// comes as a change.
func (s *sessions) peersMark(ctx context.Context) (_ uint64, err error) {
	s.markMu.Lock()
	defer s.markMu.Unlock()
	if time.Now().Before(s.until) {
		return s.peers, nil
	}
	if s.peers, err = s.mark(ctx, bucketPeers, keyMark, markValue{}); err == nil {
		s.until = time.Now().Add(peersMarkTime)
	}
	return s.peers, err
}
