package dataplane_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// scoped has port a in the scope of the gateway, port b in another, and port c in none; of IPv6 a
// and b share one, and c and the gateway are in none.
func scoped() dataplane.Router {
	port := func(id string, last byte, s dataplane.Scopes, addrs ...string) dataplane.Port {
		p := dataplane.Port{ID: id, Network: dataplane.Network{ID: id}, MAC: dataplane.MAC{2, 0, 0, 0, 0, last}, MTU: 1500, Scopes: s}
		for _, a := range addrs {
			p.Addrs = append(p.Addrs, netip.MustParsePrefix(a))
		}
		return p
	}
	return dataplane.Router{
		ID: "r",
		Ports: []dataplane.Port{
			port("a", 1, dataplane.Scopes{IPv4: "red", IPv6: "blue"}, "10.0.1.1/24", "fd00:1::1/64"),
			port("b", 2, dataplane.Scopes{IPv4: "green", IPv6: "blue"}, "10.0.2.1/24", "fd00:2::1/64"),
			port("c", 3, dataplane.Scopes{}, "10.0.3.1/24", "fd00:3::1/64"),
		},
		Gateway: &dataplane.Gateway{
			Port:     port("ext", 9, dataplane.Scopes{IPv4: "red"}, "203.0.113.2/24", "2001:db8::2/64"),
			NextHops: []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")}, SNAT: true,
		},
		FloatingIPs: []dataplane.FloatingIP{{ID: "f", Addr: netip.MustParseAddr("203.0.113.5"), Fixed: netip.MustParseAddr("10.0.2.5")}},
	}
}

func TestScopes(t *testing.T) {
	on, off := scoped(), scoped()
	off.Gateway.SNAT = false
	require.NoError(t, on.Validate())
	for _, c := range []struct {
		in, src, dst    string
		withSNAT, other string // who its receiver sees, or the reason why there is none
	}{
		{"a", "10.0.1.5", "10.0.2.5", "port a is in address scope red, and port b in address scope green", ""},
		{"b", "10.0.2.5", "10.0.1.5", "port b is in address scope green, and port a in address scope red", ""},
		{"c", "10.0.3.5", "10.0.2.5", "port c is in no address scope, and port b in address scope green", ""},
		{"a", "fd00:1::5", "fd00:2::5", "fd00:1::5", ""},
		{"a", "fd00:1::5", "fd00:3::5", "port a is in address scope blue, and port c in no address scope", ""},
		{"a", "fd00:1::5", "2001:db8:9::9", "port a is in address scope blue, and the gateway ext in no address scope", ""},
		{"c", "fd00:3::5", "2001:db8:9::9", "fd00:3::5", ""},
		{"ext", "2001:db8:9::9", "fd00:1::5", "the gateway ext is in no address scope, and port a in address scope blue", ""},

		{"a", "10.0.1.5", "198.51.100.7", "10.0.1.5", ""},
		{"ext", "198.51.100.7", "10.0.1.5", "198.51.100.7", ""},
		{"b", "10.0.2.5", "198.51.100.7", "203.0.113.5", ""},
		{"ext", "198.51.100.7", "203.0.113.5", "198.51.100.7", ""},
		{"a", "10.0.1.5", "203.0.113.5", "203.0.113.2", ""},
		{"ext", "198.51.100.7", "10.0.2.5", "10.0.2.5 is reached from outside by a floating IP",
			"the gateway ext is in address scope red, and port b in address scope green"},
		{"b", "10.0.2.6", "198.51.100.7", "203.0.113.2", "port b is in address scope green, and the gateway ext in address scope red"},
		{"c", "10.0.3.6", "198.51.100.7", "203.0.113.2", "port c is in no address scope, and the gateway ext in address scope red"},
	} {
		p := dataplane.Packet{In: c.in, Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Proto: dataplane.UDP, SrcPort: 7, DstPort: 9}
		if c.other == "" {
			c.other = c.withSNAT
		}
		for r, want := range map[*dataplane.Router]string{&on: c.withSNAT, &off: c.other} {
			got := r.Trace(p)
			if strings.Contains(want, " ") {
				require.Equal(t, dataplane.Dropped, got.Verdict, "%s", got)
				require.Contains(t, got.String(), want)
				continue
			}
			require.Equal(t, dataplane.Forwarded, got.Verdict, "%s", got)
			require.Equal(t, want, got.Src.String(), "%s", got)
			require.False(t, got.OneWay, "%s", got)
		}
	}
	kept := on.Trace(dataplane.Packet{In: "a", Src: netip.MustParseAddr("10.0.1.5"), Dst: netip.MustParseAddr("198.51.100.7"), Proto: dataplane.UDP})
	require.Contains(t, kept.String(), "10.0.1.5 keeps its address: port a and the gateway ext are in address scope red")
}

func TestScopesThatMakeNoSense(t *testing.T) {
	r := scoped()
	r.Ports[1].Scopes.IPv4, r.Gateway.Scopes.IPv6 = "no such\nname", strings.Repeat("x", 65)
	err := r.Validate()
	require.ErrorIs(t, err, dataplane.ErrInvalid)
	require.ErrorContains(t, err, "Ports[1].Scopes.IPv4")
	require.ErrorContains(t, err, "Gateway.Scopes.IPv6")

	r = scoped()
	r.Transit = &dataplane.Transit{Port: dataplane.Port{
		ID: "t", Network: dataplane.Network{ID: "t"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 10}, MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("169.254.64.9/18")},
	}}
	err = r.Validate()
	require.ErrorContains(t, err, `Ports[0].Scopes.IPv4: "red": instances of a distributed router have no address scopes`)
	for i := range r.Ports {
		r.Ports[i].Scopes = dataplane.Scopes{}
	}
	r.Gateway.Scopes = dataplane.Scopes{}
	require.NoError(t, r.Validate())
}

func TestScopesAreKept(t *testing.T) {
	text, err := json.Marshal(scoped())
	require.NoError(t, err)
	require.Contains(t, string(text), `"scopes":{"ipv4":"red","ipv6":"blue"}`)
	var back dataplane.Router
	require.NoError(t, json.Unmarshal(text, &back))
	require.True(t, back.Equal(scoped()))
	back.Ports[0].Scopes.IPv6 = ""
	require.False(t, back.Equal(scoped()))
	var plain dataplane.Port
	text, err = json.Marshal(plain)
	require.NoError(t, err)
	require.NotContains(t, string(text), "scopes")
}
