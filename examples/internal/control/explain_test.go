package control_test

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

// spread is a distributed router in a database. Its centre is on nn. h1 and h2, which reaches no
// external network, have edges, each with a workload on web and one on app.
type spread struct {
	*testing.T
	database, router string
}

func newSpread(t *testing.T, distributed bool) *spread {
	t.Helper()
	s := &spread{T: t, database: "sqlite:" + filepath.Join(t.TempDir(), "l3.db") + "?synchronous=normal"}
	svc, err := service.New(service.Config{Store: l3test.Open(t, s.database), Distributed: distributed})
	require.NoError(t, err)
	ctx, admin := t.Context(), l3.Caller{Project: "demo", Admin: true}
	for host, a := range map[string]struct {
		mode     string
		physical []string
	}{"nn": {agent.ModeDVRSNAT, []string{"public"}}, "h1": {agent.ModeDVR, []string{"public"}}, "h2": {agent.ModeDVR, []string{}}} {
		_, err := svc.Heartbeat(ctx, agent.Heartbeat{Host: host, Capabilities: agent.Capabilities{Mode: a.mode, PhysicalNetworks: a.physical}})
		require.NoError(t, err)
	}
	subnet := func(n l3.NetworkSpec, cidr string) l3.Subnet {
		networks, err := svc.CreateNetworks(ctx, admin, n)
		require.NoError(t, err)
		subnets, err := svc.CreateSubnets(ctx, admin, l3.SubnetSpec{NetworkID: &networks[0].ID, CIDR: new(netip.MustParsePrefix(cidr))})
		require.NoError(t, err)
		return subnets[0]
	}
	public := subnet(l3.NetworkSpec{External: new(true), Segments: &[]l3.Segment{{Type: "flat", Physical: "public"}}}, "203.0.113.0/24")
	routers, err := svc.CreateRouters(ctx, admin, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.NetworkID, FixedIPs: &[]l3.FixedIPSpec{{IPAddress: netip.MustParseAddr("203.0.113.2")}}}})
	require.NoError(t, err)
	s.router = routers[0].ID
	for i, sub := range []l3.Subnet{subnet(l3.NetworkSpec{}, "10.0.0.0/24"), subnet(l3.NetworkSpec{}, "10.0.1.0/24")} {
		_, err := svc.AddRouterInterface(ctx, admin, s.router, l3.InterfaceSpec{SubnetID: sub.ID})
		require.NoError(t, err)
		for host, last := range map[string]string{"h1": "5", "h2": "6"} {
			at := netip.MustParseAddr("10.0." + string(rune('0'+i)) + "." + last)
			ports, err := svc.CreatePorts(ctx, admin, l3.PortSpec{NetworkID: &sub.NetworkID, HostID: &host, FixedIPs: &[]l3.FixedIPSpec{{IPAddress: at}}})
			require.NoError(t, err)
			if i == 0 {
				_, err = svc.CreateFloatingIPs(ctx, admin, l3.FloatingIPSpec{NetworkID: &public.NetworkID, PortID: &ports[0].ID, Address: new(netip.MustParseAddr("203.0.113." + last))})
				require.NoError(t, err)
			}
		}
	}
	return s
}

// explain runs the command.
func (s *spread) explain(args ...string) (string, error) {
	s.Helper()
	var c control.Explain
	k, err := kong.New(&c)
	require.NoError(s, err)
	if _, err := k.Parse(append([]string{s.router, "--database=" + s.database}, args...)); err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = c.Run(s.Context(), &out)
	return out.String(), err
}

// TestExplainAcrossHosts: each way of a packet names the hosts in their order, and what the
// receiver and the sender see.
func TestExplainAcrossHosts(t *testing.T) {
	s := newSpread(t, true)
	for name, c := range map[string]struct {
		args  string
		hosts string
		says  []string
	}{
		"in one host": {"--from 10.0.0.5 --to 10.0.1.5", "h1, edge", []string{"to 10.0.1.5, as 10.0.0.5 → 10.0.1.5", "the answer comes back unchanged"}},
		"to another":  {"--from 10.0.0.5 --to 10.0.1.6 --dport 80", "h1, edge; h2, edge", []string{"tcp 10.0.0.5 → 10.0.1.6:80: forwarded by ", "to 10.0.1.6, as"}},
		"out with a floating IP": {"--from 10.0.0.5 --to 198.51.100.7", "h1, edge", []string{"as 203.0.113.5 → 198.51.100.7",
			"its sender sees tcp 198.51.100.7 → 10.0.0.5"}},
		"out with one at the centre": {"--from 10.0.0.6 --to 198.51.100.7", "h2, edge; nn, centre", []string{"as 203.0.113.6 → 198.51.100.7"}},
		"out without one":            {"--from 10.0.1.6 --to 198.51.100.7", "h2, edge; nn, centre", []string{"as 203.0.113.2 → 198.51.100.7"}},
		"in by an edge":              {"--from 198.51.100.7 --to 203.0.113.5", "h1, edge", []string{"to 10.0.0.5, as 198.51.100.7 → 10.0.0.5"}},
		"in by the centre": {"--from 198.51.100.7 --to 203.0.113.6", "nn, centre; h2, edge", []string{"to 10.0.0.6, as 198.51.100.7 → 10.0.0.6",
			"its sender sees tcp 203.0.113.6 → 198.51.100.7"}},
		"hairpin":                {"--from 10.0.1.6 --to 203.0.113.5", "h2, edge; h1, edge", []string{"as 203.0.113.2 → 10.0.0.5"}},
		"hairpin by the centre":  {"--from 10.0.0.6 --to 203.0.113.5", "h2, edge; nn, centre; h1, edge", []string{"as 203.0.113.6 → 10.0.0.5"}},
		"from an unlisted":       {"--from 10.0.0.99 --to 10.0.1.6", "nn, centre; h2, edge", []string{"to 10.0.1.6, as 10.0.0.99 → 10.0.1.6"}},
		"hairpin of an unlisted": {"--from 10.0.0.99 --to 203.0.113.5", "nn, centre; h1, edge", []string{"as 203.0.113.2 → 10.0.0.5"}},
		"to an unlisted":         {"--from 10.0.0.5 --to 10.0.1.99", "h1, edge; nn, centre", []string{"to 10.0.1.99, as 10.0.0.5 → 10.0.1.99"}},
		"to the router":          {"--from 198.51.100.7 --to 203.0.113.2 --proto icmp", "nn, centre", []string{"local, answered"}},
		"to the gateway's":       {"--from 10.0.0.5 --to 10.0.0.1 --proto icmp", "h1, edge", []string{"local, answered"}},
		"where the caller says":  {"--from 10.0.0.99 --to 10.0.1.6 --host h2", "h2, edge", []string{"to 10.0.1.6"}},
		"by the centre's uplink": {"--from 198.51.100.7 --to 10.0.1.6", "nn, centre", []string{"dropped"}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := s.explain(strings.Fields(c.args)...)
			require.NoError(t, err)
			t.Log("\n" + text)
			var hosts []string
			for line := range strings.Lines(text) {
				if strings.HasSuffix(line, ", edge\n") || strings.HasSuffix(line, ", centre\n") {
					hosts = append(hosts, strings.TrimSpace(line))
				}
			}
			require.Equal(t, c.hosts, strings.Join(hosts, "; "))
			for _, want := range c.says {
				require.Contains(t, text, want)
			}
		})
	}
	text, err := s.explain("--from=10.0.0.5", "--to=10.0.1.6", "--json")
	require.NoError(t, err)
	require.Regexp(t, `(?s)"ways": \[.*"host": "h1",\s+"instance": "`+s.router+`",\s+"trace": \{.*"host": "h2"`, text)
}

func TestExplainAcrossHostsRefuses(t *testing.T) {
	s := newSpread(t, true)
	for args, says := range map[string]string{
		"--from 10.0.0.5 --to 10.0.1.6 --host h9":                                "the router has no part on host h9",
		"--from 10.0.0.5 --to 2001:db8::1":                                       "different families",
		"--from 10.0.0.5 --to 10.0.1.6 --in x":                                   "no part of the router has a port x",
		"--from 10.0.0.5 --to 10.0.1.6 --database sqlite:none.db":                "--database: stat none.db",
		"--from 10.0.0.5 --to 10.0.1.6 --check --bus-secret-file none":           "--bus-secret-file: open none: ",
		"--from 10.0.0.5 --to 10.0.1.6 --check --bus http://h1 --bus-password x": "--bus: \"http://h1\" is neither",
	} {
		_, err := s.explain(strings.Fields(args)...)
		require.ErrorContains(t, err, says, args)
	}
	s.router = "nobody"
	_, err := s.explain("--from=10.0.0.5", "--to=10.0.1.6")
	require.ErrorContains(t, err, "explain router nobody: ")
}

// TestExplainCentralRouter: what its one host does is as agent explain says it there.
func TestExplainCentralRouter(t *testing.T) {
	s := newSpread(t, false)
	text, err := s.explain("--from=10.0.0.5", "--to=10.0.1.6")
	require.NoError(t, err)
	require.Regexp(t, `^tcp 10\.0\.0\.5 → 10\.0\.1\.6: forwarded by .*\nnn\n  ingress .*\n  routing .*\n  egress .*\n  back  `, text)
}
