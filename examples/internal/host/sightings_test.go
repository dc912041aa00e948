package host

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// TestInspectShowsInstances: of a distributed router one sees which part of it is here, by what it
// reaches the others, and what these have.
func TestInspectShowsInstances(t *testing.T) {
	r := dataplane.Router{ID: "r1", Transit: &dataplane.Transit{
		Port: dataplane.Port{
			ID: "t1", Network: dataplane.Network{ID: "transit-r1", Type: dataplane.NetworkVXLAN, Segment: 7},
			MAC: dataplane.MAC{2, 5: 1}, MTU: 1450, Addrs: []netip.Prefix{netip.MustParsePrefix("169.254.64.2/18")},
		},
		Routes:   []dataplane.Route{{Dest: netip.MustParsePrefix("10.0.2.6/32"), NextHop: netip.MustParseAddr("169.254.64.3")}},
		External: []dataplane.Route{{Dest: netip.MustParsePrefix("203.0.113.0/24"), NextHop: netip.MustParseAddr("169.254.64.1")}},
		Centre:   []netip.Addr{netip.MustParseAddr("169.254.64.1")},
	}}
	text := sightings{{ID: r.ID, Applied: &r}}.String()
	require.Contains(t, text, `
  PORT     DEVICE  ADDRESSES        MAC                MTU   NETWORK
  transit  qt-t1   169.254.64.2/18  02:00:00:00:00:01  1450  transit-r1 (vxlan 7), this is an edge, and the centre is at 169.254.64.1
  BY TRANSIT      TO INSTANCE
  10.0.2.6/32     169.254.64.3
  203.0.113.0/24  169.254.64.1
`)
	r.Transit.Centre, r.Transit.External = nil, nil
	require.Contains(t, sightings{{ID: r.ID, Applied: &r}}.String(), "(vxlan 7), this is the centre\n")
}
