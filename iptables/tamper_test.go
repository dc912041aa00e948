package iptables

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
)

// Count gives the counters of the example's floating IP 203.0.0.5 values, so that it shows if they
// are lost.
func (p *place) Count() {
	p.script(`*mangle
-D l3kit-dst-203.0.0.0/28 -d 203.0.0.5/32 -j RETURN
[7:700] -I l3kit-dst-203.0.0.0/28 -d 203.0.0.5/32 -j RETURN
-D l3kit-src-10.0.0.0/28 -s 10.0.0.5/32 -j RETURN
[8:800] -I l3kit-src-10.0.0.0/28 -s 10.0.0.5/32 -j RETURN
COMMIT
*nat
-D l3kit-src-10.0.0.0/28 -s 10.0.0.5/32 -j SNAT --to-source 203.0.0.5
[9:900] -I l3kit-src-10.0.0.0/28 -s 10.0.0.5/32 -j SNAT --to-source 203.0.0.5
COMMIT
`)
}

func TestTampering(t *testing.T) {
	everything := []string{
		"+ rules filter", "+ rules mangle", "+ rules nat", "+ snat qg-out: 203.0.255.2",
		"+ floating-ip 203.0.0.5: → 10.0.0.5", "+ floating-ip 203.0.0.6: → 10.0.0.6",
		"+ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081",
	}
	const gone = `*filter
-D FORWARD -j l3kit-FORWARD
-F l3kit-FORWARD
-F l3kit-refuse
-X l3kit-FORWARD
-X l3kit-refuse
COMMIT
*mangle
-D PREROUTING -j l3kit-PREROUTING
-D POSTROUTING -j l3kit-POSTROUTING
-F l3kit-PREROUTING
-F l3kit-inside
-X l3kit-PREROUTING
-X l3kit-inside
-F l3kit-dst
-F l3kit-src
-F l3kit-POSTROUTING
-F l3kit-dst-203.0.0.0/28
-F l3kit-src-10.0.0.0/28
-X l3kit-dst
-X l3kit-src
-X l3kit-POSTROUTING
-X l3kit-dst-203.0.0.0/28
-X l3kit-src-10.0.0.0/28
COMMIT
*nat
-D PREROUTING -j l3kit-dst
-D PREROUTING -j l3kit-pf
-D OUTPUT -j l3kit-dst
-D OUTPUT -j l3kit-pf
-D POSTROUTING -j l3kit-POSTROUTING
-F l3kit-dst
-F l3kit-src
-F l3kit-POSTROUTING
-F l3kit-hairpin
-F l3kit-pf
-F l3kit-pf-203.0.0.192/28
-F l3kit-203.0.0.200
-X l3kit-pf
-X l3kit-pf-203.0.0.192/28
-X l3kit-203.0.0.200
-F l3kit-dst-203.0.0.0/28
-F l3kit-src-10.0.0.0/28
-X l3kit-dst
-X l3kit-src
-X l3kit-POSTROUTING
-X l3kit-hairpin
-X l3kit-dst-203.0.0.0/28
-X l3kit-src-10.0.0.0/28
COMMIT
`
	in := func(table string, lines ...string) string {
		return "*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
	}
	cases := firewalltest.Tamperings{
		"nothing":         {in(nat), []string{}, false},
		"everything gone": {gone, everything, true},
		"chain flushed": {in(filter, "-F l3kit-FORWARD"), []string{
			"+ rules filter l3kit-FORWARD: -d 169.254.0.0/16 -g l3kit-refuse",
			"+ rules filter l3kit-FORWARD: ! -o qg-out -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
			"+ rules filter l3kit-FORWARD: -m conntrack --ctstate SNAT --ctstatus CONFIRMED --ctdir ORIGINAL -j RETURN",
			"+ rules filter l3kit-FORWARD: -m conntrack --ctstate DNAT --ctstatus CONFIRMED --ctdir REPLY -j RETURN",
			"+ rules filter l3kit-FORWARD: -o qg-out -m conntrack --ctstatus CONFIRMED -j DROP",
			"+ rules filter l3kit-FORWARD: -i qg-out -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
			"+ rules filter l3kit-FORWARD: -o qg-out -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
			"+ rules filter l3kit-FORWARD: -i qg-out -m conntrack ! --ctstate DNAT -j DROP",
			"+ rules filter l3kit-FORWARD: ! -i qg-out -m conntrack --ctstate DNAT -j MARK --set-xmark 0x10000/0x10000",
		}, false},
		"chain gone": {in(nat, "-F l3kit-hairpin", "-D l3kit-POSTROUTING 3", "-X l3kit-hairpin"), []string{
			"+ rules nat l3kit-POSTROUTING: -m mark --mark 0x10000/0x10000 -j l3kit-hairpin", "+ rules nat l3kit-hairpin",
		}, false},
		"chain more": {in(mangle, ":l3kit-other - [0:0]", "-A l3kit-other -p tcp -j DROP", "-A l3kit-POSTROUTING -j l3kit-other"), []string{
			"- rules mangle l3kit-POSTROUTING: -j l3kit-other", "- rules mangle l3kit-other: not ours",
		}, false},
		"rule gone": {in(filter, "-D l3kit-FORWARD 8"), []string{
			"+ rules filter l3kit-FORWARD: -i qg-out -m conntrack ! --ctstate DNAT -j DROP",
		}, false},
		"rule more": {in(filter, "-I l3kit-FORWARD 2 -p tcp -m comment --comment \"our own\" -j ACCEPT"), []string{
			"- rules filter l3kit-FORWARD: -p tcp -m comment --comment \"our own\" -j ACCEPT",
		}, false},
		"rule more in a tree": {in(nat, "-I l3kit-dst 1 -p udp -j ACCEPT", "-I l3kit-dst-203.0.0.0/28 1 -s 9.9.9.9/32 -j ACCEPT"), []string{
			"- rules nat l3kit-dst: -p udp -j ACCEPT", "- rules nat l3kit-dst-203.0.0.0/28: -s 9.9.9.9/32 -j ACCEPT",
		}, false},
		"rules of floating IPs twice": {in(mangle, "-A l3kit-dst-203.0.0.0/28 -d 203.0.0.5/32 -j RETURN"), []string{
			"~ rules mangle l3kit-dst-203.0.0.0/28: 1 rule too many",
		}, false},
		"forwarding gone": {in(nat, "-F l3kit-203.0.0.200"), []string{
			"+ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081",
		}, false},
		"forwarding elsewhere": {in(nat, "-R l3kit-203.0.0.200 1 -p tcp -m tcp --dport 80:81 -j DNAT --to-destination 10.0.0.200:80"), []string{
			"~ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081, was → 10.0.0.200 80  !",
		}, false},
		"forwarding more": {in(nat, "-A l3kit-203.0.0.200 -p udp -m udp --dport 7 -j DNAT --to-destination 10.0.0.200:7"), []string{
			"- port-forwarding 203.0.0.200 udp 7: → 10.0.0.200 7  !",
		}, false},
		"forwarding otherwise": {in(nat, "-R l3kit-203.0.0.200 1 -p tcp -m tcp --dport 80:81 -j DNAT --to-destination 10.0.0.200:8080-8081"), []string{
			"+ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081",
		}, false},
		"rule more among forwardings": {in(nat, "-I l3kit-203.0.0.200 1 -p tcp -j ACCEPT"), []string{
			"- rules nat l3kit-203.0.0.200: -p tcp -j ACCEPT",
		}, false},
		"forwardings out of reach": {in(nat, "-F l3kit-pf-203.0.0.192/28"), []string{
			"+ rules nat l3kit-pf: -d 203.0.0.200/32 -g l3kit-203.0.0.200",
		}, false},
		"rules swapped": {in(filter, "-D l3kit-FORWARD 1", "-A l3kit-FORWARD -d 169.254.0.0/16 -g l3kit-refuse"), []string{
			"~ rules filter l3kit-FORWARD: rules in another order",
		}, false},
		"floating IPs swapped": {in(mangle, "-D l3kit-dst-203.0.0.0/28 2", "-I l3kit-dst-203.0.0.0/28 1 -d 203.0.0.6/32 -j RETURN"), []string{
			"~ rules mangle l3kit-dst-203.0.0.0/28: rules in another order",
		}, false},
		"hook gone":  {in(nat, "-D OUTPUT -j l3kit-dst"), []string{"~ rules nat OUTPUT: our rule is not once, and first"}, false},
		"hook twice": {in(filter, "-A FORWARD -j l3kit-FORWARD"), []string{"~ rules filter FORWARD: our rule is not once, and first"}, false},
		"hook for some packets": {in(filter, "-R FORWARD 1 -p tcp -j l3kit-FORWARD"), []string{
			"- rules filter FORWARD: -p tcp -j l3kit-FORWARD", "+ rules filter FORWARD: -j l3kit-FORWARD",
		}, false},
		"hook behind": {in(filter, "-I FORWARD 1 -p tcp -j ACCEPT"), []string{
			"~ rules filter FORWARD: our rule is not once, and first",
		}, false},
		"hooked elsewhere": {in(mangle, "-A INPUT -j l3kit-dst"), []string{"- rules mangle INPUT: -j l3kit-dst"}, false},
		"way lost": {in(nat, "-F l3kit-dst"), []string{
			"+ rules nat l3kit-dst: -d 203.0.0.0/28 -g l3kit-dst-203.0.0.0/28",
		}, false},
		"leaf gone": {in(nat, "-F l3kit-dst", "-F l3kit-dst-203.0.0.0/28", "-X l3kit-dst-203.0.0.0/28"), []string{
			"~ floating-ip 203.0.0.5: dnat rule missing", "~ floating-ip 203.0.0.6: dnat rule missing",
		}, false},
		"dnat gone": {in(nat, "-D l3kit-dst-203.0.0.0/28 2"), []string{"~ floating-ip 203.0.0.6: dnat rule missing"}, false},
		"snat gone": {in(nat, "-D l3kit-src-10.0.0.0/28 2"), []string{"~ floating-ip 203.0.0.6: snat rule missing"}, false},
		"counters gone": {in(mangle, "-D l3kit-src-10.0.0.0/28 2", "-D l3kit-dst-203.0.0.0/28 2"), []string{
			"~ floating-ip 203.0.0.6: rule that counts in missing, rule that counts out missing",
		}, false},
		"dnat elsewhere": {in(nat, "-R l3kit-dst-203.0.0.0/28 2 -d 203.0.0.6/32 -j DNAT --to-destination 10.0.0.66"), []string{
			"~ floating-ip 203.0.0.6: → 10.0.0.6, was 10.0.0.66  !",
		}, false},
		"snat elsewhere": {in(nat, "-R l3kit-src-10.0.0.0/28 2 -s 10.0.0.6/32 -j SNAT --to-source 203.0.0.66"), []string{
			"~ floating-ip 203.0.0.6: rule that counts out missing, snat rule missing",
			"- floating-ip 203.0.0.66: stray rule that counts out, stray snat rule  !",
		}, false},
		"strays": {in(nat, "-A l3kit-dst-203.0.0.0/28 -d 203.0.0.7/32 -j DNAT --to-destination 10.0.0.7"), []string{
			"- floating-ip 203.0.0.7: → 10.0.0.7  !",
		}, false},
		"subnet gone": {in(mangle, "-D l3kit-inside 1"), []string{"+ rules mangle l3kit-inside: -s 10.0.0.0/16 -j DROP"}, false},
		"subnet more": {in(mangle, "-A l3kit-inside -s 10.9.0.0/16 -j DROP"), []string{"- rules mangle l3kit-inside: -s 10.9.0.0/16 -j DROP"}, false},
		"IPv6's chain flushed": {"6*filter\n-F l3kit-FORWARD\nCOMMIT\n", []string{
			"+ rules ip6 filter l3kit-FORWARD: -d fe80::/10 -g l3kit-refuse",
		}, false},
		"IPv6's address gone": {"6*raw\n-D l3kit-own 1\nCOMMIT\n", []string{"+ rules ip6 raw l3kit-own: -s fd00::1/128 -j DROP"}, false},
		"IPv6's subnet more": {"6*raw\n-A l3kit-inside -s fd00:9::/64 -j DROP\nCOMMIT\n", []string{
			"- rules ip6 raw l3kit-inside: -s fd00:9::/64 -j DROP",
		}, false},
		"IPv6's hook gone": {"6*raw\n-D PREROUTING -j l3kit-PREROUTING\nCOMMIT\n", []string{"+ rules ip6 raw PREROUTING: -j l3kit-PREROUTING"}, false},
		"IPv6's filter gone": {"6*filter\n-D FORWARD -j l3kit-FORWARD\n-F l3kit-FORWARD\n-F l3kit-refuse\n-X l3kit-FORWARD\n-X l3kit-refuse\nCOMMIT\n", []string{
			"+ rules ip6 filter",
		}, false},
		"SNAT address": {in(nat, "-R l3kit-POSTROUTING 2 -o qg-out -j SNAT --to-source 203.0.255.3 --random-fully"), []string{
			"~ snat qg-out: 203.0.255.2, was 203.0.255.3  !",
		}, false},
		"ports not random": {in(nat, "-R l3kit-POSTROUTING 2 -o qg-out -j SNAT --to-source 203.0.255.2"), []string{
			"~ snat qg-out: 203.0.255.2, written otherwise",
		}, false},
	}
	script := func(p *place, lines string) {
		if six, ok := strings.CutPrefix(lines, "6"); ok {
			p.script6(six)
		} else {
			p.script(lines)
		}
	}
	zeroed := strings.NewReplacer("[7:700]", "[0:0]", "[8:800]", "[0:0]", "[9:900]", "[0:0]")
	eachVariant(t, func(t *testing.T, v Variant) {
		open := func(t testing.TB) *place {
			return newPlace(t, v)
		}
		firewalltest.Tamper(t, open, script, cases, zeroed, func(line string) bool { return strings.HasSuffix(line, "-A FORWARD -p tcp -j ACCEPT") })
	})
}

func (p *place) Counted() []string { return strings.Split(p.counted(p.variant), "\n") }

// A rule that somebody wrote with nft, and iptables has no words for, makes a whole table
// illegible.
func TestIllegible(t *testing.T) {
	r := example(fip(5), fip(6))
	for name, rule := range map[string]string{
		"told":     "rt nexthop 1.2.3.4 accept",
		"not told": "ip saddr { 1.2.3.4, 1.2.3.5 } accept",
	} {
		t.Run(name+", in a chain of ours", func(t *testing.T) {
			p := newPlace(t, NFT)
			p.apply(r)
			whole := p.Listing()
			p.run("", "nft", "add rule ip mangle l3kit-dst "+rule)
			require.Equal(t, []string{"~ rules mangle: has rules that iptables cannot show, written anew"}, p.plan(r, nil))
			p.apply(r)
			require.Equal(t, whole, p.Listing())
			require.Empty(t, p.plan(r, nil))
		})
		t.Run(name+", in another chain", func(t *testing.T) {
			p := newPlace(t, NFT)
			p.apply(r)
			p.run("", "nft", "add rule ip mangle PREROUTING "+rule)
			_, err := p.rules.Apply(t.Context(), namespace.Change{Want: r})
			require.ErrorIs(t, err, dataplane.ErrForeign)
			require.ErrorContains(t, err, "table mangle of iptables-nft")
			require.Contains(t, p.run("", "nft", "list", "chain", "ip", "mangle", "PREROUTING"), "1.2.3.4", "their rule is gone")
		})
	}
}
