package sqlstore_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
)

// TestFreeAddressesAsPlainGo claims and releases at random in a few addresses, of which some are at
// the ends of what there is.
func TestFreeAddressesAsPlainGo(t *testing.T) {
	bases := []netip.Addr{netip.MustParseAddr("10.0.0.250"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.244"),
		netip.MustParseAddr("2001:db8::fffa"), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff4")}
	l3test.Stores(t, func(t *testing.T, s l3.Store) {
		rapid.Check(t, func(t *rapid.T) {
			ctx := context.Background()
			subnet := uuid.NewString()
			all := []netip.Addr{rapid.SampledFrom(bases).Draw(t, "base")}
			for len(all) < 12 {
				all = append(all, all[len(all)-1].Next())
			}
			require.NoError(t, s.Update(ctx, func(tx l3.Tx) error {
				taken := map[netip.Addr]bool{}
				for range 20 {
					a := rapid.SampledFrom(all).Draw(t, "address")
					if taken[a] {
						require.ErrorIs(t, tx.Addresses().Claim(ctx, subnet, a, "port"), l3.ErrTaken)
						require.NoError(t, tx.Addresses().Release(ctx, subnet, a))
					} else {
						require.ErrorIs(t, tx.Addresses().Release(ctx, subnet, a), l3.ErrAbsent)
						require.NoError(t, tx.Addresses().Claim(ctx, subnet, a, "port"))
					}
					taken[a] = !taken[a]

					first := rapid.IntRange(0, len(all)-1).Draw(t, "first")
					last := rapid.IntRange(first, len(all)-1).Draw(t, "last")
					var want netip.Addr
					for i := last; i >= first; i-- {
						if !taken[all[i]] {
							want = all[i]
						}
					}
					got, err := tx.Addresses().FirstFree(ctx, subnet, []l3.AddressRange{{First: all[first], Last: all[last]}})
					require.NoError(t, err)
					require.Equal(t, want, got, "from %s to %s", all[first], all[last])
				}
				return nil
			}))
		})
	})
}
