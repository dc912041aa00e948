package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/backoff"
)

// watch is one [Source.Watch].
type watch struct {
	*Source
	session agent.Session
	events  chan agent.Event

	mu      sync.Mutex
	answer  sessionAnswer // of the session that is open
	routers feed
	last    uint64          // sequence number up to which no message of a router is missing
	missing bool            // a message after that was lost
	ended   bool            // the session may have ended; its consumers are read while they exist
	spoilt  map[string]bool // keys whose value cannot be read
	synced  bool

	peers     feed
	known     map[string]netip.Addr // by host
	allPeers  bool                  // known has all of them
	told      []netip.Addr
	toldPeers bool
}

// errOther is returned when the consumers of the host are those of another session.
var errOther = errors.New("another session of the host was opened")

// errHistory is returned when a watch cannot go on where it was.
var errHistory = errors.New("the bus does not have the history of the routers any more")

// begin reads the consumers of a session that was opened.
func (w *watch) begin(a sessionAnswer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = a
	w.routers = feed{nc: w.nc, subject: localRouters}
	w.peers = feed{nc: w.nc, subject: localPeers}
	w.missing, w.ended, w.known, w.allPeers = false, false, map[string]netip.Addr{}, false
}

// run reads until ctx ends, or the watch cannot go on.
func (w *watch) run(ctx context.Context) {
	for {
		err := w.read(ctx)
		if ctx.Err() != nil || w.nc.IsClosed() {
			return
		}
		w.log.Debug("reading routers was interrupted", "host", w.host, "err", err)
		if err := w.resume(ctx); err != nil {
			if ctx.Err() == nil {
				w.log.Warn("the routers are read from the beginning", "host", w.host, "err", err)
			}
			return
		}
	}
}

// read reads routers and peers until one of them cannot be read.
func (w *watch) read(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := w.routers.read(ctx, func(m message) error { return w.takeRouter(ctx, m) })
		if errors.Is(err, errGap) {
			w.mu.Lock()
			w.missing = true
			w.mu.Unlock()
		}
		stop(err)
	})
	wg.Go(func() { stop(w.peers.read(ctx, func(m message) error { return w.takePeer(ctx, m) })) })
	wg.Wait()
	return context.Cause(ctx)
}

// resume opens the session again, to go on after the last message. While no control plane answers
// it reads on with the consumers of the session before, if they still exist. It does not do so
// while it asks: it would take messages from the consumers that are made for the new session.
func (w *watch) resume(ctx context.Context) error {
	pause := backoff.Backoff{Pause: 100 * time.Millisecond, Longest: 5 * time.Second}
	for fails := 0; ; fails++ {
		a, err := w.open(ctx, w.request())
		if err == nil {
			return w.goOn(a)
		}
		if ctx.Err() != nil || w.nc.IsClosed() || errors.Is(err, agent.ErrRefused) {
			return err
		}
		w.log.Debug("the session of the host waits for a control plane", "host", w.host, "err", err)
		w.readWithout(ctx, pause.After(fails))
	}
}

// goOn begins a session that must continue the one before.
func (w *watch) goOn(a sessionAnswer) error {
	w.mu.Lock()
	after, filling := w.last, w.answer.Filling
	w.mu.Unlock()
	if a.Filling != filling || a.After == 0 && after > 0 {
		return errHistory
	}
	w.begin(a)
	return nil
}

// readWithout reads for a while, although the session may have ended.
func (w *watch) readWithout(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	w.mu.Lock()
	w.ended, w.missing = true, true // the consumers may be others by now
	w.mu.Unlock()
	for ctx.Err() == nil {
		err := w.read(ctx)
		w.log.Debug("reading routers without a control plane was interrupted", "host", w.host, "err", err)
		sleep(ctx, 100*time.Millisecond)
	}
}

func (w *watch) request() sessionRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sessionRequest{Session: w.session, After: w.last, Filling: w.answer.Filling}
}

func (w *watch) emit(ctx context.Context, e agent.Event) error {
	select {
	case w.events <- e:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeRouter passes a message on. When a message was lost before it, the session is opened again.
// Until a control plane does so, what comes is passed on, and is read again later.
func (w *watch) takeRouter(ctx context.Context, m message) error {
	other := false // the consumer is another session's
	if m.subject == subjectOf(bucketRouters, routerKey(w.host, "")) {
		var mark markValue
		other = json.Unmarshal(m.value, &mark) != nil || mark.Session != w.answer.ID
	} else if err := w.passRouter(ctx, m); err != nil {
		return err
	}
	w.mu.Lock()
	if w.missing = w.missing || m.gap || other; !w.missing {
		w.last = m.sequence
	}
	// A listing with a value that cannot be read is not complete before that was put right.
	synced := !w.synced && !w.missing && m.caughtUp && m.sequence >= w.answer.Routers && len(w.spoilt) == 0
	w.synced = w.synced || synced
	deployment, ended := w.answer.Deployment, w.ended
	w.mu.Unlock()
	switch {
	case other && !ended:
		return errOther
	case m.gap && !ended:
		return errGap
	case synced:
		return w.emit(ctx, agent.Synced{Deployment: deployment})
	}
	return nil
}

func (w *watch) passRouter(ctx context.Context, m message) error {
	id, v, err := w.decode(m)
	w.mu.Lock()
	deployment := w.answer.Deployment
	if err != nil {
		w.spoilt[m.subject] = true
	} else {
		delete(w.spoilt, m.subject)
	}
	w.mu.Unlock()
	switch {
	case err != nil:
		w.log.Error("ignoring a router of this host that cannot be read", "subject", m.subject, "err", err)
		return nil
	case v.Deployment != deployment:
		w.log.Error("ignoring a router that another deployment recorded for this host", "router", id, "its", v.Deployment, "ours", deployment)
		return nil
	case v.Router == nil:
		return w.emit(ctx, agent.Gone{Deployment: v.Deployment, RouterID: id, Epoch: v.Epoch, Revision: v.Revision, Request: v.Request, Orphan: v.Orphan})
	}
	return w.emit(ctx, agent.Put{Assignment: v.assignment()})
}

func (w *watch) decode(m message) (id string, v routerValue, err error) {
	token := strings.TrimPrefix(m.subject, subjectOf(bucketRouters, Token(w.host)+"."))
	id, ok := name(token)
	if !ok {
		return "", v, errors.New("its key is no router's")
	}
	v, err = decodeRouter(w.host, id, m.value)
	return id, v, err
}

// takePeer tells who the tunnel peers are when all of them are known, and whenever that changes.
func (w *watch) takePeer(ctx context.Context, m message) error {
	if m.gap {
		return errGap // a peer may be gone
	}
	w.notePeer(m)
	w.mu.Lock()
	w.allPeers = w.allPeers || m.caughtUp && m.sequence >= w.answer.Peers
	all := w.allPeers
	w.mu.Unlock()
	now := slices.Compact(slices.SortedFunc(maps.Values(w.known), netip.Addr.Compare))
	if !all || w.toldPeers && slices.Equal(now, w.told) {
		return nil
	}
	if err := w.emit(ctx, agent.Peers{Addrs: slices.Clone(now)}); err != nil {
		return err
	}
	w.told, w.toldPeers = now, true
	return nil
}

// notePeer notes one peer. A key without a value has expired.
func (w *watch) notePeer(m message) {
	host, ok := name(strings.TrimPrefix(m.subject, subjectOf(bucketPeers, "")))
	if !ok || host == "" {
		return
	}
	if len(m.value) == 0 {
		delete(w.known, host)
		return
	}
	addr, err := decodePeer(host, m.value)
	if err != nil {
		w.log.Error("ignoring a tunnel peer that cannot be used", "subject", m.subject, "err", err)
		return
	}
	w.known[host] = addr
}
