package iptables

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// place is a nameless network namespace with rules open in it.
type place struct {
	t       testing.TB
	fd      int
	variant Variant
	rules   *rules
	stamps  store // whose seed makes stamps comparable, also after Reopen
}

func newPlace(t testing.TB, v Variant) *place {
	t.Helper()
	needRootAndBothVariants(t)
	f, err := netns.New(nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	p := &place{t: t, fd: int(f.Fd()), variant: v}
	p.Reopen()
	p.stamps = p.side().store
	return p
}

func needRootAndBothVariants(t testing.TB) {
	t.Helper()
	needs.Root(t)
	needs.Program(t, "iptables-legacy-restore", "iptables")
}

func eachVariant(t *testing.T, fn func(t *testing.T, v Variant)) {
	for _, v := range []Variant{NFT, Legacy} {
		t.Run(string(v), func(t *testing.T) { fn(t, v) })
	}
}

// Reopen stands for another process: nothing is remembered.
func (p *place) Reopen() { p.t.Helper(); p.open(&Firewall{Variant: p.variant}) }

func (p *place) open(f *Firewall) {
	p.t.Helper()
	opened, err := f.Open(namespace.NS{Router: "test", FD: p.fd})
	require.NoError(p.t, err)
	p.rules = opened.(*rules)
	p.t.Cleanup(func() { require.NoError(p.t, opened.Close()) })
}

// side is the one that is written to.
func (p *place) side() *side { return p.rules.sides[p.variant] }

// apply applies the whole router and returns the way back.
func (p *place) apply(r dataplane.Router) func(context.Context) error {
	p.t.Helper()
	return firewalltest.Apply(p.t, p.rules, r)
}

// plan returns the steps to r as text.
func (p *place) plan(r dataplane.Router, since *namespace.Delta) []string {
	p.t.Helper()
	return firewalltest.Plan(p.t, p.rules, r, since)
}

// stamp asks over a socket of its own.
func (p *place) stamp() stamp {
	p.t.Helper()
	at, err := p.side().store.stamp()
	require.NoError(p.t, err)
	return at
}

// run runs a program in the namespace, an eye and a hand that are not ours.
func (p *place) run(input, name string, args ...string) string {
	p.t.Helper()
	out, err := firewalltest.Tool(p.fd, input, name, args...)
	require.NoError(p.t, err)
	return out
}

// try does the same, and may be called by any goroutine.
func (p *place) try(input, name string, args ...string) error {
	_, err := firewalltest.Tool(p.fd, input, name, args...)
	return err
}

// script feeds the tool of a variant one script of iptables-restore.
func (p *place) script(lines string) {
	p.t.Helper()
	p.run(lines, "iptables-"+string(p.variant)+"-restore", "--noflush", "--counters", "--wait")
}

// script6 does the same for IPv6; an empty script needs no tool.
func (p *place) script6(lines string) {
	p.t.Helper()
	if lines != "" {
		p.run(lines, "ip6tables-"+string(p.variant)+"-restore", "--noflush", "--counters", "--wait")
	}
}

// flush empties our tables by the tools that people use.
func (p *place) flush() {
	p.t.Helper()
	for tool, tables := range map[string][]string{"iptables-": {filter, mangle, nat}, "ip6tables-": {"filter", "raw"}} {
		for _, what := range []string{"-F", "-X"} {
			for _, table := range tables {
				p.run("", tool+string(p.variant), "-t", table, what)
			}
		}
	}
}

var (
	policyCounters = regexp.MustCompile(`(?m)^(:\S+ \S+) \[\d+:\d+\]$`)
	ruleCounters   = regexp.MustCompile(`(?m)^\[\d+:\d+\] `)
)

// counted is what iptables-save and ip6tables-save of a variant tell, but for built-in chains and
// the tables around them where there is nothing else.
func (p *place) counted(v Variant) string {
	p.t.Helper()
	return p.saved("iptables-"+string(v)) + p.saved("ip6tables-"+string(v))
}

func (p *place) saved(tool string) string {
	p.t.Helper()
	var out, table []string
	filled := false
	for line := range strings.Lines(p.run("", tool+"-save", "--counters")) {
		line = policyCounters.ReplaceAllString(strings.TrimSuffix(line, "\n"), "$1")
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "COMMIT":
			if filled {
				out = append(out, strings.Join(append(table, line), "\n"))
			}
			table, filled = nil, false
		default:
			if !strings.HasPrefix(line, ":") || strings.HasSuffix(line, " -") {
				filled = filled || !strings.HasPrefix(line, "*")
				table = append(table, line)
			}
		}
	}
	slices.Sort(out)
	if out == nil {
		return ""
	}
	return strings.Join(out, "\n") + "\n"
}

// Listing is the same without counters.
func (p *place) Listing() string {
	p.t.Helper()
	return ruleCounters.ReplaceAllString(p.counted(p.variant), "")
}

// The example router and its floating IPs.
var (
	fip     = firewalltest.FIP
	example = firewalltest.Example
	without = firewalltest.Without
)
