package iptables

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
	"github.com/l3kit/l3kit/internal/test/golden"
)

func added(f ...dataplane.FloatingIP) *namespace.Delta { return &namespace.Delta{Added: f} }

func routers() map[string]dataplane.Router {
	all := firewalltest.Routers(fip(5), fip(6), fip(7), fip(20), fip(300))
	all["many-subnets"] = without(all["full"], func(r *dataplane.Router) {
		r.FloatingIPs = nil
		r.Ports[1].Addrs = nil
		for i := range 20 {
			r.Ports[1].Addrs = append(r.Ports[1].Addrs, netip.MustParsePrefix(fmt.Sprintf("10.%d.0.1/24", 1+i)),
				netip.MustParsePrefix(fmt.Sprintf("fd00:%x::1/64", 1+i)))
		}
	})
	return all
}

// The script for a namespace without rules is what testdata has, and iptables-save says the same of
// what it makes.
func TestScript(t *testing.T) {
	for name, r := range routers() {
		t.Run(name, func(t *testing.T) {
			d := compare(ruleset{}, render(r, " --random-fully"))
			golden.Require(t, name+".rules", d.script(ipv4)+d.script(ipv6))
			eachVariant(t, func(t *testing.T, v Variant) {
				p := newPlace(t, v)
				p.apply(r)
				applied := p.Listing()
				p.flush()
				require.Empty(t, p.Listing())
				p.script(d.script(ipv4))
				p.script6(d.script(ipv6))
				require.Equal(t, p.Listing(), applied)
			})
		})
	}
}

func (p *place) Rules() namespace.ProvenRules { return p.rules }

func (p *place) Stamp() any {
	at, err := p.stamps.stamp()
	require.NoError(p.t, err)
	return at
}

func (p *place) Foreign() {
	p.script("*filter\n:theirs - [0:0]\n-A INPUT -j theirs\n-A theirs -p tcp -j RETURN\n-A FORWARD -p udp -j ACCEPT\nCOMMIT\n" +
		"*nat\n:theirs - [0:0]\n-A PREROUTING -p tcp -j theirs\n-A POSTROUTING -o x -j ACCEPT\nCOMMIT\n")
}

func TestRules(t *testing.T) {
	disturb := map[string]func(p *place){
		"tampered": func(p *place) { p.script("*nat\n-F l3kit-src-10.0.0.0/28\nCOMMIT\n") },
		"rule there already": func(p *place) {
			p.script("*nat\n-A l3kit-dst-203.0.0.0/28 -d 203.0.0.6/32 -j DNAT --to-destination 10.0.0.66\nCOMMIT\n")
		},
		"chain gone, unnoticed": func(p *place) {
			p.script("*nat\n-F l3kit-dst\n-F l3kit-dst-203.0.0.0/28\n-X l3kit-dst-203.0.0.0/28\nCOMMIT\n")
			p.side().known = p.stamp() // as if the kernel had not told
		},
	}
	s := firewalltest.Suite[*place]{
		Routers: routers(),
		First:   []string{"+ rules filter", "+ rules mangle", "+ rules nat"},
		SNATOff: []string{
			"- rules filter l3kit-FORWARD: ! -o qg-out -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
			"- rules filter l3kit-FORWARD: -m conntrack --ctstate SNAT --ctstatus CONFIRMED --ctdir ORIGINAL -j RETURN",
			"- rules filter l3kit-FORWARD: -m conntrack --ctstate DNAT --ctstatus CONFIRMED --ctdir REPLY -j RETURN",
			"- rules filter l3kit-FORWARD: -o qg-out -m conntrack --ctstatus CONFIRMED -j DROP",
			"- rules filter l3kit-FORWARD: -i qg-out -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
			"- rules filter l3kit-FORWARD: -o qg-out -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
			"- rules filter l3kit-FORWARD: -i qg-out -m conntrack ! --ctstate DNAT -j DROP",
			"+ rules filter l3kit-FORWARD: -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
			"- snat qg-out: 203.0.255.2  !",
		},
		OtherGateway: []string{
			"- rules nat l3kit-hairpin: -o qr-db -j SNAT --to-source 203.0.255.2 --random-fully",
			"- rules nat l3kit-hairpin: -o qr-web -j SNAT --to-source 203.0.255.2 --random-fully",
			"+ rules nat l3kit-hairpin: -o qr-db -j SNAT --to-source 10.1.0.1 --random-fully",
			"+ rules nat l3kit-hairpin: -o qr-web -j SNAT --to-source 10.1.0.1 --random-fully",
			"~ snat qg-out: 10.1.0.1, was 203.0.255.2  !",
		},
		Half: func(p *place) {
			p.script("*nat\n:l3kit-dst - [0:0]\n-A PREROUTING -j l3kit-dst\nCOMMIT\n")
		},
		Disturb: disturb,
	}
	eachVariant(t, func(t *testing.T, v Variant) {
		s.Open = func(t testing.TB) *place {
			return newPlace(t, v)
		}
		s.Write = func(p *place) error {
			const script = "*filter\n-A INPUT -p tcp -j ACCEPT\n-D INPUT -p tcp -j ACCEPT\nCOMMIT\n"
			return p.try(script, "iptables-"+string(v)+"-restore", "--noflush", "--wait")
		}
		s.Rounds = 10
		s.Run(t)
	})
}

// What iptables-nft made around our rules goes with them, as nft can tell.
func TestClearLeavesNothing(t *testing.T) {
	p := newPlace(t, NFT)
	p.apply(example(fip(5)))
	require.NoError(t, p.rules.Clear(t.Context()))
	require.Empty(t, p.run("", "nft", "list", "ruleset"))
}

// Every chain is documented.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for _, rs := range []ruleset{program(), program6()} {
		for _, table := range rs {
			for name := range table.chains {
				require.Contains(t, string(doc), name)
			}
		}
	}
}
