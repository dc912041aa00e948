package main

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// floorTable writes the same table as the backend, with as many chains, rules, sets and elements,
// in one transaction: the floor is the least work for the same table, not for the same translation.
func floorTable(fd int, r dataplane.Router) error {
	c, err := nftables.New(nftables.WithNetNSFd(fd), nftables.AsLasting(), nftables.WithSockOptions(bigBuffers))
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Name: "floor", Family: nftables.TableFamilyIPv4})
	dnat := floorSet(t, "dnat", nftables.TypeIPAddr, true)
	snat := floorSet(t, "snat", nftables.TypeIPAddr, true)
	in := floorSet(t, "in", nftables.TypeIPAddr, false)
	out := floorSet(t, "out", nftables.TypeIPAddr, false)
	external := floorSet(t, "external", nftables.TypeIFName, false)
	guarded := floorSet(t, "guarded", nftables.TypeIFName, false)
	shared := floorSet(t, "shared", nftables.TypeIFName, true)
	hairpin := floorSet(t, "hairpin", nftables.TypeIFName, true)
	in.Counter, out.Counter = true, true

	var toFixed, toFIP, addrs []nftables.SetElement
	for _, f := range r.FloatingIPs {
		addr, fixed := f.Addr.AsSlice(), f.Fixed.AsSlice()
		toFixed = append(toFixed, nftables.SetElement{Key: addr, Val: fixed})
		toFIP = append(toFIP, nftables.SetElement{Key: fixed, Val: addr})
		addrs = append(addrs, nftables.SetElement{Key: addr})
	}
	device := func(name string, val []byte) nftables.SetElement {
		return nftables.SetElement{Key: append([]byte(name), make([]byte, 16-len(name))...), Val: val}
	}
	gw := r.Gateway.SNATAddr().AsSlice()
	elements := []struct {
		set  *nftables.Set
		list []nftables.SetElement
	}{
		{dnat, toFixed}, {snat, toFIP}, {in, addrs}, {out, addrs},
		{external, []nftables.SetElement{device("qg", nil)}}, {guarded, []nftables.SetElement{device("qg", nil)}},
		{shared, []nftables.SetElement{device("qg", gw)}},
		{hairpin, []nftables.SetElement{device("qr-0", gw), device("qr-1", gw)}},
	}
	for _, e := range elements {
		if err := c.AddSet(e.set, nil); err != nil {
			return err
		}
		for len(e.list) > 0 {
			n := min(len(e.list), 1000)
			if err := c.SetAddElements(e.set, e.list[:n]); err != nil {
				return err
			}
			e.list = e.list[n:]
		}
	}

	daddr, saddr := floorAddr(16), floorAddr(12)
	oif := []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}}
	chain := func(name string, kind nftables.ChainType, hook nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: &hook, Priority: &priority})
	}
	add := func(ch *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: all})
	}
	add(chain("count_in", nftables.ChainTypeFilter, *nftables.ChainHookPrerouting, -300), daddr, floorIn(in))
	add(chain("prerouting", nftables.ChainTypeNAT, *nftables.ChainHookPrerouting, -100), daddr, floorMap(dnat), floorNAT(expr.NATTypeDestNAT))
	add(chain("output", nftables.ChainTypeNAT, *nftables.ChainHookOutput, -100), daddr, floorMap(dnat), floorNAT(expr.NATTypeDestNAT))
	forward := chain("forward", nftables.ChainTypeFilter, *nftables.ChainHookForward, 0)
	state := []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
	add(forward, state, []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}})
	for range 4 {
		add(forward, oif, floorIn(guarded), state, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	}
	post := chain("postrouting", nftables.ChainTypeNAT, *nftables.ChainHookPostrouting, 100)
	add(post, oif, floorIn(external), saddr, floorMap(snat), floorNAT(expr.NATTypeSourceNAT))
	add(post, oif, floorMap(shared), floorNAT(expr.NATTypeSourceNAT))
	add(post, saddr, floorMap(snat), floorNAT(expr.NATTypeSourceNAT))
	add(post, oif, floorMap(hairpin), floorNAT(expr.NATTypeSourceNAT))
	add(chain("count_out", nftables.ChainTypeFilter, *nftables.ChainHookPostrouting, 300), saddr, floorIn(out))
	if err := c.Flush(); err != nil {
		return err
	}
	return c.CloseLasting()
}

func bigBuffers(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)
		if set == nil {
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}
	})
	if err != nil {
		return err
	}
	return set
}

func floorSet(t *nftables.Table, name string, key nftables.SetDatatype, isMap bool) *nftables.Set {
	s := &nftables.Set{Table: t, Name: name, KeyType: key}
	if isMap {
		s.IsMap, s.DataType = true, nftables.TypeIPAddr
	}
	return s
}

func floorAddr(offset uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}}
}

func floorIn(s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}}
}

func floorMap(s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: s.Name, SetID: s.ID}}
}

func floorNAT(kind expr.NATType) []expr.Any {
	return []expr.Any{&expr.NAT{Type: kind, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}}
}
