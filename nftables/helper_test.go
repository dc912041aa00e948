package nftables

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
	t     testing.TB
	fd    int
	rules *rules
}

func newPlace(t testing.TB) *place {
	t.Helper()
	needs.Root(t)
	f, err := netns.New(nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	p := &place{t: t, fd: int(f.Fd())}
	p.Reopen()
	return p
}

// Reopen stands for another process: nothing is remembered.
func (p *place) Reopen() {
	p.t.Helper()
	opened, err := Firewall{}.Open(namespace.NS{Router: "test", FD: p.fd})
	require.NoError(p.t, err)
	p.rules = opened.(*rules)
	p.t.Cleanup(func() { require.NoError(p.t, opened.Close()) })
}

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

// generation asks over a socket of its own.
func (p *place) generation() uint32 {
	p.t.Helper()
	s := newSocket(p.fd)
	defer s.Close()
	g, err := s.Generation()
	require.NoError(p.t, err)
	return g
}

// nft runs the tool, an eye that is not ours.
func (p *place) nft(args ...string) string {
	p.t.Helper()
	out, err := firewalltest.Tool(p.fd, "", "nft", args...)
	require.NoError(p.t, err)
	return out
}

var elementList = regexp.MustCompile(`elements = \{([^}]*)\}`)

// Listing is everything that nft tells of the namespace, elements in order.
func (p *place) Listing() string {
	p.t.Helper()
	return elementList.ReplaceAllStringFunc(p.nft("list", "ruleset"), func(list string) string {
		elements := strings.Split(elementList.FindStringSubmatch(list)[1], ",")
		for i := range elements {
			elements[i] = strings.TrimSpace(elements[i])
		}
		slices.Sort(elements)
		return "elements = { " + strings.Join(elements, ",\n\t\t\t     ") + " }"
	})
}

// The example router and its floating IPs.
var (
	addr    = firewalltest.Addr
	fip     = firewalltest.FIP
	fips    = firewalltest.FIPs
	example = firewalltest.Example
	without = firewalltest.Without
)
