package service_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

// countingStore counts how often sightings are read, as they are for an intent, and holds the first
// reader up until the keys of so many intents were read.
type countingStore struct {
	l3.Store
	readings, keys atomic.Int32
	enough         int32
	held           chan struct{}
}

func (s *countingStore) View(ctx context.Context, fn func(l3.Tx) error) error {
	return s.Store.View(ctx, func(tx l3.Tx) error { return fn(&countingTx{tx, s, 0}) })
}

type countingTx struct {
	l3.Tx
	store  *countingStore
	states int
}

func (tx *countingTx) RouterStates() l3.RouterStates {
	const edgeAndCentre = 2
	if tx.states++; tx.states == edgeAndCentre && tx.store.keys.Add(1) == tx.store.enough {
		close(tx.store.held)
	}
	return tx.Tx.RouterStates()
}

func (tx *countingTx) Sightings() l3.Table[l3.Sighting] {
	tx.store.readings.Add(1)
	<-tx.store.held
	return tx.Tx.Sightings()
}

// TestIntentIsReadOnce: when all hosts of a distributed router are told of a change at once, what
// is bound on its networks is read once.
func TestIntentIsReadOnce(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newSpreadOut(r)
		hosts := []string{"h1", "h2"}
		for _, host := range hosts {
			s.bound(s.web, host)
		}
		store := &countingStore{Store: r.store, enough: int32(len(hosts)), held: make(chan struct{})}
		fresh, err := service.New(service.Config{Store: store, Now: r.clock.Now})
		require.NoError(t, err)
		var all errgroup.Group
		for _, host := range hosts {
			all.Go(func() error {
				p, err := fresh.PlacementOf(t.Context(), host, s.router.ID)
				if err == nil {
					require.NotNil(t, p.Assignment)
				}
				return err
			})
		}
		require.NoError(t, all.Wait())
		require.EqualValues(t, 1, store.readings.Load())
	})
}
