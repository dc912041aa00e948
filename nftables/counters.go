package nftables

import (
	"context"
	"errors"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
)

// Counters implements [namespace.Rules]. The kernel keeps the counters beside the elements of two
// sets. Without rules there are none.
func (r *rules) Counters(ctx context.Context) (map[netip.Addr]dataplane.Counters, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in, err := r.socket.readTraffic(ctx, fipIn)
	if err != nil {
		return nil, err
	}
	out, err := r.socket.readTraffic(ctx, fipOut)
	if err != nil {
		return nil, err
	}
	counters := make(map[netip.Addr]dataplane.Counters, len(in))
	for addr, t := range in {
		counters[addr] = dataplane.Counters{In: t, Out: out[addr]}
	}
	return counters, nil
}

// readTraffic reads a counting set of addresses.
func (s *socket) readTraffic(ctx context.Context, set string) (map[netip.Addr]dataplane.Traffic, error) {
	elements, err := s.readElements(ctx, ipv4, set)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, failure.Of("read counters", tableText+" "+set, err)
	}
	traffic := make(map[netip.Addr]dataplane.Traffic, len(elements))
	for key, e := range elements {
		addr, ok := netip.AddrFromSlice([]byte(key))
		if !ok {
			continue
		}
		if traffic[addr], err = decodeCounter(e.wire); err != nil {
			return nil, failure.Of("read counters", tableText+" "+set+" "+addr.String(), err)
		}
	}
	return traffic, nil
}

// decodeCounter returns the counter of an element; one without, which somebody else may have made,
// counts nothing.
func decodeCounter(wire []byte) (t dataplane.Traffic, err error) {
	ad, err := netlink.NewAttributeDecoder(wire)
	if err != nil {
		return t, err
	}
	for ad.Next() {
		if ad.Type() != unix.NFTA_SET_ELEM_EXPR {
			continue
		}
		e, err := decodeExpr(ad.Bytes())
		if err != nil {
			return t, err
		}
		if c, ok := e.(*expr.Counter); ok {
			t = dataplane.Traffic{Packets: c.Packets, Bytes: c.Bytes}
		}
	}
	return t, ad.Err()
}
