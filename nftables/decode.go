package nftables

import (
	"encoding/binary"
	"errors"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// decodeRule returns nil if the rule holds an expression that none of ours does.
func decodeRule(wire []byte) []expr.Any {
	ad, err := netlink.NewAttributeDecoder(wire)
	if err != nil {
		return nil
	}
	exprs := []expr.Any{}
	for ad.Next() {
		e, err := decodeExpr(ad.Bytes())
		if err != nil {
			return nil
		}
		exprs = append(exprs, e)
	}
	if ad.Err() != nil {
		return nil
	}
	return exprs
}

// errNotOurs stands for an expression of a kind that the program does not use.
var errNotOurs = errors.New("expression is not of the program's")

func decodeExpr(wire []byte) (expr.Any, error) {
	ad, err := netlink.NewAttributeDecoder(wire)
	if err != nil {
		return nil, err
	}
	ad.ByteOrder = binary.BigEndian
	var name string
	var data []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			name = ad.String()
		case unix.NFTA_EXPR_DATA:
			data = ad.Bytes()
		}
	}
	if err := ad.Err(); err != nil {
		return nil, err
	}
	var e expr.Any
	switch name {
	case "bitwise":
		e = &expr.Bitwise{}
	case "cmp":
		e = &expr.Cmp{}
	case "counter":
		e = &expr.Counter{}
	case "ct":
		e = &expr.Ct{}
	case "exthdr":
		e = &expr.Exthdr{}
	case "immediate":
		value := &expr.Immediate{}
		if err := expr.Unmarshal(byte(ipv4), data, value); err != nil || value.Register != unix.NFT_REG_VERDICT {
			return nil, errors.Join(errNotOurs, err) // ours are verdicts only
		}
		e = &expr.Verdict{}
	case "limit":
		e = &expr.Limit{}
	case "lookup":
		e = &expr.Lookup{}
	case "meta":
		e = &expr.Meta{}
	case "nat":
		e = &expr.NAT{}
	case "payload":
		e = &expr.Payload{}
	case "reject":
		e = &expr.Reject{}
	default:
		return nil, errNotOurs
	}
	return e, expr.Unmarshal(byte(ipv4), data, e)
}

// zeroed is what a set gives to its elements in the form in which we write it, if it is a counter
// or a limit: attributes may be padded differently.
func zeroed(wire []byte) string {
	if e, err := decodeExpr(wire); err == nil {
		switch e := e.(type) {
		case *expr.Counter:
			return startingCounter()
		case *expr.Limit:
			return encode(e)
		}
	}
	return string(wire)
}
