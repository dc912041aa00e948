// Package membus is an [l3.Bus] in memory, for a control plane and agents in one process. It opens
// no port and writes no file.
//
// It keeps no routers: a watch reads what the database records of its host, and then whatever is
// committed. So nothing is lost when the process ends. Tunnel peers are kept in memory. After a
// restart they are known again when each host has sent a heartbeat.
//
// Goroutines: that of [Bus.Run], and one for each watch, which ends with the watch's context, with
// Run, and with Close.
package membus

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/internal/claim"
)

// Options configure a bus. The zero Options are good.
type Options struct {
	Lifetime time.Duration // how long an agent that is not heard of any more stays a tunnel peer; 0: 24 hours
	Poll     time.Duration // between looks for what other processes have committed; 0: 1 s
	Server   string        // names this process in the claim on the database; empty: host name and process ID
	Logger   *slog.Logger  // nil: nothing is logged
}

// Bus is an [l3.Bus]. A database is served by one bus at a time, so there is one Bus for a
// database, in all processes.
type Bus struct {
	control l3.ControlPlane
	options Options
	log     *slog.Logger
	id      string // in the claim on the database

	mu      sync.Mutex
	changed chan struct{}            // closed, and replaced, when one of the next three changes
	running context.Context          // of Run; nil: it does not work
	trouble error                    // why nothing may be published; nil: it may
	closed  bool                     //
	opening map[string]chan struct{} // by host: has room for the session that is being opened
	watches map[string]*watch        // by host
	busy    map[chan struct{}]bool   // heartbeats that are being taken; each is closed in the end
	unheard map[string]unheard       // by host
	peers   map[string]peer          // by host
	active  sync.WaitGroup           // watches
}

// peer is a host's address for tunnels.
type peer struct {
	addr netip.Addr
	seen time.Time
}

// ErrNotRunning is returned while [Bus.Run] does not work.
var ErrNotRunning = errors.New("the bus does not run")

// ErrClosed is returned after [Bus.Close].
var ErrClosed = errors.New("the bus is closed")

// Open opens a bus for a control plane, and claims its database. It fails with [l3.OtherBusError]
// while another bus serves the database. If that bus ended without releasing it, Open waits until
// the claim has lapsed, at most [l3.BusClaimTime].
func Open(ctx context.Context, control l3.ControlPlane, o Options) (*Bus, error) {
	if control == nil {
		return nil, errors.New("open bus: the control plane is missing")
	}
	o.Lifetime = cmp.Or(o.Lifetime, 24*time.Hour)
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.Server = cmp.Or(o.Server, claim.ServerName())
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bus{
		control: control, options: o, log: o.Logger, id: rand.Text(), changed: make(chan struct{}),
		opening: map[string]chan struct{}{}, watches: map[string]*watch{}, busy: map[chan struct{}]bool{},
		unheard: map[string]unheard{}, peers: map[string]peer{},
	}
	if err := claim.First(ctx, b.log, b.claim); err != nil {
		return nil, fmt.Errorf("open bus: %w", err)
	}
	return b, nil
}

// claim records in the database that this bus serves it, or renews that record.
func (b *Bus) claim(ctx context.Context) error {
	if err := b.control.ClaimBus(ctx, b.id, b.options.Server); err != nil {
		return fmt.Errorf("claim database: %w", err)
	}
	return nil
}

// set changes what is waited for.
func (b *Bus) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// state returns the context of Run, or why agents cannot be served, and a channel that is closed
// when that changes.
func (b *Bus) state() (running context.Context, changed <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		err = ErrClosed
	case b.running == nil:
		err = ErrNotRunning
	default:
		err = b.trouble
	}
	return b.running, b.changed, err
}

// Run implements [l3.Bus]. It fails after Close, and while another Run works.
func (b *Bus) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var err error
	b.set(func() {
		switch {
		case b.closed:
			err = ErrClosed
		case b.running != nil:
			err = errors.New("it runs already")
		default:
			b.running = ctx
		}
	})
	if err != nil {
		return fmt.Errorf("run bus: %w", err)
	}
	b.publishing(ctx)
	b.set(func() { b.running = nil })
	b.active.Wait() // for watches, which end with ctx
	return nil
}

// publishing tells the watches what is committed, and renews the claim on the database.
func (b *Bus) publishing(ctx context.Context) {
	renew := time.Now()
	pause := backoff.Backoff{Pause: 100 * time.Millisecond, Longest: 5 * time.Second}
	for fails := 0; ctx.Err() == nil; {
		if !time.Now().Before(renew) {
			if b.renew(ctx) {
				renew = time.Now().Add(claim.RenewEvery)
			}
		}
		err := b.publish(ctx)
		b.expirePeers()
		wait, committed := b.options.Poll, b.control.Committed()
		if err != nil && ctx.Err() == nil {
			b.log.Warn("what was committed waits to be published", "err", err)
			wait, committed = pause.After(fails), nil
			fails++
		} else {
			fails = 0
		}
		select {
		case <-committed:
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// renew reports whether the claim was renewed. While another bus has the database, no host is
// served.
func (b *Bus) renew(ctx context.Context) bool {
	err := b.claim(ctx)
	_, _, before := b.state()
	switch {
	case err == nil:
		if before != nil {
			b.set(func() { b.trouble = nil })
		}
		return true
	case ctx.Err() != nil:
	case !errors.Is(err, l3.ErrOtherBus):
		b.log.Warn("cannot renew the claim of the bus on the database", "err", err)
	case before == nil:
		b.log.Error("another bus serves the database: publishing stops", "err", err)
		b.set(func() {
			b.trouble = err
			for _, w := range b.watches {
				w.stop()
			}
		})
	}
	return false
}

// batch is how many notices are read at once.
const batch = 256

// publish tells the watches about all notices. A host that has no watch reads everything when its
// agent opens one.
func (b *Bus) publish(ctx context.Context) error {
	for {
		if _, _, err := b.state(); err != nil {
			return err
		}
		notices, err := b.control.Unpublished(ctx, batch)
		if err != nil || len(notices) == 0 {
			return err
		}
		b.mu.Lock()
		for _, n := range notices {
			if w := b.watches[n.Host]; w != nil {
				w.tell(n.RouterID)
			}
		}
		b.mu.Unlock()
		if err := b.control.Published(ctx, notices); err != nil {
			return err
		}
	}
}

// Ready implements [l3.Bus]. It returns an error while Run does not work, the database cannot be
// written, or another bus serves it.
func (b *Bus) Ready(ctx context.Context) error {
	if _, _, err := b.state(); err != nil {
		return err
	}
	return b.claim(ctx)
}

// Source implements [l3.Bus]. A new watch of a host ends the one before, whichever source it is of.
func (b *Bus) Source(host string) (agent.Source, error) {
	if err := agent.CheckHostName(host); err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	return &source{b, host}, nil
}

// releaseTime is how long Close waits for the database.
const releaseTime = 2 * time.Second

// Close implements [l3.Bus].
func (b *Bus) Close() error {
	again := false
	b.set(func() { again, b.closed = b.closed, true })
	if again {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	if err := b.control.ReleaseBus(ctx, b.id, b.options.Server); err != nil {
		b.log.Debug("cannot release the claim of the bus on the database", "err", err)
	}
	return nil
}

var _ l3.Bus = (*Bus)(nil)
