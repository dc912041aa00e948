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
	l3test.RunBus(t, func(tb testing.TB, control l3.ControlPlane) (l3.Bus, error) {
		t := tb.(*testing.T)
		server := start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir()})
		nc := connect(t, natsbus.Login{Server: server})
		bus, err := natsbus.Open(t.Context(), nc, control, natsbus.Options{
			Embedded: server, Poll: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		if err != nil {
			return nil, err
		}
		require.NotEmpty(t, bus.ID())
		return bus, nil
	})
}
