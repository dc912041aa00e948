package natsbus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// Publisher tells the hosts what was committed. Several may run, on one store, in one process or many: what they do twice changes nothing.
type Publisher struct {
	store   l3.Store
	desired l3.Desired
	bus     *Bus
	wake    chan struct{}

	// To be set before Run.
	Poll      time.Duration     // between looks into the outbox when nobody called Wake; 0: 1 s
	Reconcile time.Duration     // between comparisons of everything; 0: 1 hour
	Published func(notices int) // told how much of the outbox is done; nil: nobody
	Logger    *slog.Logger      // nil: nothing is logged
}

// NewPublisher makes one. Nothing runs before [Publisher.Run].
func NewPublisher(store l3.Store, desired l3.Desired, bus *Bus) *Publisher {
	return &Publisher{store: store, desired: desired, bus: bus, wake: make(chan struct{}, 1)}
}

// Wake says that there is something in the outbox. It does not block; it is what l3.Config.Published may call.
func (p *Publisher) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends, and then returns nil. Before anything else it compares everything, if the bus was never filled or was lost. It fails
// when the connection is closed.
func (p *Publisher) Run(ctx context.Context) error {
	r := *p
	if r.Poll == 0 {
		r.Poll = time.Second
	}
	if r.Reconcile == 0 {
		r.Reconcile = time.Hour
	}
	if r.Published == nil {
		r.Published = func(int) {}
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	m := marker{bus: r.bus}
	stop, err := m.serve(ctx, func(host string, err error) {
		r.Logger.Debug("a host that asks for marks waits", "host", host, "err", err)
	})
	if err != nil {
		return err
	}
	r.loop(ctx)
	return stop()
}

func (p *Publisher) loop(ctx context.Context) {
	compare := time.Now().Add(p.Reconcile)
	for fails := 0; ctx.Err() == nil; {
		err := p.turn(ctx, &compare)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.Logger.Warn("what was committed waits to be published", "err", err)
			if !sleep(ctx, min(100*time.Millisecond<<min(fails, 6), 5*time.Second)) {
				return
			}
			fails++
			continue
		}
		fails = 0
		select {
		case <-p.wake:
		case <-time.After(p.Poll):
		case <-ctx.Done():
		}
	}
}

// turn publishes everything that there is to publish.
func (p *Publisher) turn(ctx context.Context, compare *time.Time) error {
	filling, err := p.bus.complete(ctx)
	if err != nil {
		return errors.Join(err, p.bus.create(ctx)) // the bus may have lost what it had
	}
	if filling == "" || time.Now().After(*compare) {
		if err := p.ReconcileNow(ctx); err != nil {
			return err
		}
		*compare = time.Now().Add(p.Reconcile)
	}
	for {
		n, err := p.drain(ctx)
		if n == 0 || err != nil {
			return err
		}
	}
}

const (
	batch    = 256 // notices read at once
	parallel = 16  // keys written at once
)

// drain publishes the first notices of the outbox, and says how many there were.
func (p *Publisher) drain(ctx context.Context) (int, error) {
	var notices []l3.Notice
	err := p.store.View(ctx, func(tx l3.Tx) (err error) {
		notices, err = tx.Outbox().Next(ctx, batch)
		return err
	})
	if err != nil || len(notices) == 0 {
		return 0, err
	}
	if err := p.publish(ctx, notices); err != nil {
		return 0, err
	}
	upTo := notices[len(notices)-1].Seq
	if err := p.store.Update(ctx, func(tx l3.Tx) error { return tx.Outbox().Done(ctx, upTo) }); err != nil {
		return 0, err
	}
	p.Published(len(notices))
	return len(notices), nil
}

// publish settles what the notices are about: a router's hosts in the order of their last notices, so that the one before lets go first, and each
// but once, because what is published is always the present state.
func (p *Publisher) publish(ctx context.Context, notices []l3.Notice) error {
	type place struct{ host, routerID string }
	epochs := map[place]uint64{} // that each had left with
	hosts := map[string][]string{}
	for _, n := range notices {
		at := place{n.Host, n.RouterID}
		earlier := slices.DeleteFunc(hosts[n.RouterID], func(h string) bool { return h == n.Host })
		hosts[n.RouterID] = append(earlier, n.Host)
		epochs[at] = max(epochs[at], n.Epoch)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for id, all := range hosts {
		g.Go(func() error {
			for _, host := range all {
				if err := p.settle(ctx, host, id, epochs[place{host, id}]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// settle publishes one router. What cannot be compiled keeps nobody else waiting: its host stays with what it has.
func (p *Publisher) settle(ctx context.Context, host, routerID string, epoch uint64) error {
	err := p.bus.settle(ctx, host, routerID, epoch, p.desired)
	if errors.Is(err, dataplane.ErrInvalid) {
		p.Logger.Error("a router cannot be published", "router", routerID, "host", host, "err", err)
		return nil
	}
	return err
}
