package service

import (
	"fmt"
	"math/big"
	"net/netip"

	"go4.org/netipx"

	"github.com/l3kit/l3kit/l3"
)

// ipSet is the addresses of some prefixes, without those of others.
func ipSet(prefixes, without []netip.Prefix) (*netipx.IPSet, error) {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(p)
	}
	for _, p := range without {
		b.RemovePrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		return nil, fmt.Errorf("add prefixes %v, remove prefixes %v: %w", prefixes, without, err)
	}
	return set, nil
}

// covers reports whether all addresses of some prefixes are among those of others.
func covers(all, some []netip.Prefix) (bool, error) {
	rest, err := ipSet(some, all)
	return err == nil && len(rest.Ranges()) == 0, err
}

// meet reports whether two lists of prefixes have an address in common.
func meet(a, b []netip.Prefix) (bool, error) {
	one, err := ipSet(a, nil)
	if err != nil {
		return false, err
	}
	other, err := ipSet(b, nil)
	return err == nil && one.Overlaps(other), err
}

// unusable is what no subnet can have; see checkCIDR.
var unusable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("::ffff:0:0/96"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// addressCount is how many addresses a prefix of a length has.
func addressCount(ipVersion, length int) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(bits(ipVersion)-length))
}

// bits is the length of an address.
func bits(ipVersion int) int {
	if ipVersion == 4 {
		return 32
	}
	return 128
}

// quotaCount is how many addresses a pool's quota allows: it counts IPv4 addresses, and IPv6
// prefixes of length 64.
func quotaCount(pool l3.SubnetPool) *big.Int {
	n := big.NewInt(int64(*pool.DefaultQuota))
	if pool.IPVersion == 6 {
		n.Lsh(n, 64)
	}
	return n
}

func cidrs(subnets []l3.Subnet) []netip.Prefix {
	list := make([]netip.Prefix, len(subnets))
	for i := range subnets {
		list[i] = subnets[i].CIDR
	}
	return list
}
