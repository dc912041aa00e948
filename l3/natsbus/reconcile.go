package natsbus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/l3"
)

// ReconcileNow compares all keys with what all hosts must realise, writes what differs, and declares the bus complete. It repairs a bus that lost what it
// had, or part of it. Several processes may do so at once, and while others publish.
func (p *Publisher) ReconcileNow(ctx context.Context) error {
	have, err := p.bus.list(ctx)
	if err != nil {
		return fmt.Errorf("compare the bus with the database: %w", err)
	}
	hosts, err := p.hosts(ctx)
	if err != nil {
		return fmt.Errorf("compare the bus with the database: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, host := range hosts {
		want, err := p.desired.DesiredOn(ctx, host)
		if err != nil {
			return errors.Join(fmt.Errorf("compare what host %s must realise: %w", host, err), g.Wait())
		}
		for _, a := range want {
			key := routerKey(host, a.Router.ID)
			text, err := json.Marshal(valueOf(a))
			if err == nil && bytes.Equal(text, have[key]) {
				delete(have, key)
				continue
			}
			delete(have, key)
			g.Go(func() error { return p.settle(gctx, host, a.Router.ID, 0) })
		}
	}
	for key := range have { // that nobody must realise, or that came meanwhile
		host, id, ok := splitKey(key)
		if !ok {
			continue
		}
		g.Go(func() error { return p.settle(gctx, host, id, 0) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return p.bus.setComplete(ctx)
}

// hosts are those of all agents.
func (p *Publisher) hosts(ctx context.Context) (hosts []string, err error) {
	err = p.store.View(ctx, func(tx l3.Tx) error {
		hosts = nil
		agents, err := tx.Agents().List(ctx, l3.Query{})
		for _, a := range agents {
			hosts = append(hosts, a.Host)
		}
		return err
	})
	return hosts, err
}

// list reads the values of all routers, by key.
func (b *Bus) list(ctx context.Context) (map[string][]byte, error) {
	c, err := b.routers.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjectOf(bucketRouters, "*.*")}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
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
		if key := strings.TrimPrefix(m.Subject(), subjectOf(bucketRouters, "")); !strings.HasSuffix(key, "."+keyMark) {
			found[key] = m.Data()
		}
		if meta.NumPending == 0 {
			return found, nil
		}
	}
}

func splitKey(key string) (host, routerID string, ok bool) {
	a, b, two := strings.Cut(key, ".")
	if !two {
		return "", "", false
	}
	host, hostOK := name(a)
	routerID, idOK := name(b)
	return host, routerID, hostOK && idOK
}
