package explain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/dataplane"
)

// short is a router with IDs that people can read.
const short = `
id: r
ports:
  - {id: web, network: {id: web}, mac: fa:16:3e:00:00:01, addrs: [10.0.1.1/24, "2001:db8:1::1/64"], mtu: 1500}
  - {id: app, network: {id: app}, mac: fa:16:3e:00:00:02, addrs: [10.0.2.1/24], mtu: 1500}
gateway:
  {id: ext, network: {id: ext}, mac: fa:16:3e:00:00:03, addrs: [203.0.113.2/24], mtu: 1500, next_hops: [203.0.113.1, "fe80::1"], snat: true}
floating_ips:
  - {id: f, addr: 203.0.113.5, fixed: 10.0.1.5}
  - {id: g, addr: 203.0.113.6, fixed: 10.0.1.6}
port_forwardings:
  - {id: h, addr: 203.0.113.7, proto: udp, ports: 5300-5309, fixed: 10.0.1.7, fixed_ports: "53"}
routes:
  - {dest: 10.9.0.0/16, next_hop: 10.0.1.9}
  - {dest: 10.9.0.0/16, next_hop: 10.0.2.9}
`

func shortRouter(t *testing.T) (r dataplane.Router) {
	t.Helper()
	require.NoError(t, yaml.UnmarshalStrict([]byte(short), &r))
	require.NoError(t, r.Validate())
	return r
}

// ask parses flags as a command does, and answers.
func ask(t *testing.T, r dataplane.Router, args ...string) (string, error) {
	t.Helper()
	var (
		q   HostQuestion
		out bytes.Buffer
	)
	parser, err := kong.New(&q)
	require.NoError(t, err)
	if _, err = parser.Parse(args); err == nil {
		err = q.Answer(t.Context(), &out, r, Host{})
	}
	return out.String(), err
}

func TestExplainReads(t *testing.T) {
	router := shortRouter(t)
	for _, tt := range []struct{ args, text string }{
		{"--from 10.0.1.5 --to 198.51.100.7 --sport 40000 --dport 80", `
tcp 10.0.1.5:40000 → 198.51.100.7:80: forwarded by ext to 203.0.113.1, as 203.0.113.5 → 198.51.100.7
  ingress      arrives by port web
  routing      198.51.100.7 takes the default route via 203.0.113.1
  translation  10.0.1.5 leaves as its floating IP 203.0.113.5
  egress       leaves by the gateway ext to 203.0.113.1
  back         the answer is translated back: its sender sees tcp 198.51.100.7:80 → 10.0.1.5:40000
`},
		{"--from 198.51.100.7 --to 10.0.1.5 --proto udp --dport 53", `
udp 198.51.100.7 → 10.0.1.5:53: dropped
  ingress      arrives by the gateway ext
  routing      10.0.1.5 is in 10.0.1.0/24, connected by port web
  filter       10.0.1.5 is reached from outside by a floating IP or a forwarded port only
`},
		{"--from 198.51.100.7 --to 203.0.113.7 --proto udp --sport 40000 --dport 5305", `
udp 198.51.100.7:40000 → 203.0.113.7:5305: forwarded by web to 10.0.1.7, as 198.51.100.7 → 10.0.1.7:53
  ingress      arrives by the gateway ext
  translation  203.0.113.7:5305 is forwarded to 10.0.1.7:53
  routing      10.0.1.7 is in 10.0.1.0/24, connected by port web
  egress       leaves by port web to 10.0.1.7
  back         the answer is translated back: its sender sees udp 203.0.113.7:5305 → 198.51.100.7:40000
`},
		{"--from 10.0.2.7 --to 10.9.0.1 --proto icmp", `
way 1 of 2, by a hash of addresses and ports:
icmp 10.0.2.7 → 10.9.0.1: forwarded by web to 10.0.1.9, as 10.0.2.7 → 10.9.0.1
  ingress      arrives by port app
  routing      10.9.0.1 is in 10.9.0.0/16, an extra route via 10.0.1.9
  egress       leaves by port web to 10.0.1.9
  back         the answer comes back unchanged

way 2 of 2, by a hash of addresses and ports:
icmp 10.0.2.7 → 10.9.0.1: forwarded by app to 10.0.2.9, as 10.0.2.7 → 10.9.0.1
  ingress      arrives by port app
  routing      10.9.0.1 is in 10.9.0.0/16, an extra route via 10.0.2.9
  egress       leaves by port app to 10.0.2.9
  back         the answer comes back unchanged
`},
		{"--from 10.0.1.1 --to 203.0.113.5 --dport 80", `
tcp 10.0.1.1 → 203.0.113.5:80: forwarded by web to 10.0.1.5, as 10.0.1.1 → 10.0.1.5
  ingress      sent by the router itself
  translation  203.0.113.5 is a floating IP of 10.0.1.5
  routing      10.0.1.5 is in 10.0.1.0/24, connected by port web
  egress       leaves by port web to 10.0.1.5
  back         the answer is translated back: its sender sees tcp 203.0.113.5:80 → 10.0.1.1
`},
	} {
		text, err := ask(t, router, strings.Fields(tt.args)...)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(tt.text), strings.TrimSpace(text))
	}
}

func TestExplainInJSON(t *testing.T) {
	text, err := ask(t, shortRouter(t), "--from", "10.0.2.7", "--to", "203.0.113.5", "--dport", "80", "--in", "app", "--json")
	require.NoError(t, err)
	var x explanation
	require.NoError(t, json.Unmarshal([]byte(text), &x))
	require.Len(t, x.Paths, 1)
	require.Equal(t, "203.0.113.2", x.Paths[0].Src.String(), "hairpin")
	require.Equal(t, dataplane.Forwarded, x.Paths[0].Verdict)
	require.Nil(t, x.Check)
	require.NotContains(t, text, "check")
}

func TestExplainRefuses(t *testing.T) {
	router := shortRouter(t)
	for _, tt := range []struct{ args, fault string }{
		{"--from 10.0.1.5 --to 2001:db8:1::7", "different families"},
		{"--from 10.0.1.5 --to 10.0.2.7 --in nowhere", "no port nowhere; it has web, app, ext"},
		{"--from 10.0.1.5 --to 10.0.2.7 --proto icmp --dport 80", "no destination port"},
		{"--from 10.0.1.5 --to 10.0.2.7 --proto sctp", "--proto must be one of"},
		{"--from 10.0.1.5", "--to"},
		{"--from 10.0.1.1 --to 10.0.2.7 --check", "the router itself sends"},
	} {
		_, err := ask(t, router, strings.Fields(tt.args)...)
		require.ErrorContains(t, err, tt.fault, "%s", tt.args)
	}

	lonely := router
	lonely.Ports, lonely.Gateway, lonely.FloatingIPs, lonely.Routes = router.Ports[:1], nil, nil, nil
	_, err := ask(t, lonely, "--from", "8.8.8.8", "--to", "10.0.1.7")
	require.ErrorContains(t, err, "say with --in")
}
