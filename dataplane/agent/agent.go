package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/internal/backoff"
)

// Agent keeps one host as its source says.
type Agent struct {
	config    Config
	log       *slog.Logger
	cache     *cache
	reports   *reportQueue
	sightings *sightingQueue
	running   atomic.Pointer[run]
}

// Status is what an agent is at.
type Status struct {
	Routers   int       // wanted here
	Waiting   int       // of them, not in the version wanted, or being taken away
	Failing   int       // of these, tried and failed
	Synced    bool      // a complete listing was read since Run began
	Refused   bool      // the control plane refuses this agent; see [ErrRefused]
	Orphans   []string  // routers that run here, and that the last complete listing did not name
	Heard     time.Time // of the control plane; zero: never
	Fenced    bool
	Cache     error // why the cache cannot be written; nil: it can, or there is none
	Corrected int   // routers that had drifted and were put right
	Counts    Counts
}

// Counts is what the heartbeat says of the routers wanted here.
type Counts struct{ Routers, Gateways, Interfaces, FloatingIPs int }

// New checks the configuration. Nothing runs before [Agent.Run].
func New(c Config) (*Agent, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Agent{config: c, log: c.Logger, reports: newReportQueue(), sightings: newSightingQueue()}
	if c.Cache != "" {
		if a.cache, err = openCache(c.Cache); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Status is the present one; before Run and after it, the zero Status. It may be called at any
// time.
func (a *Agent) Status() (s Status) {
	r := a.running.Load()
	if r == nil {
		return s
	}
	answer := make(chan Status, 1)
	select {
	case r.asks <- answer:
		return <-answer
	case <-r.over:
		return s
	}
}

// Run works until ctx ends, and then returns nil within a second of the dataplane's giving way.
// Routers stay as they are. An Agent is used for one Run or one [Agent.Once].
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := a.newRun()
	if err := r.restore(ctx); err != nil {
		return err
	}
	a.running.Store(r)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(r.over) // those who are waited for may ask for the status
	defer stop()
	wg.Go(func() { r.watch(ctx) })
	wg.Go(func() { r.beat(ctx) })
	wg.Go(func() { r.tellPeers(ctx) })
	wg.Go(func() { r.watchDrift(ctx) })
	wg.Go(func() { a.reports.deliver(ctx, a) })
	wg.Go(func() { r.sight(ctx) })
	wg.Go(func() { a.sightings.deliver(ctx, a) })
	if r.cache != nil {
		wg.Go(func() { r.mendCache(ctx) })
	}
	r.loop(ctx)
	return nil
}

func (a *Agent) newRun() *run {
	return &run{
		Agent: a, book: newBook(), messages: make(chan any, 64), results: make(chan result), heard: make(chan time.Time, 1),
		peers: make(chan []netip.Addr, 1), anew: make(chan struct{}, 1), beatNow: make(chan struct{}, 1), asks: make(chan chan Status),
		over: make(chan struct{}), lastHeard: time.Now(),
		snapshots: make(chan chan snapshot), instance: rand.Text(), removals: map[string][]chan error{},
		unlogged: map[string]time.Time{}, peersSet: make(chan struct{}, 1),
		drifted: make(chan string),
	}
}

// run is one Run. What is not a channel belongs to the goroutine of loop.
type run struct {
	*Agent
	book     *book
	messages chan any // events of the source, and began
	results  chan result
	heard    chan time.Time    // when a heartbeat was sent that the control plane has
	peers    chan []netip.Addr // the newest list that the wiring was not told of
	anew     chan struct{}     // the source is to be watched from the beginning
	asks     chan chan Status
	beatNow  chan struct{} // there is news for a heartbeat
	over     chan struct{}
	drifted  chan string // routers that somebody else may have changed

	snapshots chan chan snapshot
	known     peers     // the tunnel peers
	peersDue  time.Time // when one of them leaves; zero: none does

	instance   string                  // of this process; see [Session]
	seq        uint64                  // of the last report or inventory
	deployment string                  // that is served; empty: not known yet
	present    map[string]bool         // routers on the host when the listing was complete
	removals   map[string][]chan error // of orphans, by ID: who waits for them
	unlogged   map[string]time.Time    // orphans that were not logged yet, since when they are

	// A wiring that knows no tunnel peers would take away the tunnels that are on the host. So an
	// agent without a record of them applies routers when the wiring was told, or when the time is
	// over.
	peersSet   chan struct{}
	peersUntil time.Time // zero: they are known

	lastHeard time.Time
	everHeard bool
	busy      int // workers
	corrected int
	complete  bool // there was a Synced
	live      bool // the listing is over; what comes now is a change
	recovery  recovery
	once      *once // nil: it goes on until its context ends

	incomplete error // of the listing; nil: it was not
}

// Messages of the goroutine that watches the source.
type (
	began   struct{} // it is being watched anew
	refused struct{} // it was not, because the control plane refuses this agent
	// ended says that the source has ended, or why it cannot be watched.
	ended struct{ err error }
)

// recovery is how far an agent that is fenced has got since it was heard again. What it knows may
// be of before it was cut off, and routers that are elsewhere by now must not have their ports for
// a moment even: so it reads a whole listing first.
type recovery int

const (
	cut     recovery = iota
	heard            // a listing was asked for
	listing          // it has begun
)

// restore begins with what was applied before: first the tunnel peers, without which networks would
// be cut off from other hosts.
func (r *run) restore(ctx context.Context) error {
	kept := r.recall(ctx)
	if r.config.SetPeers == nil {
		return nil
	}
	if kept.Peers == nil {
		r.peersUntil = time.Now().Add(r.config.RestoreAfter)
		return nil
	}
	if err := r.config.SetPeers(ctx, kept.Peers); err != nil {
		r.log.Error("cannot set the tunnel peers", "err", err)
		r.peers <- kept.Peers
	}
	return nil
}

// recall reads what was applied before, and changes nothing.
func (r *run) recall(ctx context.Context) Cached {
	if r.cache == nil {
		r.deployment = r.ownerOnHost(ctx, nil)
		return Cached{}
	}
	kept, damaged, err := r.cache.read()
	if err != nil { // as if there were none: the control plane has the truth
		r.cache.fail(err)
	}
	for _, err := range damaged {
		r.log.Warn("a file of the cache is damaged, and left out", "err", err)
	}
	r.known.named = kept.Peers
	if r.deployment = kept.Deployment; r.deployment == "" {
		r.deployment = r.ownerOnHost(ctx, kept.Routers)
	}
	for _, assignment := range kept.Routers {
		r.book.restore(assignment, time.Now().Add(r.config.RestoreAfter))
	}
	if r.config.OnDisconnect == Fence {
		r.lastHeard = r.cache.lastHeard(r.lastHeard)
	}
	return kept
}

func (r *run) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		fence := r.fenceAt()
		if !fence.IsZero() && !time.Now().Before(fence) {
			r.log.Warn("cut off from the control plane: routers lose their ports", "for", time.Since(r.lastHeard).Round(time.Second))
			r.book.fence(true, time.Now())
			r.recovery = cut
			fence = time.Time{}
		}
		if !r.peersDue.IsZero() && !time.Now().Before(r.peersDue) {
			r.offerPeers(time.Now())
		}
		wait := r.dispatch(ctx)
		if r.once != nil && r.once.conclude != nil && r.settled() {
			r.once.conclude()
			r.once.conclude = nil
		}
		for _, due := range []time.Time{fence, r.peersDue} {
			if !due.IsZero() && (wait.IsZero() || due.Before(wait)) {
				wait = due
			}
		}
		timer.Stop()
		if !wait.IsZero() {
			timer.Reset(time.Until(wait))
		}
		select {
		case <-ctx.Done():
			for r.busy > 0 { // their contexts have ended too
				<-r.results
				r.busy--
			}
			return
		case m := <-r.messages:
			r.take(ctx, m)
		case done := <-r.results:
			r.settle(done)
		case r.lastHeard = <-r.heard:
			r.hear()
			r.logOrphans(ctx)
		case <-timer.C:
		case <-r.peersSet:
			r.peersUntil = time.Time{}
		case id := <-r.drifted:
			r.book.look(id, time.Now())
		case answer := <-r.asks:
			answer <- r.sum()
		case answer := <-r.snapshots:
			answer <- r.snapshot()
		}
	}
}

// hear notes that the control plane has heard the agent.
func (r *run) hear() {
	r.everHeard = true
	if r.config.OnDisconnect != Fence {
		return
	}
	if r.cache != nil {
		if err := r.cache.noteHeard(r.lastHeard); err != nil {
			r.cache.fail(err)
		}
	}
	if r.book.fenced && r.recovery == cut {
		r.log.Info("the control plane is heard again: routers that stay get their ports back when all of them are known")
		r.recovery = heard
		select {
		case r.anew <- struct{}{}:
		default:
		}
	}
}

// recovered gives the routers of a whole listing their ports back.
func (r *run) recovered() {
	if !r.book.fenced || r.recovery != listing {
		return
	}
	if time.Since(r.lastHeard) >= r.config.Lease { // the time that the last heartbeat bought is over
		r.recovery = cut
		return
	}
	r.log.Info("routers get their ports back")
	r.book.fence(false, time.Now())
}

// fenceAt is when the routers are to be fenced; zero: never.
func (r *run) fenceAt() time.Time {
	if r.config.OnDisconnect != Fence || r.book.fenced || r.once != nil {
		return time.Time{}
	}
	return r.lastHeard.Add(r.config.Lease)
}

// dispatch starts workers for what is due, and says when there is more. After a worker has ended it
// is called again.
func (r *run) dispatch(ctx context.Context) (wait time.Time) {
	if time.Now().Before(r.peersUntil) {
		return r.peersUntil
	}
	if r.once != nil && !r.complete {
		return time.Time{}
	}
	for r.busy < r.config.Parallel {
		j, later := r.book.next(time.Now())
		if j == nil {
			return later
		}
		r.busy++
		go func() { r.results <- r.work(ctx, j) }()
	}
	return time.Time{}
}

func (r *run) take(ctx context.Context, message any) {
	now := time.Now()
	switch m := message.(type) {
	case began:
		r.book.begin()
		r.book.refused = false
		r.live = false
		r.beatSoon() // the control plane may be a new one, or have lost its memory
		if r.recovery == heard {
			r.recovery = listing
		}
	case refused:
		r.book.refused = true
	case Put:
		if (m.Version() == Version{}) {
			r.log.Error("ignoring a router that the source gives without a version: its revision must be at least 1", "router", m.Router.ID)
			return
		}
		r.book.put(m.Assignment, r.live, now)
	case Gone:
		r.gone(ctx, m, now)
	case Synced:
		if m.Incomplete != nil {
			r.incomplete = fmt.Errorf("read the routers of this host: %w", m.Incomplete)
		}
		r.synced(ctx, m.Deployment)
	case removal:
		r.removeOrphan(m)
	case Peers:
		r.namePeers(m.Addrs, now)
	case ended:
		r.once.end(r.complete, m.err)
	default: // such as a pointer to an event
		r.log.Error("ignoring a message of the source that is no event", "type", fmt.Sprintf("%T", m))
	}
}

func (r *run) settle(done result) {
	r.busy--
	r.corrected += done.corrected
	if r.once != nil {
		r.once.failed[done.job.id] = done.err
	}
	r.book.done(done.job, done.err, time.Now(), r.delay)
	if done.report != nil {
		// The number is given here, where inventories are made, so that each is older or newer.
		r.seq++
		done.report.Instance, done.report.Seq = r.instance, r.seq
		r.reports.put(*done.report)
	}
	if done.job.want != nil {
		return
	}
	if id := done.job.id; done.err == nil && r.present[id] {
		delete(r.present, id)
		r.keepListing()
		if done.job.stray {
			r.beatSoon()
		}
	}
	r.removed(done.job.id, done.err)
}

// delay is when a router's next turn comes: soon after a failure, and later with each; else when it
// is looked at for drift. Half of it is left to chance, so that routers which failed together do
// not come back together.
func (r *run) delay(fails int) time.Duration {
	if fails == 0 {
		if r.config.CheckEvery < 0 {
			return 0
		}
		return backoff.Jitter(r.config.CheckEvery, spread)
	}
	return backoff.Backoff{Pause: r.config.RetryMin, Longest: r.config.RetryMax, Spread: spread}.After(fails - 1)
}

// spread is the part of each pause that is left to chance.
const spread = 0.5

// sum is the present status.
func (r *run) sum() Status {
	s := Status{Synced: r.complete, Refused: r.book.refused, Orphans: r.orphans(), Fenced: r.book.fenced, Corrected: r.corrected}
	if r.everHeard {
		s.Heard = r.lastHeard
	}
	if r.cache != nil {
		s.Cache = r.cache.broken()
	}
	for _, e := range r.book.entries {
		if e.fails > 0 {
			s.Failing++
		}
		if e.want == nil {
			s.Waiting++
			continue
		}
		if e.orphan {
			continue
		}
		if e.applied != e.want.Version() {
			s.Waiting++
		}
		s.Counts.Routers++
		s.Counts.Interfaces += len(e.want.Router.Ports)
		s.Counts.FloatingIPs += len(e.want.Router.FloatingIPs)
		if e.want.Router.Gateway != nil {
			s.Counts.Gateways++
		}
	}
	s.Routers = s.Counts.Routers
	return s
}

// pauses are those before the control plane is tried again.
func pauses() backoff.Backoff {
	return backoff.Backoff{Pause: time.Second, Longest: 30 * time.Second, Spread: spread}
}
