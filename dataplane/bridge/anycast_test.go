package bridge_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func wait(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestSmoke(t *testing.T) {
	s := newSite(t, overVXLAN)
	n := s.node()
	n.edge()
	t.Log(n.table())
	w := n.workload(11)
	n2 := s.node()
	e2 := n2.edge()
	w2 := n2.workload(21)
	requireReaches(w2, e2, gateway)
	requireReaches(w2, w, w.addr())
	require.Equal(t, anycastMAC, w2.neighbour(gateway))
	require.NoError(t, n.Release(t.Context(), "edge"))
	require.Empty(t, n.table())
}
