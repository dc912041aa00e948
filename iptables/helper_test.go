package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/needs"
	"github.com/l3kit/l3kit/internal/netns"
)

// place is a nameless network namespace with rules open in it.
type place struct {
	t       testing.TB
	fd      int
	variant Variant
	rules   *rules
}

func newPlace(t testing.TB, v Variant) *place {
	t.Helper()
	needRootAndBothVariants(t)
	f, err := netns.New(nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	p := &place{t: t, fd: int(f.Fd()), variant: v}
	p.reopen()
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

// reopen stands for another process: nothing is remembered.
func (p *place) reopen() { p.t.Helper(); p.open(&Firewall{Variant: p.variant}) }

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
	undo, err := p.rules.Apply(p.t.Context(), namespace.Change{Want: r})
	require.NoError(p.t, err)
	return undo
}

func (p *place) requirePresent(want bool) {
	p.t.Helper()
	present, err := p.rules.Present(p.t.Context())
	require.NoError(p.t, err)
	require.Equal(p.t, want, present)
}

// plan returns the steps to r as text.
func (p *place) plan(r dataplane.Router, since *namespace.Delta) []string {
	p.t.Helper()
	steps, err := p.rules.Plan(p.t.Context(), namespace.Change{Want: r, Since: since})
	require.NoError(p.t, err)
	lines := []string{}
	for _, s := range steps {
		lines = append(lines, s.String())
	}
	return lines
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
	out, err := p.output(input, name, args...)
	require.NoError(p.t, err)
	return out
}

// try does the same, and may be called by any goroutine.
func (p *place) try(input, name string, args ...string) error {
	_, err := p.output(input, name, args...)
	return err
}

func (p *place) output(input, name string, args ...string) (string, error) {
	var out []byte
	err := netns.Do(p.fd, func() (err error) {
		c := exec.Command(name, args...)
		c.Stdin = strings.NewReader(input)
		if out, err = c.CombinedOutput(); err != nil {
			err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
		}
		return err
	})
	return string(out), err
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

// listing is the same without counters.
func (p *place) listing() string {
	p.t.Helper()
	return ruleCounters.ReplaceAllString(p.counted(p.variant), "")
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// fip is the nth floating IP, for the nth fixed address.
func fip(n int) dataplane.FloatingIP {
	return dataplane.FloatingIP{
		ID:    fmt.Sprintf("fip-%d", n),
		Addr:  netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}),
		Fixed: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}),
	}
}

func fips(from, to int) []dataplane.FloatingIP {
	var list []dataplane.FloatingIP
	for n := from; n < to; n++ {
		list = append(list, fip(n))
	}
	return list
}

// example is a router with two internal ports and a gateway that translates.
func example(fips ...dataplane.FloatingIP) dataplane.Router {
	port := func(id, a string) dataplane.Port {
		return dataplane.Port{ID: id, Addrs: []netip.Prefix{netip.MustParsePrefix(a)}, MTU: 1500}
	}
	return dataplane.Router{
		ID:          "3f7f4b6e-7c41-4b43-9d0c-4d7a2f6b0001",
		Ports:       []dataplane.Port{port("web", "10.0.0.1/16"), port("db", "10.1.0.1/24")},
		Gateway:     &dataplane.Gateway{Port: port("out", "203.0.255.2/16"), SNAT: true},
		FloatingIPs: fips,
	}
}

func without(r dataplane.Router, change func(*dataplane.Router)) dataplane.Router {
	if r.Gateway != nil {
		g := *r.Gateway
		r.Gateway = &g
	}
	r.FloatingIPs = slices.Clone(r.FloatingIPs)
	r.Ports = slices.Clone(r.Ports)
	change(&r)
	return r
}
