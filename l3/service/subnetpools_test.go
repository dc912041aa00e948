package service_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
)

func blocks(texts ...string) []netip.Prefix {
	list := []netip.Prefix{}
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// poolOf is the spec of a pool of some prefixes.
func poolOf(prefixes ...string) l3.SubnetPoolSpec {
	return l3.SubnetPoolSpec{Name: new("pool"), Prefixes: new(blocks(prefixes...))}
}

func (r *rig) pool(who l3.Caller, spec l3.SubnetPoolSpec) l3.SubnetPool {
	r.Helper()
	return one(r.CreateSubnetPools(r.Context(), who, spec))(r)
}

func (r *rig) tryPool(who l3.Caller, spec l3.SubnetPoolSpec) error {
	_, err := r.CreateSubnetPools(r.Context(), who, spec)
	return err
}

func (r *rig) setPool(who l3.Caller, p l3.SubnetPool, spec l3.SubnetPoolSpec) (l3.SubnetPool, error) {
	return r.UpdateSubnetPool(r.Context(), who, p.ID, spec, l3.If{})
}

// allocate makes a subnet of a pool on a network.
func (r *rig) allocate(who l3.Caller, n l3.Network, p l3.SubnetPool, spec l3.SubnetSpec) (l3.Subnet, error) {
	spec.NetworkID, spec.SubnetPoolID = &n.ID, &p.ID
	made, err := r.CreateSubnets(r.Context(), who, spec)
	if err != nil {
		return l3.Subnet{}, err
	}
	return made[0], nil
}

func TestSubnetPool(t *testing.T) {
	onRigs(t, func(r *rig) {
		spec := poolOf("10.128.0.0/9", "192.168.0.0/16", "10.0.0.0/9", "10.5.0.0/16")
		p := r.pool(r.member, spec)
		require.Equal(r, blocks("10.0.0.0/8", "192.168.0.0/16"), p.Prefixes)
		require.Equal(r, []int{4, 8, 32, 8}, []int{p.IPVersion, p.MinPrefixLen, p.MaxPrefixLen, p.DefaultPrefixLen})
		require.Nil(r, p.DefaultQuota)
		six := r.pool(r.member, poolOf("2001:db8::/48"))
		require.Equal(r, []int{6, 64, 128, 64}, []int{six.IPVersion, six.MinPrefixLen, six.MaxPrefixLen, six.DefaultPrefixLen})
		require.Equal(r, p, ok(r.GetSubnetPool(r.Context(), r.member, p.ID))(r))

		for want, change := range map[string]func(*l3.SubnetPoolSpec){
			"EmptySubnetPoolPrefixList":      func(s *l3.SubnetPoolSpec) { s.Prefixes = nil },
			"PrefixVersionMismatch":          func(s *l3.SubnetPoolSpec) { s.Prefixes = new(blocks("10.0.0.0/8", "2001:db8::/32")) },
			"IllegalSubnetPoolPrefixUpdate":  func(s *l3.SubnetPoolSpec) { s.Prefixes = new(many(1001)) },
			"IllegalSubnetPoolPrefixBounds":  func(s *l3.SubnetPoolSpec) { s.MinPrefixLen, s.MaxPrefixLen = new(25), new(24) },
			"IllegalSubnetPoolPrefixBounds ": func(s *l3.SubnetPoolSpec) { s.MaxPrefixLen = new(33) },
			"IllegalSubnetPoolPrefixBounds1": func(s *l3.SubnetPoolSpec) { s.MinPrefixLen, s.DefaultPrefixLen = new(16), new(8) },
			"IllegalSubnetPoolPrefixBounds2": func(s *l3.SubnetPoolSpec) { s.MaxPrefixLen, s.DefaultPrefixLen = new(26), new(28) },
			"UnsupportedMinSubnetPoolPrefix": func(s *l3.SubnetPoolSpec) { s.MinPrefixLen = new(-1) },
			"InvalidInput":                   func(s *l3.SubnetPoolSpec) { s.Name = new("") },
			"InvalidInput ":                  func(s *l3.SubnetPoolSpec) { s.DefaultQuota = new(-1) },
			"InvalidInput1":                  func(s *l3.SubnetPoolSpec) { s.Prefixes = new([]netip.Prefix{{}}) },
			"InvalidInput2":                  func(s *l3.SubnetPoolSpec) { s.Prefixes = new(blocks("::ffff:10.0.0.0/104")) },
			"InvalidInput3":                  func(s *l3.SubnetPoolSpec) { s.Description = new("\x00") },
		} {
			spec := poolOf("10.0.0.0/8")
			change(&spec)
			r.refused(r.tryPool(r.member, spec), l3.ErrInvalid, trimmed(want))
		}
		require.NoError(r, r.tryPool(r.member, l3.SubnetPoolSpec{Name: new("many"), Prefixes: new(many(1000))}))
		forbidden(r.T, r.tryPool(r.member, l3.SubnetPoolSpec{Name: new("d"), Prefixes: spec.Prefixes, IsDefault: new(true)}))
		forbidden(r.T, r.tryPool(r.member, l3.SubnetPoolSpec{Name: new("d"), Prefixes: spec.Prefixes, Shared: new(true)}))

		first := r.pool(r.admin, l3.SubnetPoolSpec{Name: new("d"), Prefixes: spec.Prefixes, IsDefault: new(true)})
		second := l3.SubnetPoolSpec{Name: new("d"), Prefixes: spec.Prefixes, IsDefault: new(true)}
		r.refused(r.tryPool(r.admin, second), l3.ErrInvalid, "InvalidInput")
		_, err := r.setPool(r.admin, p, l3.SubnetPoolSpec{IsDefault: new(true)})
		r.refused(err, l3.ErrInvalid, "InvalidInput")
		ok(r.setPool(r.admin, first, l3.SubnetPoolSpec{IsDefault: new(true)}))(r)
		ok(r.setPool(r.admin, six, l3.SubnetPoolSpec{IsDefault: new(true)}))(r)
		ok(r.setPool(r.admin, first, l3.SubnetPoolSpec{IsDefault: new(false)}))(r)
		ok(r.setPool(r.admin, p, l3.SubnetPoolSpec{IsDefault: new(true)}))(r)
		_, err = r.setPool(r.member, p, l3.SubnetPoolSpec{IsDefault: new(false)})
		forbidden(r.T, err)

		for want, spec := range map[string]l3.SubnetPoolSpec{
			"IllegalSubnetPoolPrefixUpdate":  {Prefixes: new(blocks("10.0.0.0/8"))},
			"IllegalSubnetPoolPrefixUpdate ": {Prefixes: new(blocks())},
			"PrefixVersionMismatch":          {Prefixes: new(blocks("10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32"))},
			"IllegalSubnetPoolPrefixBounds":  {MinPrefixLen: new(9)},
			"HTTPBadRequest":                 {Shared: new(true)},
			"HTTPBadRequest ":                {ProjectID: new("p2")},
			"InvalidInput":                   {Name: new("")},
		} {
			_, err := r.setPool(r.member, p, spec)
			r.refused(err, l3.ErrInvalid, trimmed(want))
		}
		changed := ok(r.setPool(r.member, p, l3.SubnetPoolSpec{
			Name: new("other"), Description: new("d"), Prefixes: new(blocks("10.0.0.0/8", "192.168.0.0/15")), MinPrefixLen: new(16), MaxPrefixLen: new(28),
			DefaultPrefixLen: new(24), DefaultQuota: new(1024),
		}))(r)
		p = ok(r.GetSubnetPool(r.Context(), r.member, p.ID))(r)
		require.Equal(r, changed, p)
		require.Equal(r, []int{16, 28, 24, 1024}, []int{p.MinPrefixLen, p.MaxPrefixLen, p.DefaultPrefixLen, *p.DefaultQuota})
		require.Equal(r, blocks("10.0.0.0/8", "192.168.0.0/15"), p.Prefixes)
		again := ok(r.setPool(r.member, p, l3.SubnetPoolSpec{DefaultQuota: new(1024)}))(r)
		require.Equal(r, p.Revision, again.Revision, "nothing has changed")
		_, err = r.UpdateSubnetPool(r.Context(), r.member, p.ID, l3.SubnetPoolSpec{}, l3.If{Revision: new(1)})
		r.refused(err, l3.ErrRevision, "RevisionNumberConstraintFailed")
	})
}

// trimmed is the name of a refusal, of which a map has several.
func trimmed(name string) string {
	for len(name) > 0 && (name[len(name)-1] == ' ' || name[len(name)-1] >= '0' && name[len(name)-1] <= '9') {
		name = name[:len(name)-1]
	}
	return name
}

// many are prefixes that cannot be merged.
func many(n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1), 0}), 24)
	}
	return list
}

func TestSubnetOfPool(t *testing.T) {
	onRigs(t, func(r *rig) {
		spec := poolOf("10.5.0.0/24")
		spec.DefaultPrefixLen, spec.MaxPrefixLen = new(26), new(30)
		p, n := r.pool(r.member, spec), r.network(r.member)
		got := func(spec l3.SubnetSpec) string {
			r.Helper()
			s := ok(r.allocate(r.member, n, p, spec))(r)
			require.Equal(r, p.ID, s.SubnetPoolID)
			return s.CIDR.String()
		}
		require.Equal(r, "10.5.0.0/26", got(l3.SubnetSpec{}))
		require.Equal(r, "10.5.0.64/27", got(l3.SubnetSpec{PrefixLen: new(27)}))
		require.Equal(r, "10.5.0.128/26", got(l3.SubnetSpec{CIDR: new(netip.MustParsePrefix("10.5.0.128/26"))}))
		require.Equal(r, "10.5.0.96/28", got(l3.SubnetSpec{PrefixLen: new(28)}), "from the smallest block that holds it")
		require.Equal(r, "10.5.0.240/28", got(l3.SubnetSpec{PrefixLen: new(28), GatewayIP: new(netip.MustParseAddr("10.5.0.242"))}))
		require.Equal(r, "10.5.0.112/28", got(l3.SubnetSpec{PrefixLen: new(28), GatewayIP: &netip.Addr{}}))
		subnets := ok(r.ListSubnets(r.Context(), r.member, l3.Query{Filters: []l3.Filter{{Field: "subnetpool_id", Values: []any{p.ID}}}}))(r)
		require.Len(r, subnets, 6)
		for _, s := range subnets {
			switch s.CIDR.String() {
			case "10.5.0.240/28":
				require.Equal(r, "10.5.0.242", s.GatewayIP.String())
			case "10.5.0.112/28":
				require.False(r, s.GatewayIP.IsValid())
			default:
				require.Equal(r, s.CIDR.Addr().Next(), s.GatewayIP)
			}
		}
		used := netip.MustParsePrefix("10.5.0.128/28")
		pools := []l3.AddressRange{{First: netip.MustParseAddr("10.5.0.2"), Last: netip.MustParseAddr("10.5.0.3")}}
		other := r.pool(r.member, poolOf("172.16.0.0/16"))
		for want, spec := range map[string]l3.SubnetSpec{
			"SubnetAllocationError":           {},
			"SubnetAllocationError ":          {CIDR: &used},
			"SubnetAllocationError1":          {CIDR: new(netip.MustParsePrefix("10.6.0.0/28"))},
			"SubnetAllocationError2":          {GatewayIP: new(netip.MustParseAddr("172.16.0.1"))},
			"MinPrefixSubnetAllocationError":  {PrefixLen: new(7)},
			"MaxPrefixSubnetAllocationError":  {PrefixLen: new(31)},
			"MaxPrefixSubnetAllocationError ": {CIDR: new(netip.MustParsePrefix("10.5.0.224/31"))},
			"BadRequest":                      {IPVersion: new(6)},
			"BadRequest ":                     {CIDR: &used, PrefixLen: new(28)},
			"BadRequest1":                     {AllocationPools: &pools},
			"BadRequest2":                     {UseDefaultSubnetPool: new(true)},
			"BadRequest3":                     {CIDR: new(netip.MustParsePrefix("2001:db8::/64"))},
			"InvalidInput":                    {CIDR: new(netip.MustParsePrefix("10.5.0.1/28"))},
		} {
			kind := l3.ErrInvalid
			if trimmed(want) == "SubnetAllocationError" {
				kind = l3.ErrConflict
			}
			_, err := r.allocate(r.member, n, p, spec)
			r.refused(err, kind, trimmed(want))
		}
		_, err := r.allocate(r.member, n, other, l3.SubnetSpec{PrefixLen: new(24)})
		r.refused(err, l3.ErrInvalid, "NetworkSubnetPoolAffinityError")
		_, err = r.CreateSubnets(r.Context(), r.member, l3.SubnetSpec{NetworkID: &n.ID, CIDR: new(netip.MustParsePrefix("10.99.0.0/24"))})
		r.refused(err, l3.ErrInvalid, "NetworkSubnetPoolAffinityError")
		r.subnet(r.member, n, "2001:db8::/64") // of the other family
		plain := r.inside("10.77.0.0/24")
		_, err = r.allocate(r.member, l3.Network{Meta: l3.Meta{ID: plain.NetworkID}}, other, l3.SubnetSpec{PrefixLen: new(24)})
		r.refused(err, l3.ErrInvalid, "NetworkSubnetPoolAffinityError")
		_, err = r.CreateSubnets(r.Context(), r.member, l3.SubnetSpec{NetworkID: &n.ID, IPVersion: new(4)})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		_, err = r.UpdateSubnet(r.Context(), r.member, plain.ID, l3.SubnetSpec{SubnetPoolID: &other.ID}, l3.If{})
		r.refused(err, l3.ErrInvalid, "HTTPBadRequest")
		mine := r.network(r.other)
		_, err = r.allocate(r.other, mine, p, l3.SubnetSpec{})
		r.refused(err, l3.ErrNotFound, "SubnetPoolNotFound")

		r.refused(r.DeleteSubnetPool(r.Context(), r.member, p.ID, l3.If{}), l3.ErrInvalid, "SubnetPoolDeleteError")
		for _, s := range subnets {
			require.NoError(r, r.DeleteSubnet(r.Context(), r.member, s.ID, l3.If{}))
		}
		require.Equal(r, "10.5.0.0/24", got(l3.SubnetSpec{PrefixLen: new(24)}), "what was freed can be had again")
		require.NoError(r, r.DeleteNetwork(r.Context(), r.member, n.ID, l3.If{}))
		require.NoError(r, r.DeleteSubnetPool(r.Context(), r.member, p.ID, l3.If{}))
	})
}

// TestSubnetOfDefaultPool: the default pool of a family is used by those who see it.
func TestSubnetOfDefaultPool(t *testing.T) {
	onRigs(t, func(r *rig) {
		n := r.network(r.member)
		try := func(spec l3.SubnetSpec) (l3.Subnet, error) {
			spec.NetworkID, spec.UseDefaultSubnetPool = &n.ID, new(true)
			made, err := r.CreateSubnets(r.Context(), r.member, spec)
			return append(made, l3.Subnet{})[0], err
		}
		spec := poolOf("172.16.0.0/12")
		spec.IsDefault, spec.DefaultPrefixLen = new(true), new(24)
		hidden := r.pool(r.admin, spec)
		for _, version := range []int{4, 6} {
			_, err := try(l3.SubnetSpec{IPVersion: &version})
			r.refused(err, l3.ErrInvalid, "BadRequest")
			require.ErrorContains(r, err, fmt.Sprintf("No default subnetpool found for IPv%d", version))
		}
		_, err := try(l3.SubnetSpec{})
		require.ErrorContains(r, err, "ip_version must be specified")
		ok(r.setPool(r.admin, hidden, l3.SubnetPoolSpec{IsDefault: new(false)}))(r)
		spec.Shared = new(true)
		p := r.pool(r.admin, spec)
		s := ok(try(l3.SubnetSpec{IPVersion: new(4)}))(r)
		require.Equal(r, "172.16.0.0/24", s.CIDR.String())
		require.Equal(r, p.ID, s.SubnetPoolID)
		require.Equal(r, "172.20.0.0/26", ok(try(l3.SubnetSpec{CIDR: new(netip.MustParsePrefix("172.20.0.0/26"))}))(r).CIDR.String())

		whole := poolOf("::/0")
		whole.IsDefault, whole.Shared, whole.MinPrefixLen = new(true), new(true), new(0)
		r.pool(r.admin, whole)
		require.Equal(r, "0:0:0:1::/64", ok(try(l3.SubnetSpec{IPVersion: new(6), PrefixLen: new(64)}))(r).CIDR.String(), "not what no subnet can have")
	})
}

// TestSubnetPoolQuota: each project has its own, in IPv4 addresses or IPv6 prefixes of length 64.
func TestSubnetPoolQuota(t *testing.T) {
	onRigs(t, func(r *rig) {
		over := func(err error) { r.Helper(); r.refused(err, l3.ErrOverQuota, "SubnetPoolQuotaExceeded") }
		spec := poolOf("10.0.0.0/8")
		spec.DefaultQuota, spec.Shared = new(192), new(true)
		p := r.pool(r.admin, spec)
		mine, theirs := r.network(r.member), r.network(r.other)
		ok(r.allocate(r.member, mine, p, l3.SubnetSpec{PrefixLen: new(25)}))(r)
		_, err := r.allocate(r.member, mine, p, l3.SubnetSpec{PrefixLen: new(25)})
		over(err)
		_, err = r.allocate(r.member, mine, p, l3.SubnetSpec{CIDR: new(netip.MustParsePrefix("10.9.0.0/25"))})
		over(err)
		last := ok(r.allocate(r.member, mine, p, l3.SubnetSpec{PrefixLen: new(26)}))(r)
		_, err = r.allocate(r.member, mine, p, l3.SubnetSpec{PrefixLen: new(32), EnableDHCP: new(false)})
		over(err)
		ok(r.allocate(r.other, theirs, p, l3.SubnetSpec{PrefixLen: new(25)}))(r)
		require.NoError(r, r.DeleteSubnet(r.Context(), r.member, last.ID, l3.If{}))
		ok(r.allocate(r.member, mine, p, l3.SubnetSpec{PrefixLen: new(26)}))(r)
		ok(r.setPool(r.admin, p, l3.SubnetPoolSpec{DefaultQuota: new(0)}))(r)
		ok(r.allocate(r.member, mine, p, l3.SubnetSpec{PrefixLen: new(16)}))(r)

		spec = poolOf("2001:db8::/32")
		spec.DefaultQuota, spec.MinPrefixLen, spec.DefaultPrefixLen = new(2), new(48), new(64)
		six := r.pool(r.member, spec)
		_, err = r.allocate(r.member, mine, six, l3.SubnetSpec{PrefixLen: new(62)})
		over(err)
		ok(r.allocate(r.member, mine, six, l3.SubnetSpec{}))(r)
		ok(r.allocate(r.member, mine, six, l3.SubnetSpec{PrefixLen: new(65)}))(r)
		ok(r.allocate(r.member, mine, six, l3.SubnetSpec{PrefixLen: new(66)}))(r)
		_, err = r.allocate(r.member, mine, six, l3.SubnetSpec{PrefixLen: new(65)})
		over(err)
		ok(r.allocate(r.member, mine, six, l3.SubnetSpec{PrefixLen: new(66)}))(r)
	})
}

// TestPoolAllocation: whatever is allocated and freed, in whatever order, a pool hands out what is
// within it and what nobody has, and refuses only what it has no room for.
func TestPoolAllocation(t *testing.T) {
	store := l3test.Open(t, l3test.SQLiteURL(t))
	r := newRig(t, store)
	ok(r.SetQuota(r.Context(), r.admin, "p1", map[string]int{"subnet": -1, "network": -1}))(r)
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/27", "10.0.0.224/28", "10.0.0.250/31"}),
			1, 5, rapid.ID).Draw(t, "prefixes")
		spec := poolOf(texts...)
		p := r.pool(r.member, spec)
		n := r.network(r.member)
		var space, taken [256]bool
		each := func(c netip.Prefix, do func(i int)) {
			for i := range 1 << (32 - c.Bits()) {
				do(int(c.Addr().As4()[3]) + i)
			}
		}
		for _, c := range *spec.Prefixes {
			each(c, func(i int) { space[i] = true })
		}
		fits := func(c netip.Prefix) bool {
			free := true
			each(c, func(i int) { free = free && space[i] && !taken[i] })
			return free
		}
		block := func(at, length int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(at)}), length).Masked()
		}
		var have []l3.Subnet
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			length := rapid.IntRange(26, 31).Draw(t, "length")
			at := rapid.IntRange(0, 255).Draw(t, "at")
			spec := l3.SubnetSpec{PrefixLen: &length, EnableDHCP: new(false)}
			room := false
			for i := 0; i < 256; i += 1 << (32 - length) {
				room = room || fits(block(i, length))
			}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				if len(have) > 0 {
					gone := have[at%len(have)]
					require.NoError(t, r.DeleteSubnet(r.Context(), r.member, gone.ID, l3.If{}))
					each(gone.CIDR, func(i int) { taken[i] = false })
					have = slices.DeleteFunc(have, func(s l3.Subnet) bool { return s.ID == gone.ID })
				}
				continue
			case 1:
				spec.PrefixLen, spec.CIDR = nil, new(block(at, length))
				room = fits(*spec.CIDR)
			}
			s, err := r.allocate(r.member, n, p, spec)
			if !room {
				refused(r.T, err, l3.ErrConflict, "SubnetAllocationError")
				continue
			}
			require.NoError(t, err)
			require.True(t, fits(s.CIDR), "%s", s.CIDR)
			require.Equal(t, length, s.CIDR.Bits())
			each(s.CIDR, func(i int) { taken[i] = true })
			have = append(have, s)
		}
	})
}

func TestRaceForASubnetPool(t *testing.T) {
	onRigs(t, func(r *rig) {
		const room = clients - 4
		spec := poolOf("10.0.0.0/24", "10.0.4.0/25")
		spec.DefaultPrefixLen = new(29) // 48 of them
		spec.DefaultQuota = new(8 * room)
		p := r.pool(r.member, spec)
		networks := make([]l3.Network, clients)
		for i := range networks {
			networks[i] = r.network(r.member)
		}
		got := r.atOnce(func(i int) error { _, err := r.allocate(r.member, networks[i], p, l3.SubnetSpec{}); return err })
		require.Equal(r, map[string]int{"": room, "SubnetPoolQuotaExceeded": clients - room}, got)

		same := netip.MustParsePrefix("10.0.0.0/25")
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{DefaultQuota: new(0)}))(r)
		got = r.atOnce(func(i int) error {
			_, err := r.allocate(r.member, networks[i], p, l3.SubnetSpec{CIDR: &same})
			return err
		})
		require.Equal(r, map[string]int{"": 1, "SubnetAllocationError": clients - 1}, got)

		first := poolOf("10.0.0.0/8")
		first.IsDefault = new(true)
		got = r.atOnce(func(int) error { return r.tryPool(r.admin, first) })
		require.Equal(r, map[string]int{"": 1, "InvalidInput": clients - 1}, got)
	})
}

func TestPrefixesOfSubnetPool(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		p, n := r.pool(r.member, poolOf("10.5.0.0/24")), r.network(r.member)
		ok(r.allocate(r.member, n, p, l3.SubnetSpec{CIDR: new(netip.MustParsePrefix("10.5.0.0/26"))}))(r)
		add := func(want []netip.Prefix, prefixes ...string) {
			r.Helper()
			require.Equal(r, want, ok(r.AddPrefixes(ctx, r.member, p.ID, blocks(prefixes...)))(r))
			require.Equal(r, want, ok(r.GetSubnetPool(ctx, r.member, p.ID))(r).Prefixes)
		}
		remove := func(want []netip.Prefix, prefixes ...string) {
			r.Helper()
			require.Equal(r, want, ok(r.RemovePrefixes(ctx, r.member, p.ID, blocks(prefixes...)))(r))
			require.Equal(r, want, ok(r.GetSubnetPool(ctx, r.member, p.ID))(r).Prefixes)
		}
		add(blocks("10.5.0.0/23", "10.5.4.0/24"), "10.5.1.0/24", "10.5.4.0/24")
		add(blocks("10.5.0.0/23", "10.5.4.0/24"), "10.5.4.0/25")
		_, err := r.AddPrefixes(ctx, r.member, p.ID, blocks("2001:db8::/64"))
		r.refused(err, l3.ErrInvalid, "PrefixVersionMismatch")
		remove(blocks("10.5.0.0/23", "10.5.4.128/25"), "10.5.4.0/25", "99.0.0.0/8")
		remove(blocks("10.5.0.0/23", "10.5.4.128/25"), "99.0.0.0/8")
		_, err = r.RemovePrefixes(ctx, r.member, p.ID, blocks("10.5.4.128/25", "10.5.0.32/27"))
		r.refused(err, l3.ErrInvalid, "IllegalSubnetPoolPrefixUpdate")
		remove(blocks("10.5.0.0/26"), "10.5.4.0/24", "10.5.0.64/26", "10.5.0.128/25", "10.5.1.0/24")
		_, err = r.RemovePrefixes(ctx, r.other, p.ID, blocks("10.5.4.0/24"))
		r.refused(err, l3.ErrNotFound, "SubnetPoolNotFound")
		_, err = r.RemovePrefixes(ctx, r.member, p.ID, nil)
		r.refused(err, l3.ErrInvalid, "EmptySubnetPoolPrefixList")

		empty := r.pool(r.member, poolOf("99.0.0.0/8"))
		require.Empty(r, ok(r.RemovePrefixes(ctx, r.member, empty.ID, blocks("99.0.0.0/8")))(r))
		ok(r.setPool(r.member, empty, l3.SubnetPoolSpec{Name: new("empty"), DefaultQuota: new(9)}))(r)
		_, err = r.allocate(r.member, r.network(r.member), empty, l3.SubnetSpec{PrefixLen: new(29)})
		r.refused(err, l3.ErrConflict, "SubnetAllocationError")
		_, err = r.AddPrefixes(ctx, r.member, empty.ID, blocks("2001:db8::/64"))
		r.refused(err, l3.ErrInvalid, "PrefixVersionMismatch")
		require.Equal(r, blocks("98.0.0.0/8"), ok(r.AddPrefixes(ctx, r.member, empty.ID, blocks("98.0.0.0/8")))(r))
	})
}

func TestOnboardNetworkSubnets(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		p := r.pool(r.member, poolOf("60.0.0.0/16"))
		s := r.inside("10.77.0.0/24")
		n := ok(r.GetNetwork(ctx, r.member, s.NetworkID))(r)
		second := r.subnet(r.member, n, "10.78.0.0/24")
		six := r.subnet(r.member, n, "2001:db8::/64")
		boarded := ok(r.OnboardNetworkSubnets(ctx, r.member, p.ID, n.ID))(r)
		require.ElementsMatch(r, []l3.OnboardedSubnet{{ID: s.ID, CIDR: s.CIDR}, {ID: second.ID, CIDR: second.CIDR}}, boarded)
		require.Equal(r, blocks("10.77.0.0/24", "10.78.0.0/24", "60.0.0.0/16"), ok(r.GetSubnetPool(ctx, r.member, p.ID))(r).Prefixes)
		now := ok(r.GetSubnet(ctx, r.member, s.ID))(r)
		require.Equal(r, p.ID, now.SubnetPoolID)
		require.Equal(r, s.Revision+1, now.Revision)
		require.Empty(r, ok(r.GetSubnet(ctx, r.member, six.ID))(r).SubnetPoolID)
		_, err := r.OnboardNetworkSubnets(ctx, r.member, p.ID, n.ID)
		r.refused(err, l3.ErrInvalid, "IllegalSubnetPoolUpdate")
		require.Empty(r, ok(r.OnboardNetworkSubnets(ctx, r.member, p.ID, r.network(r.member).ID))(r))

		other := r.pool(r.member, poolOf("61.0.0.0/16"))
		ok(r.OnboardNetworkSubnets(ctx, r.member, other.ID, n.ID))(r)
		require.Equal(r, other.ID, ok(r.GetSubnet(ctx, r.member, s.ID))(r).SubnetPoolID)
		require.Equal(r, blocks("60.0.0.0/16"), ok(r.RemovePrefixes(ctx, r.member, p.ID, blocks("10.0.0.0/8")))(r), "no subnet has them any more")

		theirs := r.subnet(r.other, r.network(r.other), "10.55.0.0/24")
		_, err = r.OnboardNetworkSubnets(ctx, r.member, p.ID, theirs.NetworkID)
		r.refused(err, l3.ErrNotFound, "NetworkNotFound")
		shared := one(r.CreateNetworks(ctx, r.admin, l3.NetworkSpec{Shared: new(true)}))(r)
		r.subnet(r.admin, shared, "10.56.0.0/24")
		_, err = r.OnboardNetworkSubnets(ctx, r.member, p.ID, shared.ID)
		forbidden(r.T, err)
		ok(r.OnboardNetworkSubnets(ctx, r.admin, p.ID, shared.ID))(r)
	})
}

// TestSharedSubnetPool: a project uses the pool of another by an RBAC policy, which stays as long.
func TestSharedSubnetPool(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		p, n := r.pool(r.member, poolOf("10.0.0.0/8")), r.network(r.other)
		share := func(who l3.Caller, typ, id, target string) (l3.RBACPolicy, error) {
			made, err := r.CreateRBACPolicies(ctx, who, l3.RBACPolicySpec{
				ObjectType: &typ, ObjectID: &id, Action: new(l3.AccessAsShared), TargetProject: &target,
			})
			return append(made, l3.RBACPolicy{})[0], err
		}
		_, err := share(r.other, l3.ObjectSubnetPool, p.ID, "p3")
		r.refused(err, l3.ErrNotFound, "SubnetPoolNotFound")
		_, err = share(r.member, l3.ObjectSubnetPool, p.ID, "*")
		forbidden(r.T, err)
		policy := ok(share(r.member, l3.ObjectSubnetPool, p.ID, "p2"))(r)
		require.True(r, ok(r.GetSubnetPool(ctx, r.other, p.ID))(r).Shared)
		require.False(r, ok(r.GetSubnetPool(ctx, r.member, p.ID))(r).Shared)
		only := func(who l3.Caller, shared bool) []l3.SubnetPool {
			return ok(r.ListSubnetPools(ctx, who, l3.Query{Filters: []l3.Filter{{Field: "shared", Values: []any{shared}}}}))(r)
		}
		require.Len(r, only(r.other, true), 1)
		require.Empty(r, only(r.other, false))
		require.Empty(r, only(r.member, true))
		require.Len(r, only(r.member, false), 1)
		require.Empty(r, ok(r.ListNetworks(ctx, r.other, l3.Query{Filters: []l3.Filter{{Field: "id", Values: []any{p.ID}}}}))(r))
		s := ok(r.allocate(r.other, n, p, l3.SubnetSpec{PrefixLen: new(24)}))(r)
		_, err = r.setPool(r.other, p, l3.SubnetPoolSpec{Name: new("x")})
		forbidden(r.T, err)
		forbidden(r.T, r.DeleteSubnetPool(ctx, r.other, p.ID, l3.If{}))
		_, err = r.AddPrefixes(ctx, r.other, p.ID, blocks("11.0.0.0/8"))
		forbidden(r.T, err)
		_, err = share(r.other, l3.ObjectSubnetPool, p.ID, "p3")
		r.refused(err, l3.ErrInvalid, "InvalidInput")
		_, err = share(r.member, l3.ObjectSubnetPool, p.ID, "p2")
		r.refused(err, l3.ErrConflict, "DuplicateRbacPolicy")

		r.refused(r.DeleteRBACPolicy(ctx, r.member, policy.ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		_, err = r.UpdateRBACPolicy(ctx, r.member, policy.ID, l3.RBACPolicySpec{TargetProject: new("p3")}, l3.If{})
		r.refused(err, l3.ErrConflict, "RbacPolicyInUse")
		public := ok(share(r.admin, l3.ObjectSubnetPool, p.ID, "*"))(r)
		require.True(r, ok(r.GetSubnetPool(ctx, r.admin, p.ID))(r).Shared)
		require.NoError(r, r.DeleteRBACPolicy(ctx, r.member, policy.ID, l3.If{}))
		r.refused(r.DeleteRBACPolicy(ctx, r.admin, public.ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		require.NoError(r, r.DeleteSubnet(ctx, r.other, s.ID, l3.If{}))
		require.NoError(r, r.DeleteRBACPolicy(ctx, r.admin, public.ID, l3.If{}))
		_, err = r.GetSubnetPool(ctx, r.other, p.ID)
		r.refused(err, l3.ErrNotFound, "SubnetPoolNotFound")

		for _, typ := range []string{l3.ObjectSubnetPool, l3.ObjectAddressScope} {
			_, err = r.CreateRBACPolicies(ctx, r.member, l3.RBACPolicySpec{
				ObjectType: &typ, ObjectID: &p.ID, Action: new(l3.AccessAsExternal), TargetProject: new("p2"),
			})
			r.refused(err, l3.ErrInvalid, "InvalidActionForType")
		}
		a := r.scope(r.member, 4)
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{AddressScopeID: &a.ID}))(r)
		_, err = share(r.member, l3.ObjectSubnetPool, p.ID, "p2")
		r.refused(err, l3.ErrInvalid, "InvalidInput")
		require.ErrorContains(r, err, "doesn't have access to associated address scope")
		ok(share(r.member, l3.ObjectAddressScope, a.ID, "p2"))(r)
		ok(share(r.member, l3.ObjectSubnetPool, p.ID, "p2"))(r)
		require.NoError(r, r.DeleteSubnetPool(ctx, r.member, p.ID, l3.If{}))
		require.NoError(r, r.DeleteAddressScope(ctx, r.member, a.ID, l3.If{}))
		require.Empty(r, ok(r.ListRBACPolicies(ctx, r.admin, l3.Query{}))(r), "policies go with what they share")
	})
}

// TestPoolOfManySubnets: one more costs as much as reading those that are there.
func TestPoolOfManySubnets(t *testing.T) {
	r := newRig(t, l3test.Open(t, l3test.SQLiteURL(t)))
	ok(r.SetQuota(r.Context(), r.admin, "p1", map[string]int{"subnet": -1}))(r)
	p, n := r.pool(r.member, poolOf("10.0.0.0/8")), r.network(r.member)
	subnets := make([]l3.Subnet, 5000)
	for i := range subnets {
		subnets[i] = l3.Subnet{Meta: l3.Meta{ID: fmt.Sprint(i), ProjectID: "p1", Revision: 1, CreatedAt: r.clock.Now(), UpdatedAt: r.clock.Now()}, NetworkID: n.ID,
			IPVersion: 4, CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1), 0}), 24), SubnetPoolID: p.ID}
	}
	require.NoError(r, r.store.Update(r.Context(), func(tx l3.Tx) error { return tx.Subnets().Insert(r.Context(), subnets...) }))
	begin := time.Now()
	s := ok(r.allocate(r.member, r.network(r.member), p, l3.SubnetSpec{PrefixLen: new(24)}))(r)
	require.Equal(r, "10.0.1.0/24", s.CIDR.String())
	r.Logf("one more beside %d: %s", len(subnets), time.Since(begin))
}
