package main

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/l3kit/l3kit/dataplane"
)

// leastTable writes the least table that translates the same packets as the backend's: two maps,
// and the rules that use them. It counts nothing, and guards nothing: what the backend's table has
// beyond it is what the difference between the two floors pays for.
func leastTable(fd int, r dataplane.Router) error {
	c, err := nftables.New(nftables.WithNetNSFd(fd), nftables.AsLasting(), nftables.WithSockOptions(bigBuffers))
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Name: "least", Family: nftables.TableFamilyIPv4})
	dnat := floorSet(t, "dnat", nftables.TypeIPAddr, true)
	snat := floorSet(t, "snat", nftables.TypeIPAddr, true)
	var toFixed, toFIP []nftables.SetElement
	for _, f := range r.FloatingIPs {
		addr, fixed := f.Addr.AsSlice(), f.Fixed.AsSlice()
		toFixed = append(toFixed, nftables.SetElement{Key: addr, Val: fixed})
		toFIP = append(toFIP, nftables.SetElement{Key: fixed, Val: addr})
	}
	for _, m := range []struct {
		set  *nftables.Set
		list []nftables.SetElement
	}{{dnat, toFixed}, {snat, toFIP}} {
		if err := c.AddSet(m.set, nil); err != nil {
			return err
		}
		for len(m.list) > 0 {
			n := min(len(m.list), 1000)
			if err := c.SetAddElements(m.set, m.list[:n]); err != nil {
				return err
			}
			m.list = m.list[n:]
		}
	}

	chain := func(name string, hook nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeNAT, Hooknum: &hook, Priority: &priority})
	}
	add := func(ch *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: all})
	}
	const statusDNAT = 1 << 5 // IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h
	hairpin := []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte("qg"), make([]byte, 14)...)},
	}
	toGateway := append([]expr.Any{&expr.Immediate{Register: 1, Data: r.Gateway.SNATAddr().AsSlice()}}, floorNAT(expr.NATTypeSourceNAT)...)
	toFloating := append(append(floorAddr(12), floorMap(snat)...), floorNAT(expr.NATTypeSourceNAT)...)
	toInside := append(append(floorAddr(16), floorMap(dnat)...), floorNAT(expr.NATTypeDestNAT)...)
	add(chain("prerouting", *nftables.ChainHookPrerouting, -100), toInside)
	add(chain("output", *nftables.ChainHookOutput, -100), toInside)
	post := chain("postrouting", *nftables.ChainHookPostrouting, 100)
	for _, which := range [][]expr.Any{out, hairpin} {
		add(post, which, toFloating)
		add(post, which, toGateway)
	}
	if err := c.Flush(); err != nil {
		return err
	}
	return c.CloseLasting()
}
