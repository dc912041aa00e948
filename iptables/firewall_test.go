package iptables

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
	"github.com/l3kit/l3kit/internal/test/golden"
)

func added(f ...dataplane.FloatingIP) *namespace.Delta { return &namespace.Delta{Added: f} }

func routers() map[string]dataplane.Router {
	fips := []dataplane.FloatingIP{fip(5), fip(6), fip(7), fip(20), fip(300)}
	all := firewalltest.Routers(fips...)
	maps.Copy(all, firewalltest.Instances(fips...))
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
	t.Parallel()
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
	script := func(table string, lines ...string) func(*place) {
		text := "*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
		return func(p *place) { p.script(text) }
	}
	script6 := func(table string, lines ...string) func(*place) {
		text := "*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
		return func(p *place) { p.script6(text) }
	}
	s.EdgeDrift = map[string]func(*place){
		"elsewhere":           script(mangle, "-F l3kit-els-10.0.0.0/28"),
		"no way to elsewhere": script(mangle, "-F l3kit-els"),
		"floating IPs":        script(mangle, "-F l3kit-fip-203.0.3.224/28"),
		"a fixed address":     script(mangle, "-D l3kit-fix-10.0.0.0/28 1"),
		"one fixed more":      script(mangle, "-A l3kit-fix-10.0.0.0/28 -s 10.0.0.9/32 -j MARK --set-xmark 0x20000/0x20000"),
		"another mark":        script(mangle, "-R l3kit-fix-10.0.0.0/28 1 -s 10.0.0.5/32 -j MARK --set-xmark 0x40000/0x40000"),
		"no steering":         script(mangle, "-F l3kit-steer"),
		"no guard":            script(filter, "-F l3kit-FORWARD"),
		"open itself":         script(filter, "-D INPUT 1"),
		"DNAT of all":         script(nat, "-R PREROUTING 1 -j l3kit-dst"),
		"inside":              script(mangle, "-D l3kit-inside 3"),
		"IPv6 passes":         script6("filter", "-F l3kit-FORWARD"),
	}
	s.CentreDrift = map[string]func(*place){
		"elsewhere": script(filter, "-F l3kit-els-10.0.0.0/28"),
		"spoofed 6": script6("raw", "-D l3kit-PREROUTING 1"),
		"no drop":   script(filter, "-F l3kit-FORWARD"),
	}
	s.CentreWithoutSNATDrift = map[string]func(*place){
		"no remote floating IP": script(nat, "-F l3kit-fip-203.0.3.224/28"),
		"one remote more":       script(nat, "-A l3kit-fip-203.0.3.224/28 -d 203.0.3.233/32 -g l3kit-shown"),
		"another address":       script(nat, "-R l3kit-shown 1 -j SNAT --to-source 203.0.255.3"),
		"no way there":          script(nat, "-F l3kit-fip"),
		"nothing translated":    script(nat, "-F l3kit-POSTROUTING"),
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
	for _, rs := range []ruleset{program(), program6(), render(firewalltest.Edge(), ""), render(firewalltest.Centre(), ""), render(firewalltest.CentreWithoutSNAT(), "")} {
		for _, table := range rs {
			for name := range table.chains {
				if root := rootOf(name); root != "" {
					name = root
				}
				require.Contains(t, string(doc), name)
			}
		}
	}
}
