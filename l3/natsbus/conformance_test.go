package natsbus_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/natsbus"
)

func TestConformance(t *testing.T) {
	l3test.RunBus(t, func(t testing.TB, control l3.ControlPlane) (l3.Bus, error) {
		return natsbus.OpenEmbedded(t.Context(), natsbus.ServerConfig{Secret: secret, Dir: t.TempDir()}, control, natsbus.Options{
			Poll: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
	})
}

// TestOpenEmbeddedFails: it leaves nothing behind, so that another attempt finds the directory
// free.
func TestOpenEmbeddedFails(t *testing.T) {
	config := natsbus.ServerConfig{Secret: secret, Dir: t.TempDir()}
	open := func(deployment string) (*natsbus.Bus, error) {
		w := newWorld()
		w.deployment.ID = deployment
		return natsbus.OpenEmbedded(t.Context(), config, w, natsbus.Options{})
	}
	for range 2 {
		bus, err := open("one")
		require.NoError(t, err)
		require.NoError(t, bus.Close())
		_, err = open("another")
		require.ErrorIs(t, err, natsbus.ErrOtherDeployment)
	}
}

// TestSourceOfABusElsewhere: only what is in this process can be reached without a login.
func TestSourceOfABusElsewhere(t *testing.T) {
	r := newRig(t)
	_, err := r.bus.Source("h1")
	require.ErrorContains(t, err, "open source of host h1: the bus is not in this process")
}
