package natsbus_test

import (
	"log/slog"
	"testing"
	"time"

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
