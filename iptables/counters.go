package iptables

import (
	"context"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// Counters adds up what rules have counted. In is what the mangle table's rule for the floating IP
// has; it sees every packet before conntrack changes its destination. Out takes two rules, because
// nothing sees packets after their source was changed: the nat table's sees the first packet of a
// connection from the fixed address, and no other; the mangle table's sees those that belong to a
// connection which is translated already.
//
// A router without rules has none.
func (r *rules) Counters(ctx context.Context) (map[netip.Addr]dataplane.Counters, error) {
	s, err := r.own(ctx)
	if err != nil {
		return nil, err
	}
	have, _, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	return have.counters(), nil
}

func (rs ruleset) counters() map[netip.Addr]dataplane.Counters {
	counters := map[netip.Addr]dataplane.Counters{}
	for _, name := range []string{mangle, nat} {
		if rs[name] == nil {
			continue
		}
		for chain, list := range rs[name].chains {
			for _, r := range list {
				e, ok := parseEntry(chain, r)
				if !ok || !e.floating.IsValid() {
					continue
				}
				c := counters[e.floating]
				switch {
				case e.root == bySrc:
					c.Out.Packets += r.traffic.Packets
					c.Out.Bytes += r.traffic.Bytes
				case name == mangle:
					c.In = r.traffic
				}
				counters[e.floating] = c
			}
		}
	}
	return counters
}
