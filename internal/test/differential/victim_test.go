package differential

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	nft "github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// victim is a router in the kernel, realised by nftables, open to damage. The next Apply mends it.
type victim struct {
	*site
	rules *nft.Conn
	table *nft.Table // of IPv4
	six   *nft.Table // of IPv6, if the router has one
	links *netlink.Handle
}

func openVictim(t *testing.T, s *site) victim {
	t.Helper()
	rules, err := nft.New(nft.WithNetNSFd(s.inside.FD()))
	require.NoError(t, err)
	links, err := netlink.NewHandleAt(vnetns.NsHandle(s.inside.FD()), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	return victim{s, rules, &nft.Table{Name: "l3kit", Family: nft.TableFamilyIPv4}, &nft.Table{Name: "l3kit", Family: nft.TableFamilyIPv6}, links}
}

// close also takes away what is in a table of its own, which no Apply looks at.
func (v victim) close() {
	v.rules.DelTable(&nft.Table{Name: foreign, Family: nft.TableFamilyIPv6})
	_ = v.rules.Flush() // it may not be there
	v.links.Close()
}

const foreign = "mistake"

// rewrite replaces the rules of a chain of the table for IPv4.
func (v victim) rewrite(chain string, edit func([]*nft.Rule) []*nft.Rule) error {
	return v.rewriteIn(v.table, chain, edit)
}

func (v victim) rewriteIn(table *nft.Table, chain string, edit func([]*nft.Rule) []*nft.Rule) error {
	c := &nft.Chain{Name: chain, Table: table}
	rules, err := v.rules.GetRules(table, c)
	if err != nil {
		return err
	}
	v.rules.FlushChain(c)
	for _, r := range edit(rules) {
		v.rules.AddRule(&nft.Rule{Table: table, Chain: c, Exprs: r.Exprs, UserData: r.UserData})
	}
	return v.rules.Flush()
}

func dropRule(chain string, n int) func(victim) error {
	return func(v victim) error {
		return v.rewrite(chain, func(r []*nft.Rule) []*nft.Rule { return slices.Delete(r, n, n+1) })
	}
}

// dropRule6 does what dropRule does, in the table for IPv6.
func dropRule6(chain string, n int) func(victim) error {
	return func(v victim) error {
		return v.rewriteIn(v.six, chain, func(r []*nft.Rule) []*nft.Rule { return slices.Delete(r, n, n+1) })
	}
}

func swapRules(chain string, i, j int) func(victim) error {
	return func(v victim) error {
		return v.rewrite(chain, func(r []*nft.Rule) []*nft.Rule {
			r[i], r[j] = r[j], r[i]
			return r
		})
	}
}

func editRule(chain string, n int, edit func([]expr.Any) []expr.Any) func(victim) error {
	return func(v victim) error {
		return v.rewrite(chain, func(r []*nft.Rule) []*nft.Rule {
			r[n].Exprs = edit(r[n].Exprs)
			return r
		})
	}
}

// inverted turns a rule's look into a set around.
func inverted(rule []expr.Any) []expr.Any {
	for _, e := range rule {
		if l, ok := e.(*expr.Lookup); ok {
			l.Invert = !l.Invert
		}
	}
	return rule
}

// unconditional takes a rule's condition on the connection away.
func unconditional(rule []expr.Any) []expr.Any {
	from := slices.IndexFunc(rule, func(e expr.Any) bool { _, ok := e.(*expr.Ct); return ok })
	return slices.Delete(rule, from, len(rule)-1) // up to the verdict
}

// unmarked takes a rule's condition on the packet's mark away, which is the first one.
func unmarked(rule []expr.Any) []expr.Any {
	after := slices.IndexFunc(rule, func(e expr.Any) bool { _, ok := e.(*expr.Cmp); return ok })
	return rule[after+1:]
}

// guardEarly moves the guard to where destinations are not translated yet.
func (v victim) guardEarly() error {
	rules, err := v.rules.GetRules(v.table, &nft.Chain{Name: "forward", Table: v.table})
	if err != nil {
		return err
	}
	early := v.rules.AddChain(&nft.Chain{
		Name: "early", Table: v.table, Type: nft.ChainTypeFilter, Hooknum: nft.ChainHookPrerouting,
		Priority: nft.ChainPriorityRef(*nft.ChainPriorityNATDest - 1),
	})
	for _, r := range rules[1:8] {
		v.rules.AddRule(&nft.Rule{Table: v.table, Chain: early, Exprs: r.Exprs})
	}
	return v.rules.Flush()
}

// guardIPv6 drops what the gateway brings.
func (v victim) guardIPv6() error {
	table := v.rules.AddTable(&nft.Table{Name: foreign, Family: nft.TableFamilyIPv6})
	chain := v.rules.AddChain(&nft.Chain{
		Name: "forward", Table: table, Type: nft.ChainTypeFilter, Hooknum: nft.ChainHookForward, Priority: nft.ChainPriorityFilter,
	})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, dataplane.GatewayDevice(v.router.Gateway.ID))
	v.rules.AddRule(&nft.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return v.rules.Flush()
}

// misdirect makes the first floating IP stand for the address after the right one.
func (v victim) misdirect() error {
	set, err := v.rules.GetSetByName(v.table, "fip_dnat")
	if err != nil {
		return err
	}
	f := v.router.FloatingIPs[0]
	key := f.Addr.AsSlice()
	if err := v.rules.SetDeleteElements(set, []nft.SetElement{{Key: key, Val: f.Fixed.AsSlice()}}); err != nil {
		return err
	}
	if err := v.rules.SetAddElements(set, []nft.SetElement{{Key: key, Val: f.Fixed.Next().AsSlice()}}); err != nil {
		return err
	}
	return v.rules.Flush()
}

func writeSysctl(name, value string) func(victim) error {
	return func(v victim) error {
		return v.inside.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	}
}

func (v victim) removeFloating() error {
	var addrs []netip.Addr
	for _, f := range v.router.FloatingIPs {
		addrs = append(addrs, f.Addr)
	}
	return v.removeAddresses(addrs)
}

func (v victim) removeForwarding() error { return v.removeAddresses(v.router.ForwardingAddrs()) }

func (v victim) removeAddresses(addrs []netip.Addr) error {
	link, err := v.links.LinkByName(dataplane.GatewayDevice(v.router.Gateway.ID))
	if err != nil {
		return err
	}
	for _, a := range addrs {
		host := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
		if err := v.links.AddrDel(link, &netlink.Addr{IPNet: host}); err != nil {
			return err
		}
	}
	return nil
}

// removeHop leaves each route that several share with its first hop.
func (v victim) removeHop() error {
	return v.eachRoute(func(r netlink.Route) error {
		if len(r.MultiPath) == 0 {
			return nil
		}
		first := r.MultiPath[0]
		r.MultiPath, r.LinkIndex, r.Gw, r.Flags = nil, first.LinkIndex, first.Gw, int(netlink.FLAG_ONLINK)
		return v.links.RouteReplace(&r)
	})
}

// The kinds of a router's routes.
func extra(r netlink.Route) bool        { return r.Priority == 512 }
func defaults(r netlink.Route) bool     { return r.Priority == 1024 && r.Gw != nil }
func direct(r netlink.Route) bool       { return r.Priority == 1024 && r.Gw == nil }
func neighbouring(r netlink.Route) bool { return r.Priority == 384 }

func removeRoute(which func(netlink.Route) bool) func(victim) error {
	return func(v victim) error {
		return v.eachRoute(func(r netlink.Route) error {
			if !which(r) {
				return nil
			}
			return v.links.RouteDel(&r)
		})
	}
}

func (v victim) eachRoute(fn func(netlink.Route) error) error {
	routes, err := v.links.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range routes {
		if r.Protocol == unix.RTPROT_STATIC {
			errs = append(errs, fn(r))
		}
	}
	return errors.Join(errs...)
}
