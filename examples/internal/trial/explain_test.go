package trial_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	nft "github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// explain runs server explain --check beside the first server. It returns what that says, with the
// names of instances at the beginning of lines as they are in the listing.
func (s *spread) explain(from, to netip.Addr, flags ...string) (text string, status int) {
	s.Helper()
	server := s.Servers[0]
	args := []string{"explain", s.app.Router, "--check", "--from=" + from.String(), "--to=" + to.String()}
	for _, a := range server.Process.Args {
		for _, same := range []string{"--database=", "--bus-listen=", "--bus-secret-file="} {
			if strings.HasPrefix(a, same) {
				args = append(args, a)
			}
		}
	}
	if s.explainer == nil {
		s.explainer = s.Program(server.Machine, "explain", deployment.Self("server"))
	}
	s.explainer.Args = append(args, flags...)
	text, status, err := s.explainer.Run(within(s.T, 30*time.Second))
	require.NoError(s, err)
	s.Log("\n" + text)
	return text, status
}

// hops are the lines of a listing with the hosts, and with what was seen there.
func hops(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		for _, part := range []string{", edge", ", centre"} {
			if host, is := strings.CutSuffix(line, part); is {
				all = append(all, host+":")
			}
		}
		for _, seen := range []string{"seen in", "seen out", "NOT SEEN", "NOT WATCHED"} {
			if strings.HasPrefix(line, seen) {
				all = append(all, seen)
			}
		}
	}
	return strings.Join(all, " ")
}

// inside returns the namespace of the router's edge on a host.
func (s *spread) inside(h *deployment.Host) *lab.Host {
	s.Helper()
	on, err := h.Inside(s.app.Router)
	require.NoError(s, err)
	return on
}

// loses has an edge drop what goes to an address, by a table of somebody else, until the function
// that it returns is called.
func (s *spread) loses(h *deployment.Host, to netip.Addr) (stop func()) {
	s.Helper()
	c, err := nft.New(nft.WithNetNSFd(s.inside(h).FD()))
	require.NoError(s, err)
	table := c.AddTable(&nft.Table{Family: nft.TableFamilyIPv4, Name: "somebody"})
	chain := c.AddChain(&nft.Chain{Name: "forward", Table: table, Type: nft.ChainTypeFilter, Hooknum: nft.ChainHookForward, Priority: nft.ChainPriorityFirst})
	c.AddRule(&nft.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	require.NoError(s, c.Flush())
	return func() {
		c.DelTable(table)
		require.NoError(s, c.Flush())
	}
}

// misleads has an edge send what goes to an address to another part of the router, or refuse it, by
// a routing table of somebody else, until the function that it returns is called.
func (s *spread) misleads(h *deployment.Host, to netip.Addr, nextHop net.IP) (stop func()) {
	s.Helper()
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(s.inside(h).FD()))
	require.NoError(s, err)
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.Dst = 5, 1234, netlink.NewIPNet(to.AsSlice())
	route := &netlink.Route{Table: rule.Table, Dst: rule.Dst, Gw: nextHop}
	if nextHop == nil {
		const unreachable = 7 // RTN_UNREACHABLE
		route.Type = unreachable
	}
	require.NoError(s, nl.RouteAdd(route))
	require.NoError(s, nl.RuleAdd(rule))
	return func() {
		require.NoError(s, nl.RuleDel(rule))
		require.NoError(s, nl.RouteDel(route))
		nl.Close()
	}
}

// toCentre is the next hop of an edge's default route.
func (s *spread) toCentre(h *deployment.Host) net.IP {
	s.Helper()
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(s.inside(h).FD()))
	require.NoError(s, err)
	defer nl.Close()
	routes, err := nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: 253}, netlink.RT_FILTER_TABLE)
	require.NoError(s, err)
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			return r.Gw
		}
	}
	require.Fail(s, "the edge has no default route")
	return nil
}

// findsLosses requires that server explain --check follows packets from host to host, and names the
// host and the hop where one is lost. a and b are on different hosts, and have floating IPs; c, on
// a third one, has none.
func (s *spread) findsLosses(t *testing.T, a, b, c *deployment.Tenant, centre *deployment.Host) {
	h1, h2, h3 := s.compute[0], s.compute[1], s.compute[2]
	check := func(from, to netip.Addr, want string, says ...string) {
		t.Helper()
		text, status := s.explain(from, to, "--proto=icmp")
		require.Equal(t, want, hops(text))
		require.Contains(t, text, "\nThe hosts agree: ")
		require.Zero(t, status)
		for _, part := range says {
			require.Contains(t, text, part)
		}
	}
	check(a.Fixed, b.Fixed, "host1: seen in seen out host2: seen in seen out", "as "+a.Fixed.String()+" → "+b.Fixed.String(), "an answer came back")
	check(c.Fixed, deployment.OutsideAddr, "host3: seen in seen out "+centre.Name+": seen in seen out", "an answer came back")
	check(deployment.OutsideAddr, a.Floating, "host1: seen in seen out", "as "+deployment.OutsideAddr.String()+" → "+a.Fixed.String())
	check(c.Fixed, a.Floating, "host3: seen in seen out host1: seen in seen out", "→ "+a.Fixed.String())

	lost := func(want string, says ...string) {
		t.Helper()
		text, status := s.explain(a.Fixed, b.Fixed, "--proto=udp", "--dport=7")
		require.Equal(t, want, hops(text))
		require.Contains(t, text, "\nThe hosts DO NOT agree: ")
		require.Equal(t, 1, status)
		for _, part := range says {
			require.Contains(t, text, part)
		}
	}
	stop := s.loses(h2, b.Fixed)
	lost("host1: seen in seen out host2: seen in NOT SEEN", "; LOST on host2: it arrived by ", ", and did not leave\n")
	stop()
	stop = s.misleads(h1, b.Fixed, nil)
	lost("host1: seen in NOT SEEN host2: NOT SEEN", "; LOST on host1: it arrived by ", ", and did not leave; the sender was told: host unreachable\n")
	stop()
	stop = s.misleads(h1, b.Fixed, s.toCentre(h1))
	lost("host1: seen in seen out host2: seen in NOT SEEN", "; it left host1 by ", " to "+centre.Name+", not to host2; it also arrived at "+centre.Name+", centre, which is not on its way\n")
	stop()
	require.NoError(t, s.Tunnels.Cut(h2.TunnelPort(), true))
	lost("host1: seen in seen out host2: NOT SEEN", "; LOST between host1, which sent it by ", "and host2, where it did not arrive")
	require.NoError(t, s.Tunnels.Cut(h2.TunnelPort(), false))

	require.NoError(t, h3.Agent.Kill())
	text, status := s.explain(a.Fixed, c.Fixed)
	require.Equal(t, "host1: seen in seen out host3: NOT WATCHED", hops(text))
	require.Contains(t, text, "\nThe hosts that were watched agree: ")
	require.Contains(t, text, "; host3 was not watched: ask host host3: no agent of the host listens on the bus\n")
	require.Equal(t, 1, status)
	text, status = s.explain(c.Fixed, a.Fixed)
	require.Contains(t, text, "nothing was sent: host host3: ")
	require.Equal(t, 1, status)
	require.NoError(t, h3.Agent.Start())
	require.NoError(t, h3.Ready(within(t, 30*time.Second)))
	check(a.Fixed, c.Fixed, "host1: seen in seen out host3: seen in seen out")
}
