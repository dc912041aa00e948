package bridge_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

// A process that is killed after it has unplugged the last port of a network, or before it has
// plugged the first, leaves a bridge and what connects it with other hosts.
func TestWhatAKilledProcessLeftIsSpare(t *testing.T) {
	networks := map[string]struct {
		dataplane.Network
		spare []string
	}{
		"local": {wiringtest.Local("net"), []string{"- wiring brqnet: network net has no port here"}},
		"VXLAN": {dataplane.Network{ID: "net", Type: dataplane.NetworkVXLAN, Segment: 9},
			[]string{"- wiring vxlan-9: network net has no port here", "- wiring brqnet: network net has no port here"}},
		"flat on an interface": {wiringtest.Flat("net"), []string{"- wiring brqnet: network net has no port here"}},
	}
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.wire("eth1", "203.0.113.1/24")
			require.NoError(t, h.LinkSetUp(h.link("eth1")))
			before := h.links()
			config := bridge.Config{Physical: map[string]string{"ext": "eth1"}, VXLAN: bridge.VXLAN{Local: netip.MustParseAddr("192.0.2.1")}}
			killed, router, other := h.driver(config), h.Router("r1"), h.Router("r2")
			wiringtest.Plug(t, killed, router, "qr-port", wiringtest.PortOn(n.Network, "port", 1))
			require.Empty(t, spare(t, killed), "a port needs it")
			require.NoError(t, h.LinkDel(h.link("tapport")))

			d := h.driver(config)
			require.Equal(t, n.spare, spare(t, d))
			wiringtest.Plug(t, d, other, "qr-other", wiringtest.LocalPort("other", "other", 2))
			require.NoError(t, d.Sweep(t.Context(), "r3", nil))
			require.Empty(t, spare(t, d))
			require.NotNil(t, h.link("tapother"), "what another network needs stays")
			require.NoError(t, d.Release(t.Context(), "r2"))
			require.Equal(t, before, h.links())
		})
	}
}

func spare(t *testing.T, d *bridge.Driver) (lines []string) {
	t.Helper()
	steps, err := d.Spare(t.Context(), "r3", nil)
	require.NoError(t, err)
	for _, s := range steps {
		lines = append(lines, s.String())
	}
	return lines
}
