package nftables

import (
	"bytes"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// writable is what the kernel told of a rule's expressions, in a form that it takes back: of one
// that writes a TCP option it tells flags, and refuses any (nft_exthdr_dump_set,
// nft_exthdr_tcp_set_init).
func writable(wire []byte) ([]byte, error) {
	if !bytes.Contains(wire, []byte("exthdr\x00")) {
		return wire, nil
	}
	return filterAttributes(wire, func(_ uint16, expression []byte) ([]byte, bool, error) {
		attributes, err := splitAttributes(expression)
		if err != nil || string(attributes[unix.NFTA_EXPR_NAME]) != "exthdr\x00" {
			return expression, true, err
		}
		data, err := splitAttributes(attributes[unix.NFTA_EXPR_DATA])
		if _, writes := data[unix.NFTA_EXTHDR_SREG]; err != nil || !writes {
			return expression, true, err
		}
		expression, err = filterAttributes(expression, func(typ uint16, value []byte) ([]byte, bool, error) {
			if typ != unix.NFTA_EXPR_DATA {
				return value, true, nil
			}
			value, err := filterAttributes(value, func(typ uint16, value []byte) ([]byte, bool, error) {
				return value, typ != unix.NFTA_EXTHDR_FLAGS, nil
			})
			return value, true, err
		})
		return expression, true, err
	})
}

// filterAttributes writes attributes as edit makes them, without those that it does not keep.
func filterAttributes(wire []byte, edit func(typ uint16, value []byte) (edited []byte, keep bool, err error)) ([]byte, error) {
	ad, err := netlink.NewAttributeDecoder(wire)
	if err != nil {
		return nil, err
	}
	ae := netlink.NewAttributeEncoder()
	for ad.Next() {
		value, keep, err := edit(ad.Type(), ad.Bytes())
		if err != nil {
			return nil, err
		}
		if keep {
			ae.Bytes(ad.Type()|ad.TypeFlags(), value)
		}
	}
	if err := ad.Err(); err != nil {
		return nil, err
	}
	return ae.Encode()
}

func splitAttributes(wire []byte) (map[uint16][]byte, error) {
	ad, err := netlink.NewAttributeDecoder(wire)
	if err != nil {
		return nil, err
	}
	all := map[uint16][]byte{}
	for ad.Next() {
		all[ad.Type()] = ad.Bytes()
	}
	return all, ad.Err()
}
