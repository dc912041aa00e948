package ovs_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// A process that is started on a host with a thousand ports makes none again, and writes no flow.
func TestThousandPorts(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	h := newHost(t)
	const networks, callers = 100, 32
	router := h.Router("r1")
	port := func(i int) (string, dataplane.Port) {
		id := fmt.Sprintf("p%d", i)
		return "qr-" + id, wiringtest.LocalPort(fmt.Sprintf("net%d", i%networks), id, i)
	}
	all := func(do func(dev string, p dataplane.Port) error) {
		wiringtest.InParallel(callers, func(c int) {
			for i := c; i < n && !t.Failed(); i += callers {
				dev, p := port(i)
				if err := do(dev, p); err != nil {
					t.Error(err)
				}
			}
		})
		require.False(t, t.Failed())
	}
	d := h.driver(ovs.Config{})
	all(func(dev string, p dataplane.Port) error {
		return d.Plug(wiringtest.Soon(t), router, wiringtest.At(dev, p))
	})
	before, flows := h.transactions(), h.flows("br-int")

	d = h.driver(ovs.Config{})
	all(func(dev string, p dataplane.Port) error {
		steps, err := d.Plan(wiringtest.Soon(t), router, wiringtest.At(dev, p))
		if err == nil && len(steps[0]) > 0 {
			err = fmt.Errorf("%v", steps)
		}
		return err
	})
	all(func(dev string, p dataplane.Port) error {
		return d.Plug(wiringtest.Soon(t), router, wiringtest.At(dev, p))
	})
	require.Equal(t, before, h.transactions())
	require.Equal(t, flows, h.flows("br-int"))

	require.NoError(t, d.Release(wiringtest.Soon(t), "r1"))
	require.Empty(t, h.ports())
	require.Equal(t, []string{"br-int"}, h.devices())
}
