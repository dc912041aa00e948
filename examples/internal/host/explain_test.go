package host

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/examples/internal/explain"
)

// TestExplainDistributedRouter: on a host with an edge and the centre, a packet is followed through
// both.
func TestExplainDistributedRouter(t *testing.T) {
	port := func(id string, last byte, addr string) dataplane.Port {
		return dataplane.Port{ID: id, Network: dataplane.Network{ID: "n" + id[:1]}, MAC: dataplane.MAC{2, 0, 0, 0, 0, last}, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}
	}
	leg, outside, centre := port("a", 1, "10.0.0.1/24"), port("a-centre", 9, "10.0.0.1/24"), netip.MustParseAddr("169.254.64.9")
	here := netip.MustParseAddr("10.0.0.5")
	leg.Anycast, outside.Outside = &dataplane.Anycast{Neighbours: []netip.Addr{here}}, true
	back := dataplane.Route{Dest: netip.PrefixFrom(here, 32), NextHop: netip.MustParseAddr("169.254.64.1")}
	routers := []dataplane.Router{
		{ID: "r", Ports: []dataplane.Port{leg}, Transit: &dataplane.Transit{
			Port: port("t", 2, "169.254.64.1/18"), Routes: []dataplane.Route{{Dest: netip.MustParsePrefix("10.0.0.0/24"), NextHop: centre}}, Centre: []netip.Addr{centre},
		}},
		{ID: dataplane.CentreID("r"), Ports: []dataplane.Port{outside},
			Transit: &dataplane.Transit{Port: port("t-centre", 9, "169.254.64.9/18"), Routes: []dataplane.Route{back}},
			Gateway: &dataplane.Gateway{Port: port("ext", 3, "203.0.113.2/24"), NextHops: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, SNAT: true}},
	}
	e := Explain{HostQuestion: explain.HostQuestion{Question: explain.Question{From: here, To: netip.MustParseAddr("198.51.100.7"), Proto: "udp"}}}
	e.Cache = t.TempDir()
	for _, r := range routers {
		require.NoError(t, r.Validate())
		text, err := json.Marshal(agent.Assignment{Host: "h1", Router: r})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(e.Cache, r.ID+".json"), text, 0o600))
	}
	says := func() string {
		var out bytes.Buffer
		require.NoError(t, e.Run(t.Context(), &out))
		return out.String()
	}
	for _, e.Router = range []string{"r", "snat"} {
		require.Regexp(t, `(?s)^udp .* forwarded by ext to 203\.0\.113\.1, as 203\.0\.113\.2 → 198\.51\.100\.7\n`+
			`this host, edge\n.*\nthis host, centre\n.*its sender sees udp 198\.51\.100\.7 → 10\.0\.0\.5\n$`, says())
	}
	e.Router, e.Proto, e.ClampMSS = "r", "tcp", true
	require.Equal(t, 2, strings.Count(says(), "TCP announces segments of 1460 bytes at most"), "at the edge and the centre")
	e.ClampMSS = false
	require.NotContains(t, says(), "TCP announces")

	e.Check = true
	require.ErrorContains(t, e.Run(t.Context(), new(bytes.Buffer)), "--check is for routers that are whole on this host")

	// A file has one part.
	text, err := json.Marshal(routers[0])
	require.NoError(t, err)
	e.Check, e.Router = false, filepath.Join(t.TempDir(), "edge.json")
	require.NoError(t, os.WriteFile(e.Router, text, 0o600))
	require.Contains(t, says(), "the part of the router at 169.254.64.9 is on another host, and not known here")
}
