package natsbus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// place is a router on a host.
type place struct{ host, routerID string }

// reconcileNow compares everything that the bus has with the database, and writes what differs. It
// first tells the database what the bus has, which shows that the database was restored to an
// earlier state. If it was, or if the bus had lost something, all agents are made to read from the
// beginning. Several processes may do so at once, and while others publish.
func (p *publisher) reconcileNow(ctx context.Context) error {
	if err := p.compare(ctx); err != nil {
		return fmt.Errorf("compare the bus with the database: %w", err)
	}
	return nil
}

func (p *publisher) compare(ctx context.Context) error {
	filling, _, err := p.bus.filling(ctx)
	if err != nil {
		return err
	}
	have, err := p.bus.list(ctx, "*.*")
	if err != nil {
		return err
	}
	restored, err := p.control.Reconcile(ctx, queued(have))
	if err != nil {
		return err
	}
	if restored {
		p.log.Error("the database was restored to an earlier state than that of the bus: its versions were raised")
	}
	hosts, err := p.control.Hosts(ctx)
	if err != nil {
		return err
	}
	var different []place
	for _, host := range hosts {
		d, err := p.different(ctx, host, have)
		if err != nil {
			return err
		}
		different = append(different, d...)
	}
	for at := range have { // which the database does not record, or did not when its host was compared
		different = append(different, at)
	}
	// A difference that waits in the outbox is no loss.
	waiting, err := p.waiting(ctx)
	if err != nil {
		return err
	}
	lost, err := p.settleAll(ctx, different, waiting)
	if err != nil {
		return err
	}
	if filling != "" && lost > 0 && !restored {
		p.log.Error("the bus had lost changes, or is an older copy: they were written again", "routers", lost)
	}
	if filling == "" || restored || lost > 0 {
		return p.bus.setFilling(ctx)
	}
	return nil
}

// different compares what a host has on the bus with the database. It removes from have what it has
// compared.
func (p *publisher) different(ctx context.Context, host string, have map[place][]byte) (different []place, err error) {
	want, err := p.control.PlacementsOn(ctx, host)
	if errors.Is(err, dataplane.ErrInvalid) {
		// One router that cannot be compiled. Those that the bus has are settled one by one.
		p.log.Error("a router of the host cannot be published", "host", host, "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", host, err)
	}
	for _, w := range want {
		at := place{host, w.RouterID}
		text, err := json.Marshal(valueOf(w))
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(text, have[at]) {
			different = append(different, at)
		}
		delete(have, at)
	}
	return different, nil
}

// waiting returns what the outbox is about.
func (p *publisher) waiting(ctx context.Context) (map[place]bool, error) {
	const all = 1 << 30
	notices, err := p.control.Unpublished(ctx, all)
	waiting := make(map[place]bool, len(notices))
	for _, n := range notices {
		waiting[place{n.Host, n.RouterID}] = true
	}
	return waiting, err
}

// settleAll settles routers and returns how many had to be written although nothing was waiting to
// be published of them.
func (p *publisher) settleAll(ctx context.Context, places []place, waiting map[place]bool) (lost int, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	changes := make([]bool, len(places))
	for i, at := range places {
		g.Go(func() (err error) {
			changes[i], err = p.settle(ctx, at.host, at.routerID)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	for i, at := range places {
		if changes[i] && !waiting[at] {
			lost++
		}
	}
	return lost, nil
}

// checkHost compares what the bus has for one host, which is about to read it from the beginning.
func (p *publisher) checkHost(ctx context.Context, host string) error {
	have, err := p.bus.list(ctx, Token(host)+".*")
	if err != nil {
		return err
	}
	different, err := p.different(ctx, host, have)
	if err != nil {
		return err
	}
	for at := range have {
		different = append(different, at)
	}
	_, err = p.settleAll(ctx, different, nil)
	return err
}

// queued returns what the bus has, for the database. What cannot be read is left out, and is
// written again.
func queued(have map[place][]byte) []l3.Placement {
	all := make([]l3.Placement, 0, len(have))
	for at, text := range have {
		if v, err := decodeRouter(at.host, at.routerID, text); err == nil {
			all = append(all, v.placement(at.routerID))
		}
	}
	return all
}

// list reads the values of the keys of routers that match.
func (b *Bus) list(ctx context.Context, keys string) (map[place][]byte, error) {
	c, err := b.stream(bucketRouters).OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjectOf(bucketRouters, keys)}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
		InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	found := map[place][]byte{}
	info, err := c.Info(ctx)
	if err != nil || info.NumPending == 0 {
		return found, err
	}
	messages, err := c.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		if at, ok := splitKey(strings.TrimPrefix(m.Subject(), subjectOf(bucketRouters, ""))); ok {
			found[at] = m.Data()
		}
		if meta.NumPending == 0 {
			return found, nil
		}
	}
}

// splitKey is the inverse of routerKey. Marks are not routers.
func splitKey(key string) (at place, ok bool) {
	a, b, two := strings.Cut(key, ".")
	host, hostOK := name(a)
	routerID, idOK := name(b)
	return place{host, routerID}, two && hostOK && idOK && host != "" && routerID != ""
}
