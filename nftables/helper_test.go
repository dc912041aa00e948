package nftables

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
	p.reopen()
	return p
}

// reopen stands for another process: nothing is remembered.
func (p *place) reopen() {
	p.t.Helper()
	opened, err := Firewall{}.Open(namespace.NS{Router: "test", FD: p.fd})
	require.NoError(p.t, err)
	p.rules = opened.(*rules)
	p.t.Cleanup(func() { require.NoError(p.t, opened.Close()) })
}

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
	var out []byte
	err := netns.Do(p.fd, func() (err error) {
		out, err = exec.Command("nft", args...).CombinedOutput()
		return err
	})
	require.NoError(p.t, err, "nft %s: %s", strings.Join(args, " "), out)
	return string(out)
}

var elementList = regexp.MustCompile(`elements = \{([^}]*)\}`)

// listing is everything that nft tells of the namespace, elements in order.
func (p *place) listing() string {
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
