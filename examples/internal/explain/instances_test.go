package explain

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/dataplane"
)

// edges are those of a router on two hosts. Another, 169.254.64.3, has 10.0.2.6 and shares the
// route to 10.8.0.0/16 with the second. The centre is 169.254.64.9.
const edges = `
- id: r
  ports:
    - {id: web, network: {id: web}, mac: fa:16:3e:00:00:01, addrs: [10.0.1.1/24, "2001:db8:1::1/64"], mtu: 1500,
       anycast: {neighbours: [10.0.1.5, "2001:db8:1::5"]}}
  transit:
    id: t1
    network: {id: t}
    mac: fa:16:3e:00:00:11
    addrs: [169.254.64.1/18]
    mtu: 1500
    routes:
      - {dest: 10.0.2.5/32, next_hop: 169.254.64.2}
      - {dest: 10.0.2.6/32, next_hop: 169.254.64.3}
      - {dest: "2001:db8:2::5/128", next_hop: "fe80::f816:3eff:fe00:12"}
      - {dest: 10.0.1.0/24, next_hop: 169.254.64.9}
      - {dest: 10.0.2.0/24, next_hop: 169.254.64.9}
    centre: [169.254.64.9, "fe80::9"]
  routes:
    - {dest: 10.8.0.0/16, next_hop: 169.254.64.2}
    - {dest: 10.8.0.0/16, next_hop: 169.254.64.3}
- id: r
  ports:
    - {id: app, network: {id: app}, mac: fa:16:3e:00:00:02, addrs: [10.0.2.1/24, "2001:db8:2::1/64"], mtu: 1500,
       anycast: {neighbours: [10.0.2.5, "2001:db8:2::5"]}}
  transit:
    id: t2
    network: {id: t}
    mac: fa:16:3e:00:00:12
    addrs: [169.254.64.2/18]
    mtu: 1500
    routes:
      - {dest: 10.0.1.5/32, next_hop: 169.254.64.1}
      - {dest: "2001:db8:1::5/128", next_hop: "fe80::f816:3eff:fe00:11"}
      - {dest: 10.0.1.0/24, next_hop: 169.254.64.9}
      - {dest: 10.0.2.0/24, next_hop: 169.254.64.9}
    centre: [169.254.64.9, "fe80::9"]
  routes:
    - {dest: 10.8.0.0/16, next_hop: 10.0.2.5}
`

func hosts(t *testing.T, text string) (all []Instance) {
	t.Helper()
	var routers []dataplane.Router
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &routers))
	for i, r := range routers {
		require.NoError(t, r.Validate())
		all = append(all, Instance{"h" + string(rune('1'+i)), r})
	}
	return all
}

// follow asks for a way across hosts, and returns what is printed.
func follow(t *testing.T, all []Instance, host, from, to string) string {
	t.Helper()
	q := Question{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Proto: "tcp"}
	var out bytes.Buffer
	require.NoError(t, q.AnswerAcross(&out, all, host))
	return strings.TrimSpace(out.String())
}

func TestExplainFollowsThePacket(t *testing.T) {
	all := hosts(t, edges)
	for _, tt := range []struct{ from, to, text string }{
		{"10.0.1.5", "10.0.2.5", `
tcp 10.0.1.5 → 10.0.2.5: forwarded by app to 10.0.2.5, as 10.0.1.5 → 10.0.2.5
h1, edge
  ingress      arrives by port web
  routing      10.0.2.5 is in 10.0.2.5/32, which another instance has: 169.254.64.2
  egress       leaves by the transit t1 to 169.254.64.2
h2, edge
  ingress      arrives by the transit t2
  routing      10.0.2.5 is in 10.0.2.5/32, connected by port app
  egress       leaves by port app to 10.0.2.5
  back         the answer comes back unchanged
`},
		{"2001:db8:1::5", "2001:db8:2::5", `
tcp 2001:db8:1::5 → 2001:db8:2::5: forwarded by app to 2001:db8:2::5, as 2001:db8:1::5 → 2001:db8:2::5
h1, edge
  ingress      arrives by port web
  routing      2001:db8:2::5 is in 2001:db8:2::5/128, which another instance has: fe80::f816:3eff:fe00:12
  egress       leaves by the transit t1 to fe80::f816:3eff:fe00:12
h2, edge
  ingress      arrives by the transit t2
  routing      2001:db8:2::5 is in 2001:db8:2::5/128, connected by port app
  egress       leaves by port app to 2001:db8:2::5
  back         the answer comes back unchanged
`},
		{"10.0.1.5", "10.8.0.1", `
way 1 of 2, by a hash of addresses and ports:
tcp 10.0.1.5 → 10.8.0.1: forwarded by app to 10.0.2.5, as 10.0.1.5 → 10.8.0.1
h1, edge
  ingress      arrives by port web
  routing      10.8.0.1 is in 10.8.0.0/16, an extra route via 169.254.64.2 or 169.254.64.3
  egress       leaves by the transit t1 to 169.254.64.2 or 169.254.64.3
h2, edge
  ingress      arrives by the transit t2
  routing      10.8.0.1 is in 10.8.0.0/16, an extra route via 10.0.2.5
  egress       leaves by port app to 10.0.2.5
  back         the answer comes back unchanged

way 2 of 2, by a hash of addresses and ports:
tcp 10.0.1.5 → 10.8.0.1: forwarded by t1 to 169.254.64.2 or 169.254.64.3, as 10.0.1.5 → 10.8.0.1
h1, edge
  ingress      arrives by port web
  routing      10.8.0.1 is in 10.8.0.0/16, an extra route via 169.254.64.2 or 169.254.64.3
  egress       leaves by the transit t1 to 169.254.64.2 or 169.254.64.3
  onward       the part of the router at 169.254.64.3 is on another host, and not known here
`},
		{"10.0.2.5", "10.0.2.6", `
tcp 10.0.2.5 → 10.0.2.6: forwarded by t2 to 169.254.64.9, as 10.0.2.5 → 10.0.2.6
h2, edge
  ingress      arrives by port app
  routing      10.0.2.6 is in 10.0.2.0/24, which another instance has: 169.254.64.9
  egress       leaves by the transit t2 to 169.254.64.9
  onward       the part of the router at 169.254.64.9 is on another host, and not known here
`},
	} {
		require.Equal(t, strings.TrimSpace(tt.text), follow(t, all, "", tt.from, tt.to))
	}
	require.True(t, strings.HasPrefix(follow(t, all, "h2", "10.0.1.5", "10.0.2.5"), "tcp 10.0.1.5 → 10.0.2.5: forwarded by app"), "the host that is named")
}

// TestExplainEndsWithoutEnd: instances that lead a packet to each other are followed no further
// than a packet that gets anywhere.
func TestExplainEndsWithoutEnd(t *testing.T) {
	all := hosts(t, edges)
	for i := range all {
		all[i].Router.Transit.Centre, all[i].Router.Routes = nil, nil
		all[i].Router.Ports[0].Anycast = nil
	}
	all[0].Router.Transit.Routes = []dataplane.Route{{Dest: netip.MustParsePrefix("10.7.0.0/16"), NextHop: netip.MustParseAddr("169.254.64.2")}}
	all[1].Router.Transit.Routes = []dataplane.Route{{Dest: netip.MustParsePrefix("10.7.0.0/16"), NextHop: netip.MustParseAddr("169.254.64.1")}}
	text := follow(t, all, "h1", "10.0.1.5", "10.7.0.1")
	require.Equal(t, maxHops, strings.Count(text, ", centre\n"), text)
	require.Contains(t, text, "  onward       it goes round, until its TTL ends it")
}
