package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"
)

// bounds lists what an agent may send, and how much of it in a second and at once. An agent waits
// for the answer to one message before it sends the next of the kind. When it starts, it reports
// every router. Requests to consumers and answers are bounded less strictly: they cost little, and
// nothing is stored.
var bounds = [...]bound{
	{localSession, subjectSession, 10, 20, sendFirst},
	{localHeartbeat, subjectOf(bucketAgents, ""), 20, 20, sendLatest},
	{localReport, subjectReports, 200, 1000, sendFirst},
	{localRouters, nextSubject(bucketRouters, ""), 500, 15_000, count},
	{localPeers, nextSubject(bucketPeers, ""), 500, 15_000, count},
	{localAnswer, subjectAnswers, 200, 1000, count},
}

type bound struct {
	local     string // subject in the host's account
	prefix    string // of the subject in the control plane's account
	perSecond rate.Limit
	burst     int
	mode      mode
}

// mode says what the relay does with messages of a kind.
type mode int

const (
	sendFirst  mode = iota // in the order in which they came
	sendLatest             // of the messages that wait, only the latest, on behalf of all
	count                  // nothing: they do not pass through the relay, which sees them
)

const (
	// waitingMessages is how many messages of one kind wait for a host. When there are more, the
	// server discards what the host sends: for a second, and longer if the host does not stop.
	waitingMessages  = 64
	shutMin, shutMax = time.Second, 16 * time.Second
	// turnTime is how long a message keeps the next one of its host waiting. A stream that has no
	// leader at the moment loses what it is sent.
	turnTime = 500 * time.Millisecond
	// answerTime is how long the relay waits for an answer.
	answerTime = sessionTime
)

// relay passes what agents send on to streams and to the control plane. They work off the messages
// of all hosts in turn, and a stream syncs each. So a host that sends without end must be slowed
// down before its messages are in the same queue as those of others: one message of a kind and a
// host is on its way at a time.
//
// Only the content of a message is passed on, with neither header nor reply subject of an agent.
type relay struct {
	server *server.Server
	conn   *nats.Conn
	log    *serverLog
	ctx    context.Context // ends with the relay
	stop   func()

	mu    sync.Mutex
	ended bool
	lanes map[string]*lane // by the subject that they take; as many as hosts have logged in
	busy  sync.WaitGroup
}

// relayed returns the subject at which the relay of a server takes messages. Each server of a
// cluster relays what its own clients send.
func relayed(serverID, local, host string) string {
	return "relay." + serverID + "." + local + "." + host
}

// startRelay connects a relay to the server of its own process.
func startRelay(n *server.Server, secret []byte, log *serverLog) (*relay, error) {
	conn, err := nats.Connect("", nats.InProcessServer(n), nats.Name("relay"),
		nats.UserInfo(ControlUser, ControlCredential(secret)),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warnf("relay of heartbeats and reports: %v", err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("connect the relay of heartbeats and reports: %w", err)
	}
	r := &relay{server: n, conn: conn, log: log, lanes: map[string]*lane{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	for _, b := range bounds {
		prefix := b.prefix
		if b.mode != count {
			prefix = relayed(n.ID(), b.local, "")
		}
		_, failed := conn.Subscribe(prefix+"*", func(m *nats.Msg) { r.take(b, strings.TrimPrefix(m.Subject, prefix), m) })
		err = errors.Join(err, failed)
	}
	if err = errors.Join(err, conn.Flush()); err != nil {
		r.close()
		return nil, fmt.Errorf("start the relay of heartbeats and reports: %w", err)
	}
	return r, nil
}

func (r *relay) close() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.stop()
	closed := r.conn.StatusChanged(nats.CLOSED)
	r.conn.Close()
	<-closed
	r.busy.Wait()
}

// lane has the messages of one kind from one host.
type lane struct {
	bound
	host    string // a token
	limiter *rate.Limiter
	waiting []*nats.Msg
	running bool

	shut     bool // what the host sends is discarded
	shutTime time.Duration
	opened   time.Time // when that ended
}

// refusal returns the answer to a message that has no place, in the form of other answers.
func (l *lane) refusal() []byte {
	const reason = "too many messages of this host wait"
	if l.local == localSession {
		return []byte(`{"error":"` + reason + `"}`)
	}
	return []byte(`{"error":{"code":429,"description":"` + reason + `"}}`)
}

// take queues a message in the lane of a host, and answers one that has no place there.
func (r *relay) take(b bound, host string, m *nats.Msg) {
	if l, refused := r.queue(b, host, m); refused != nil {
		answer(refused, &nats.Msg{Data: l.refusal()})
	}
}

// queue returns the message that has waited longest, if too many wait.
func (r *relay) queue(b bound, host string, m *nats.Msg) (l *lane, refused *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil, nil
	}
	if l = r.lanes[m.Subject]; l == nil {
		l = &lane{bound: b, host: host, limiter: rate.NewLimiter(b.perSecond, b.burst)}
		r.lanes[m.Subject] = l
	}
	if l.mode == count {
		if !l.limiter.Allow() {
			r.shut(l)
		}
		return l, nil
	}
	if len(l.waiting) == waitingMessages {
		refused, l.waiting = l.waiting[0], l.waiting[1:]
		r.shut(l)
	}
	l.waiting = append(l.waiting, m)
	if !l.running {
		l.running = true
		r.busy.Go(func() { r.run(l) })
	}
	return l, refused
}

// shut has the server discard what is sent to a lane for a while: a login can send more than this
// connection can take, and others would wait. r.mu must be held.
func (r *relay) shut(l *lane) {
	if l.shut {
		return
	}
	account, err := r.server.LookupAccount(hostAccount + l.host)
	if errors.Is(err, server.ErrMissingAccount) {
		return // the host's agent is connected to another server of the cluster
	}
	if err == nil {
		err = account.AddMapping(l.local, localDiscard)
	}
	if err != nil {
		r.log.Errorf("discard what host %s sends: %v", l.host, err)
		return
	}
	if time.Since(l.opened) > shutMax {
		l.shutTime = 0
	}
	l.shut, l.shutTime = true, min(max(2*l.shutTime, shutMin), shutMax)
	d := l.shutTime
	r.busy.Go(func() {
		sleep(r.ctx, d)
		account.RemoveMapping(l.local)
		r.mu.Lock()
		defer r.mu.Unlock()
		l.shut, l.opened = false, time.Now()
	})
}

// run passes the messages of a lane on until none is waiting.
func (r *relay) run(l *lane) {
	for r.pending(l) {
		if l.limiter.Wait(r.ctx) != nil {
			return
		}
		askers := r.next(l)
		answered := make(chan struct{})
		r.busy.Go(func() {
			defer close(answered)
			r.pass(l.prefix+l.host, askers)
		})
		select {
		case <-answered:
		case <-time.After(turnTime):
		}
	}
}

func (r *relay) pending(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.running = len(l.waiting) > 0
	return l.running
}

// next returns the message that is to be sent, after those that get the same answer.
func (r *relay) next(l *lane) (askers []*nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.mode == sendLatest {
		askers, l.waiting = l.waiting, nil
		return askers
	}
	askers, l.waiting = l.waiting[:1:1], l.waiting[1:]
	return askers
}

// pass sends the last of some messages, and passes the answer on to all of them. Without an answer,
// the agents send again.
func (r *relay) pass(subject string, askers []*nats.Msg) {
	ctx, cancel := context.WithTimeout(r.ctx, answerTime)
	defer cancel()
	m, err := r.conn.RequestWithContext(ctx, subject, askers[len(askers)-1].Data)
	for _, asker := range askers {
		switch {
		case err == nil:
			answer(asker, &nats.Msg{Data: m.Data})
		case errors.Is(err, nats.ErrNoResponders): // as the server itself says it
			answer(asker, &nats.Msg{Header: nats.Header{"Status": {"503"}}})
		}
	}
}
func answer(asker *nats.Msg, m *nats.Msg) {
	if asker.Reply != "" {
		_ = asker.RespondMsg(m) // an agent that does not get it sends again
	}
}
