package l3test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func failedChangesNothing(t *testing.T, s l3.Store) {
	ctx := t.Context()
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "before")}) })
	refused := errors.New("refused")
	require.ErrorIs(t, s.Update(ctx, func(tx l3.Tx) error {
		require.NoError(t, tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "not")}))
		require.NoError(t, tx.Outbox().Add(ctx, l3.Notice{Host: "h"}))
		return refused
	}), refused)
	require.Equal(t, []string{"before"}, routerNames(t, s, l3.Query{}))
	view(t, s, func(tx l3.Tx) error {
		notices, err := tx.Outbox().Next(ctx, 10)
		require.Empty(t, notices)
		return err
	})
}

func panicChangesNothing(t *testing.T, s l3.Store) {
	ctx := t.Context()
	require.PanicsWithValue(t, "boom", func() {
		_ = s.Update(ctx, func(tx l3.Tx) error {
			require.NoError(t, tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "not")}))
			panic("boom")
		})
	})
	require.PanicsWithValue(t, "boom", func() { _ = s.View(ctx, func(l3.Tx) error { panic("boom") }) })
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "after")}) })
	require.Equal(t, []string{"after"}, routerNames(t, s, l3.Query{}))
}

func goesOnAfterTaken(t *testing.T, s l3.Store) {
	ctx := t.Context()
	r := l3.Router{Meta: meta("p", "first")}
	a := netip.MustParseAddr("10.0.0.1")
	update(t, s, func(tx l3.Tx) error {
		require.NoError(t, tx.Routers().Insert(ctx, r))
		require.ErrorIs(t, tx.Routers().Insert(ctx, r), l3.ErrTaken)
		require.NoError(t, tx.Addresses().Claim(ctx, "s", a, "one"))
		require.ErrorIs(t, tx.Addresses().Claim(ctx, "s", a, "two"), l3.ErrTaken)
		return tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "second")})
	})
	require.ElementsMatch(t, []string{"first", "second"}, routerNames(t, s, l3.Query{}))
}

func staleUpdate(t *testing.T, s l3.Store) {
	ctx := t.Context()
	r := l3.Router{Meta: meta("p", "one")}
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, r) })
	old := r
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Update(ctx, &r) })
	runs := 0
	update(t, s, func(tx l3.Tx) error {
		if runs++; runs == 1 {
			stale := old
			require.NoError(t, tx.Networks().Insert(ctx, l3.Network{Meta: meta("p", "")}))
			return tx.Routers().Update(ctx, &stale)
		}
		got, err := tx.Routers().Get(ctx, r.ID)
		require.NoError(t, err)
		n, err := tx.Networks().Count(ctx)
		require.NoError(t, err)
		require.Zero(t, n, "the first run left something")
		return tx.Routers().Update(ctx, &got)
	})
	require.Equal(t, 2, runs)
	require.Error(t, s.Update(ctx, func(tx l3.Tx) error {
		stale := old
		_ = tx.Routers().Update(ctx, &stale)
		return nil
	}), "it cannot be right, and must not be silent")
}

func viewsSeeOneState(t *testing.T, s l3.Store) {
	ctx := t.Context()
	view(t, s, func(before l3.Tx) error {
		n, err := before.Routers().Count(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
		update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "")}) })
		n, err = before.Routers().Count(ctx)
		require.Zero(t, n)
		return err
	})
	require.Len(t, routerNames(t, s, l3.Query{}), 1)
}

// oneAfterAnother adds to one number, and keeps the sum of two (write skew), from many goroutines.
func oneAfterAnother(t *testing.T, s l3.Store) {
	ctx := t.Context()
	r := l3.Router{Meta: meta("p", "")}
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, r) })
	const clients, each = 8, 10
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range each {
				err := s.Update(ctx, func(tx l3.Tx) error {
					n, err := tx.Networks().Count(ctx)
					if err != nil {
						return err
					}
					if n < 5 { // at most five, however many look at once
						if err := tx.Networks().Insert(ctx, l3.Network{Meta: meta("p", "")}); err != nil {
							return err
						}
					}
					got, err := tx.Routers().Get(ctx, r.ID)
					if err != nil {
						return err
					}
					return tx.Routers().Update(ctx, &got)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	view(t, s, func(tx l3.Tx) error {
		got, err := tx.Routers().Get(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, 1+clients*each, got.Revision)
		n, err := tx.Networks().Count(ctx)
		require.Equal(t, 5, n)
		return err
	})
}

func obeysContext(t *testing.T, s l3.Store) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Update(ended, func(l3.Tx) error { return nil }), context.Canceled)
	require.ErrorIs(t, s.View(ended, func(l3.Tx) error { return nil }), context.Canceled)

	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, s.Update(ctx, func(tx l3.Tx) error {
		require.NoError(t, tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "not")}))
		cancel()
		_, err := tx.Routers().Count(ctx)
		return err
	}), context.Canceled)
	require.Empty(t, routerNames(t, s, l3.Query{}))

	// One that waits for its turn gives up, and leaves nobody waiting.
	waiting, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	update(t, s, func(tx l3.Tx) error {
		go func() { gaveUp <- s.Update(waiting, func(l3.Tx) error { return errors.New("its turn has come") }) }()
		cancel()
		require.ErrorIs(t, <-gaveUp, context.Canceled)
		return tx.Routers().Insert(t.Context(), l3.Router{Meta: meta("p", "stays")})
	})
	require.Equal(t, []string{"stays"}, routerNames(t, s, l3.Query{}))
}

func noUseAfterEnd(t *testing.T, s l3.Store) {
	var kept l3.Tx
	update(t, s, func(tx l3.Tx) error {
		kept = tx
		return nil
	})
	_, err := kept.Routers().Count(t.Context())
	require.Error(t, err)
}

func noUseAfterClose(t *testing.T, s l3.Store) {
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(t.Context(), l3.Router{Meta: meta("p", "")}) })
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	read := func(tx l3.Tx) error {
		_, err := tx.Routers().Count(t.Context())
		return err
	}
	require.Error(t, s.Update(t.Context(), read))
	require.Error(t, s.View(t.Context(), read))
}
