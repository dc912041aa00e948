package nftables

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/firewalltest"
)

// script feeds nft one transaction.
func (p *place) script(lines string) {
	p.t.Helper()
	file := p.t.TempDir() + "/rules.nft"
	require.NoError(p.t, os.WriteFile(file, []byte(lines), 0o600))
	p.nft("-f", file)
}

// Count gives the counters of the example's floating IP 5 values, so that it shows if they are
// lost.
func (p *place) Count() {
	p.script(`
		delete element ip l3kit fip_in { 203.0.0.5 }
		delete element ip l3kit fip_out { 203.0.0.5 }
		add element ip l3kit fip_in { 203.0.0.5 counter packets 7 bytes 700 }
		add element ip l3kit fip_out { 203.0.0.5 counter packets 8 bytes 800 }
	`)
}

func TestTampering(t *testing.T) {
	cases := firewalltest.Tamperings{
		"nothing": {"", []string{}, false},
		"table gone": {"delete table ip l3kit", []string{
			"+ rules ip l3kit", "+ snat qg-out: 203.0.255.2", "+ floating-ip 203.0.0.5: → 10.0.0.5", "+ floating-ip 203.0.0.6: → 10.0.0.6",
			"+ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081",
		}, true},
		"everything gone": {"flush ruleset", []string{
			"+ rules ip l3kit", "+ snat qg-out: 203.0.255.2", "+ floating-ip 203.0.0.5: → 10.0.0.5", "+ floating-ip 203.0.0.6: → 10.0.0.6",
			"+ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081",
			"+ rules ip6 l3kit",
		}, true},
		"all rules gone": {"flush table ip l3kit", []string{
			"~ rules chain refuse: 3 rules missing", "~ rules chain ingress: 2 rules missing", "~ rules chain prerouting: 2 rules missing",
			"~ rules chain output: 2 rules missing", "~ rules chain forward: 9 rules missing", "~ rules chain postrouting: 4 rules missing", "~ rules chain count_out: 1 rule missing",
		}, false},
		"chain flushed": {"flush chain ip l3kit forward", []string{"~ rules chain forward: 9 rules missing"}, false},
		"chain gone": {`
			flush chain ip l3kit output
			delete chain ip l3kit output`, []string{"+ rules chain output"}, false},
		"chain elsewhere": {`
			flush chain ip l3kit output
			delete chain ip l3kit output
			add chain ip l3kit output { type nat hook output priority 0; }
			add rule ip l3kit output dnat to ip daddr map @fip_dnat`,
			[]string{"~ rules chain output: hook or policy differs, 2 rules missing, 1 rule not ours"}, false},
		"policy": {"add chain ip l3kit forward { policy drop; }", []string{"~ rules chain forward: hook or policy differs"}, false},
		"rule gone": {`
			flush chain ip l3kit postrouting
			add rule ip l3kit postrouting oifname @external snat to ip saddr map @fip_snat comment "fixed address to floating IP"`,
			[]string{"~ rules chain postrouting: 3 rules missing"}, false},
		"rule more": {"add rule ip l3kit forward accept", []string{"~ rules chain forward: 1 rule not ours"}, false},
		"rule of a kind unknown to us": {
			"insert rule ip l3kit forward rt nexthop 10.0.0.1 limit rate 1/second log prefix \"x\" drop",
			[]string{"~ rules chain forward: 1 rule not ours"}, false,
		},
		"rule that writes a TCP option": {
			"insert rule ip l3kit forward tcp flags syn tcp option maxseg size set rt mtu", []string{"~ rules chain forward: 1 rule not ours"}, false,
		},
		"rule with a set of its own": {
			"insert rule ip l3kit forward ip saddr { 10.0.0.5, 10.0.0.6 } drop", []string{"~ rules chain forward: 1 rule not ours"}, false,
		},
		"rule twice": {
			`add rule ip l3kit ingress ip daddr @fip_in comment "count what goes to floating IPs"`,
			[]string{"~ rules chain ingress: rules repeated"}, false,
		},
		"rules swapped": {`
			flush chain ip l3kit ingress
			add rule ip l3kit ingress ip daddr @fip_in comment "count what goes to floating IPs"
			add rule ip l3kit ingress iifname @external ip saddr @inside drop comment "spoofed: internal addresses are not outside"`,
			[]string{"~ rules chain ingress: rules in another order"}, false},
		"rule inverted": {`
			flush chain ip l3kit count_out
			add rule ip l3kit count_out ip saddr != @fip_out comment "count what comes from floating IPs"`,
			[]string{"~ rules chain count_out: 1 rule missing, 1 rule not ours"}, false},
		"another comment": {`
			flush chain ip l3kit count_out
			add rule ip l3kit count_out ip saddr @fip_out comment "x"`,
			[]string{"~ rules chain count_out: 1 rule missing, 1 rule not ours"}, false},
		"chain more": {`
			add chain ip l3kit other { type filter hook forward priority 10; policy drop; }
			add rule ip l3kit other counter packets 3 bytes 300 accept
			add chain ip l3kit jumped
			add rule ip l3kit jumped drop
			add rule ip l3kit count_out jump jumped`,
			[]string{"~ rules chain count_out: 1 rule not ours", "- rules chain other: not ours", "- rules chain jumped: not ours"}, false},
		"map of verdicts more": {`
			add chain ip l3kit jumped
			add map ip l3kit verdicts { type ipv4_addr : verdict; }
			add element ip l3kit verdicts { 10.0.0.5 : jump jumped, 10.0.0.6 : drop }
			add rule ip l3kit count_out ip saddr vmap @verdicts`,
			[]string{"- rules set verdicts: not ours", "~ rules chain count_out: 1 rule not ours", "- rules chain jumped: not ours"}, false},
		"set more": {"add set ip l3kit other { type inet_service; timeout 1h; comment \"x\"; }", []string{"- rules set other: not ours"}, false},
		"set of another kind": {`
			flush chain ip l3kit postrouting
			delete map ip l3kit hairpin
			add map ip l3kit hairpin { type ifname : ipv4_addr; timeout 1h; }
			add element ip l3kit hairpin { "qr-x" timeout 5m : 10.0.0.1 }`,
			[]string{
				"~ rules set hairpin: is of another kind, made anew",
				"~ rules chain postrouting: 4 rules missing",
				"~ rules chain refuse: written again", "~ rules chain ingress: written again", "~ rules chain prerouting: written again", "~ rules chain output: written again",
				"~ rules chain forward: written again", "~ rules chain count_out: written again",
				"+ rules hairpin qr-db: 203.0.255.2", "+ rules hairpin qr-web: 203.0.255.2",
			}, false},
		"dormant": {"add table ip l3kit { flags dormant; }", []string{
			"~ rules ip l3kit: made anew, had flags 0x1", "+ snat qg-out: 203.0.255.2",
			"+ floating-ip 203.0.0.5: → 10.0.0.5", "+ floating-ip 203.0.0.6: → 10.0.0.6",
			"+ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081",
		}, true},
		"port gone": {"delete element ip l3kit pf_dnat { 203.0.0.200 . tcp . 80 }", []string{"+ port-forwarding 203.0.0.200 tcp 80: → 10.0.0.200 8080"}, false},
		"port elsewhere": {`
			delete element ip l3kit pf_dnat { 203.0.0.200 . tcp . 80 }
			add element ip l3kit pf_dnat { 203.0.0.200 . tcp . 80 : 10.0.0.200 . 80 }`,
			[]string{"~ port-forwarding 203.0.0.200 tcp 80: → 10.0.0.200 8080, was → 10.0.0.200 80  !"}, false},
		"ports more": {"add element ip l3kit pf_dnat { 203.0.0.200 . udp . 7 : 10.0.0.200 . 1, 203.0.0.200 . udp . 8 : 10.0.0.200 . 2, 203.0.0.200 . dccp . 8 : 10.0.0.200 . 2 }",
			[]string{"- port-forwarding 203.0.0.200 udp 7-8: → 10.0.0.200 1-2  !", "- port-forwarding 203.0.0.200 protocol 33 8: → 10.0.0.200 2  !"}, false},
		"port with a comment": {`
			delete element ip l3kit pf_dnat { 203.0.0.200 . tcp . 81 }
			add element ip l3kit pf_dnat { 203.0.0.200 . tcp . 81 comment "x" : 10.0.0.200 . 8081 }`,
			[]string{"~ port-forwarding 203.0.0.200 tcp 81: → 10.0.0.200 8081, was an odd one  !"}, false},
		"forwarding of another kind": {`
			flush chain ip l3kit prerouting
			flush chain ip l3kit output
			delete map ip l3kit pf_dnat
			add map ip l3kit pf_dnat { type ipv4_addr . inet_proto . inet_service : ipv4_addr; }`,
			[]string{
				"~ rules set pf_dnat: is of another kind, made anew", "~ rules chain prerouting: 2 rules missing", "~ rules chain output: 2 rules missing",
				"~ rules chain refuse: written again", "~ rules chain ingress: written again", "~ rules chain forward: written again",
				"~ rules chain postrouting: written again", "~ rules chain count_out: written again",
				"+ port-forwarding 203.0.0.200 tcp 80-81: → 10.0.0.200 8080-8081",
			}, false},
		"dnat gone":    {"delete element ip l3kit fip_dnat { 203.0.0.6 }", []string{"~ floating-ip 203.0.0.6: dnat entry missing"}, false},
		"snat gone":    {"delete element ip l3kit fip_snat { 10.0.0.6 }", []string{"~ floating-ip 203.0.0.6: snat entry missing"}, false},
		"counter gone": {"delete element ip l3kit fip_in { 203.0.0.6 }", []string{"~ floating-ip 203.0.0.6: fip_in counter missing"}, false},
		"dnat elsewhere": {`
			delete element ip l3kit fip_dnat { 203.0.0.6 }
			add element ip l3kit fip_dnat { 203.0.0.6 : 10.0.0.66 }`,
			[]string{"~ floating-ip 203.0.0.6: → 10.0.0.6, was 10.0.0.66  !"}, false},
		"snat elsewhere": {`
			delete element ip l3kit fip_snat { 10.0.0.6 }
			add element ip l3kit fip_snat { 10.0.0.6 : 203.0.0.66 }`,
			[]string{"~ floating-ip 203.0.0.6: snat entry is 203.0.0.66  !"}, false},
		"strays": {`
			add element ip l3kit fip_snat { 10.0.0.77 : 203.0.0.77 }
			add element ip l3kit fip_dnat { 203.0.0.78 : 10.0.0.78 }
			add element ip l3kit fip_out { 203.0.0.79 }`,
			[]string{
				"- floating-ip 203.0.0.77: stray snat entry  !", "- floating-ip 203.0.0.78: → 10.0.0.78  !",
				"- floating-ip 203.0.0.79: stray fip_out counter  !",
			}, false},
		"floating IP gone": {`
			delete element ip l3kit fip_dnat { 203.0.0.6 }
			delete element ip l3kit fip_snat { 10.0.0.6 }
			delete element ip l3kit fip_in { 203.0.0.6 }
			delete element ip l3kit fip_out { 203.0.0.6 }`,
			[]string{"+ floating-ip 203.0.0.6: → 10.0.0.6"}, false},
		"element with a comment": {`
			delete element ip l3kit fip_dnat { 203.0.0.6 }
			add element ip l3kit fip_dnat { 203.0.0.6 comment "x" : 10.0.0.6 }`,
			[]string{"~ floating-ip 203.0.0.6: → 10.0.0.6, was an odd one  !"}, false},
		"SNAT address": {`
			delete element ip l3kit shared_snat { "qg-out" }
			add element ip l3kit shared_snat { "qg-out" : 203.0.255.3 }`,
			[]string{"~ snat qg-out: 203.0.255.2, was 203.0.255.3  !"}, false},
		"subnet gone": {`delete element ip l3kit inside { 10.0.0.0/16 }`, []string{"+ rules inside 10.0.0.0/16"}, false},
		"subnet larger": {`
			delete element ip l3kit inside { 10.0.0.0/16 }
			add element ip l3kit inside { 10.0.0.0-10.0.255.254, 10.2.0.0/16 }`,
			[]string{"- rules inside 10.0.0.0-10.0.255.254", "+ rules inside 10.0.0.0/16", "- rules inside 10.2.0.0/16"}, false},
		"subnet with a comment": {`
			delete element ip l3kit inside { 10.0.0.0/16 }
			add element ip l3kit inside { 10.0.0.0/16 comment "x" }`,
			[]string{"- rules inside an odd one", "+ rules inside 10.0.0.0/16", "- rules inside an odd one"}, false},
		"all of IPv6 gone":    {"delete table ip6 l3kit", []string{"+ rules ip6 l3kit"}, false},
		"IPv6's rule gone":    {"flush chain ip6 l3kit ingress", []string{"~ rules ip6 chain ingress: 2 rules missing"}, false},
		"IPv6's address gone": {"delete element ip6 l3kit own { fd00::1 }", []string{"+ rules ip6 own fd00::1"}, false},
		"IPv6's subnet gone":  {"delete element ip6 l3kit inside { fd00::/64 }", []string{"+ rules ip6 inside fd00::/64"}, false},
		"IPv6's address more": {"add element ip6 l3kit own { fd00::2 }", []string{"- rules ip6 own fd00::2"}, false},
		"guard gone":          {`delete element ip l3kit guarded { "qg-out" }`, []string{"+ rules guarded qg-out"}, false},
	}
	open := func(t testing.TB) *place { return newPlace(t) }
	script := func(p *place, lines string) {
		p.script(lines)
		if strings.Contains(lines, "flush ruleset") {
			p.Foreign() // which goes with it
		}
	}
	zeroed := strings.NewReplacer("packets 7 bytes 700", "packets 0 bytes 0", "packets 8 bytes 800", "packets 0 bytes 0")
	firewalltest.Tamper(t, open, script, cases, zeroed, func(string) bool { return false })
}

func (p *place) Counted() []string { return lines(p.Listing()) }

// lines is a listing without what passes with time.
func lines(listing string) []string {
	var out []string
	for line := range strings.Lines(listing) {
		before, _, _ := strings.Cut(line, " expires ")
		out = append(out, strings.TrimSpace(before))
	}
	return out
}
