package membus_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/membus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	l3test.RunBus(t, func(t testing.TB, control l3.ControlPlane) (l3.Bus, error) {
		bus, err := membus.Open(t.Context(), control, membus.Options{Poll: 20 * time.Millisecond})
		if err != nil {
			return nil, err
		}
		return bus, nil
	})
}
