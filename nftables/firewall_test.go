package nftables

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
)

var update = flag.Bool("update", false, "write testdata anew")

func removed(f ...dataplane.FloatingIP) *namespace.Delta { return &namespace.Delta{Removed: f} }
func added(f ...dataplane.FloatingIP) *namespace.Delta   { return &namespace.Delta{Added: f} }

// routers are states that any other must lead to and come from.
func routers() map[string]dataplane.Router {
	full := example(fip(5), fip(6), fip(7))
	return map[string]dataplane.Router{
		"full":       full,
		"empty":      {ID: full.ID},
		"no-gateway": without(full, func(r *dataplane.Router) { r.Gateway, r.FloatingIPs = nil, nil }),
		"snat-off":   without(full, func(r *dataplane.Router) { r.Gateway.SNAT = false }),
		"ipv6-gateway": without(full, func(r *dataplane.Router) {
			r.FloatingIPs = nil
			r.Gateway.Addrs = slices.Clone(r.Gateway.Addrs[:0])
		}),
		"dual-stack": without(full, func(r *dataplane.Router) {
			r.Ports[0].Addrs = append(slices.Clone(r.Ports[0].Addrs), netip.MustParsePrefix("fd00:1::1/64"))
			r.Ports[1].Addrs = append(slices.Clone(r.Ports[1].Addrs), netip.MustParsePrefix("fd00:2::1/80"))
			r.Gateway.NextHops = []netip.Addr{addr("fe80::1")}
		}),
		"ipv6-alone": without(full, func(r *dataplane.Router) {
			r.Ports, r.Gateway, r.FloatingIPs = r.Ports[:1], nil, nil
			r.Ports[0].Addrs = []netip.Prefix{netip.MustParsePrefix("fd00:1::1/64")}
		}),
		"resized": without(full, func(r *dataplane.Router) {
			r.FloatingIPs = nil
			r.Ports[0].Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("255.255.255.1/24")}
		}),
		"moved":   without(full, func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = addr("10.0.9.9") }),
		"swapped": without(full, func(r *dataplane.Router) { f := r.FloatingIPs; f[0].Fixed, f[1].Fixed = f[1].Fixed, f[0].Fixed }),
	}
}

func TestListing(t *testing.T) {
	for name, r := range routers() {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.apply(r)
			got, file := p.listing(), filepath.Join("testdata", name+".nft")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

// Applying again writes nothing, in the process that applied and in another one, with and without a delta.
func TestUnchanged(t *testing.T) {
	for name, r := range routers() {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			require.NotNil(t, p.apply(r))
			generation := p.generation()
			for range 2 {
				require.Empty(t, p.plan(r, &namespace.Delta{}))
				undo, err := p.rules.Apply(t.Context(), namespace.Change{Want: r, Since: &namespace.Delta{}})
				require.NoError(t, err)
				require.Nil(t, undo)
				require.Empty(t, p.plan(r, nil))
				require.Nil(t, p.apply(r))
				p.reopen()
			}
			require.Equal(t, generation, p.generation())
		})
	}
}

// Any state leads to any other, and back again.
func TestAnyToAny(t *testing.T) {
	fresh := map[string]string{}
	for name, r := range routers() {
		p := newPlace(t)
		p.apply(r)
		fresh[name] = p.listing()
	}
	for from, before := range routers() {
		for to, after := range routers() {
			t.Run(from+" to "+to, func(t *testing.T) {
				p := newPlace(t)
				p.apply(before)
				undo := p.apply(after)
				require.Equal(t, fresh[to], p.listing())
				require.Empty(t, p.plan(after, nil))
				if fresh[from] == fresh[to] {
					require.Nil(t, undo)
					return
				}
				require.NoError(t, undo(t.Context()))
				require.Equal(t, fresh[from], p.listing())
				require.NotEmpty(t, p.plan(after, &namespace.Delta{}), "what an undone Apply wrote is trusted")
			})
		}
	}
}

func TestUndoOfFirst(t *testing.T) {
	p := newPlace(t)
	undo := p.apply(example(fip(5)))
	require.NoError(t, undo(t.Context()))
	require.Empty(t, p.listing())
}

func TestPlan(t *testing.T) {
	full := example(fip(5), fip(6))
	moved := fip(5)
	moved.Fixed = addr("10.0.0.77")
	swapped := []dataplane.FloatingIP{fip(5), fip(6)}
	swapped[0].Fixed, swapped[1].Fixed = swapped[1].Fixed, swapped[0].Fixed
	renamed := fip(5)
	renamed.ID = "another"
	for name, c := range map[string]struct {
		want  dataplane.Router
		since *namespace.Delta
		steps []string
	}{
		"one more": {example(fip(5), fip(6), fip(7)), added(fip(7)), []string{"+ floating-ip 203.0.0.7: → 10.0.0.7"}},
		"one less": {example(fip(6)), removed(fip(5)), []string{"- floating-ip 203.0.0.5: → 10.0.0.5  !"}},
		"moved": {
			example(moved, fip(6)), &namespace.Delta{Removed: []dataplane.FloatingIP{fip(5)}, Added: []dataplane.FloatingIP{moved}},
			[]string{"~ floating-ip 203.0.0.5: → 10.0.0.77, was 10.0.0.5  !"},
		},
		"swapped": {
			example(swapped...), &namespace.Delta{Removed: full.FloatingIPs, Added: swapped},
			[]string{"~ floating-ip 203.0.0.5: → 10.0.0.6, was 10.0.0.5  !", "~ floating-ip 203.0.0.6: → 10.0.0.5, was 10.0.0.6  !"},
		},
		"fixed address handed over": {
			example(dataplane.FloatingIP{ID: "x", Addr: addr("203.0.0.9"), Fixed: fip(5).Fixed}, fip(6)),
			&namespace.Delta{
				Removed: []dataplane.FloatingIP{fip(5)},
				Added:   []dataplane.FloatingIP{{ID: "x", Addr: addr("203.0.0.9"), Fixed: fip(5).Fixed}},
			},
			[]string{"- floating-ip 203.0.0.5: → 10.0.0.5  !", "+ floating-ip 203.0.0.9: → 10.0.0.5"},
		},
		"another id": {
			example(renamed, fip(6)), &namespace.Delta{Removed: []dataplane.FloatingIP{fip(5)}, Added: []dataplane.FloatingIP{renamed}},
			[]string{},
		},
		"SNAT off": {without(full, func(r *dataplane.Router) { r.Gateway.SNAT = false }), nil, []string{
			"- rules guarded qg-out", "- snat qg-out: 203.0.255.2  !",
		}},
		"another gateway address": {
			without(full, func(r *dataplane.Router) { r.Gateway.Addrs = example().Ports[1].Addrs }), nil, []string{
				"~ snat qg-out: 10.1.0.1, was 203.0.255.2  !",
				"~ rules hairpin qr-db: 10.1.0.1, was 203.0.255.2  !",
				"~ rules hairpin qr-web: 10.1.0.1, was 203.0.255.2  !",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.apply(full)
			require.Equal(t, c.steps, p.plan(c.want, nil), "by reading back")
			if c.since == nil {
				return
			}
			require.Equal(t, c.steps, p.plan(c.want, c.since), "by the delta")
			before := p.listing()
			undo, err := p.rules.Apply(t.Context(), namespace.Change{Want: c.want, Since: c.since})
			require.NoError(t, err)
			require.Empty(t, p.plan(c.want, nil), "the delta led elsewhere")
			if len(c.steps) > 0 {
				require.NoError(t, undo(t.Context()))
			}
			require.Equal(t, before, p.listing())
		})
	}
}

// A delta must not be acted on when somebody wrote since, or when what it stands on was never applied.
func TestDeltaWithoutProof(t *testing.T) {
	before, after := example(fip(5)), example(fip(5), fip(6))
	for name, disturb := range map[string]func(p *place){
		"nothing applied": func(p *place) { p.nft("delete", "table", "ip", "l3kit"); p.reopen() },
		"tampered":        func(p *place) { p.nft("flush", "map", "ip", "l3kit", "fip_snat") },
		"undone":          func(p *place) { require.NoError(p.t, p.apply(example())(p.t.Context())) },
		"cleared":         func(p *place) { require.NoError(p.t, p.rules.Clear(p.t.Context())) },
		"element there already": func(p *place) {
			p.nft("add", "element", "ip", "l3kit", "fip_dnat", "{ 203.0.0.6 : 10.0.0.66 }")
			p.rules.generation = p.generation() // as if the kernel had not told
		},
		"element gone": func(p *place) {
			p.nft("delete", "table", "ip", "l3kit")
			p.rules.generation = p.generation()
		},
		"socket broken": func(p *place) { require.NoError(p.t, p.rules.socket.Socket.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.apply(before)
			disturb(p)
			_, err := p.rules.Apply(t.Context(), namespace.Change{Want: after, Since: added(fip(6))})
			require.NoError(t, err)
			require.Empty(t, p.plan(after, nil))
		})
	}
}

// What Plan saw is not taken for what Apply finds.
func TestTamperingBetweenPlanAndApply(t *testing.T) {
	before := example(fip(5))
	for name, after := range map[string]dataplane.Router{"with a change to make": example(fip(5), fip(6)), "with none": before} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.plan(before, nil)
			p.nft("add", "table", "ip", "l3kit") // where there was none
			p.apply(before)
			require.Empty(t, p.plan(before, nil))
			p.plan(after, nil)
			p.nft("flush", "map", "ip", "l3kit", "fip_snat")
			p.apply(after)
			require.Empty(t, p.plan(after, nil))
		})
	}
}

// A foreign table's changes cost one full look, not one each time.
func TestTrustRegained(t *testing.T) {
	p := newPlace(t)
	r := example(fip(5))
	p.apply(r)
	p.nft("add", "table", "inet", "foreign")
	trusted, err := p.rules.Unchanged()
	require.NoError(t, err)
	require.False(t, trusted)
	require.Empty(t, p.plan(r, &namespace.Delta{}))
	trusted, err = p.rules.Unchanged()
	require.NoError(t, err)
	require.True(t, trusted)
}

func TestManyFloatingIPs(t *testing.T) {
	p := newPlace(t)
	many := example(fips(1, 10_001)...)
	p.apply(many)
	p.reopen()
	require.Empty(t, p.plan(many, nil), "read while the kernel may still be enlarging its hash tables")
	few := example(fips(9_000, 9_002)...)
	undo := p.apply(few)
	require.Empty(t, p.plan(few, nil))
	require.NoError(t, undo(t.Context()))
	require.Empty(t, p.plan(many, nil))
	require.NoError(t, p.rules.Clear(t.Context()))
	require.Empty(t, p.listing())
}

func TestClear(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, p.rules.Clear(t.Context()))
	require.Equal(t, uint32(1), p.generation(), "nothing was there to clear")
	p.nft("add", "table", "inet", "foreign")
	foreign := p.listing()
	p.requirePresent(false)
	p.apply(example(fip(5)))
	p.requirePresent(true)
	require.NoError(t, p.rules.Clear(t.Context()))
	p.requirePresent(false)
	require.Equal(t, foreign, p.listing())
	counters, err := p.rules.Counters(t.Context())
	require.NoError(t, err)
	require.Empty(t, counters)
}

func TestCancelled(t *testing.T) {
	p := newPlace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	change := namespace.Change{Want: example(fip(5))}
	_, err := p.rules.Plan(ctx, change)
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.rules.Apply(ctx, change)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, p.rules.Clear(ctx), context.Canceled)
	_, err = p.rules.Counters(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, p.listing())
}

// A transaction that the kernel refuses changes nothing, and the error names what it refused.
func TestRefused(t *testing.T) {
	p := newPlace(t)
	r := example(fip(5))
	p.apply(r)
	before := p.listing()

	t.Run("object", func(t *testing.T) {
		b := &batch{family: ipv4}
		b.addElements(&set{name: fipIn, elements: map[string]element{addressKey(addr("203.0.0.9")): {}}}, []string{addressKey(addr("203.0.0.9"))})
		b.deleteSet(fipDNAT) // rules look into it
		b.deleteElements(&set{name: fipIn}, []string{addressKey(addr("203.0.0.9"))})
		err := p.rules.socket.commit(b, p.generation())
		require.ErrorIs(t, err, unix.EBUSY)
		require.ErrorContains(t, err, "message 2 of 3")
		require.ErrorContains(t, err, "ip l3kit: delete set fip_dnat")
		require.Equal(t, before, p.listing())
	})
	t.Run("generation", func(t *testing.T) {
		b := &batch{family: ipv4}
		b.deleteTable()
		require.ErrorIs(t, p.rules.socket.commit(b, p.generation()+1), errMoved)
		require.Equal(t, before, p.listing())
	})
	t.Run("too large", func(t *testing.T) {
		require.NoError(t, p.rules.socket.Open())
		require.NoError(t, p.rules.socket.Socket.SetWriteBuffer(1))
		p.rules.socket.Room = 1 << 30 // as if the kernel had not let us have more
		_, err := p.rules.Apply(t.Context(), namespace.Change{Want: example(fips(1, 1000)...)})
		require.ErrorIs(t, err, unix.EMSGSIZE)
		require.ErrorContains(t, err, "too large for the socket's send buffer")
		require.Equal(t, before, p.listing())
	})
	p.apply(example(fip(5), fip(6)))
}

// Without CAP_NET_ADMIN nothing works, and the error says why.
func TestPermission(t *testing.T) {
	p := newPlace(t)
	err := netns.Do(p.fd, func() error { // the thread keeps its namespace, and loses the right to use it until it is given back
		var caps [2]unix.CapUserData
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		require.NoError(t, unix.Capget(&header, &caps[0]))
		kept := caps
		caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		require.NoError(t, unix.Capset(&header, &caps[0]))
		defer func() { require.NoError(t, unix.Capset(&header, &kept[0])) }()
		s := socket{}
		defer s.Close()
		_, err := s.Generation()
		return err
	})
	require.ErrorIs(t, err, dataplane.ErrPermission)
}

// A table that a process holds open belongs to that process.
func TestForeignTable(t *testing.T) {
	p := newPlace(t)
	owner := newSocket(p.fd)
	defer owner.Close()
	b := &batch{family: ipv4}
	b.addTable(tableOwned)
	require.NoError(t, owner.commit(b, 0))
	_, err := p.rules.Apply(t.Context(), namespace.Change{Want: example()})
	require.ErrorIs(t, err, dataplane.ErrForeign)
}

// nft's text beside each rule in program.go is what the kernel was told: see testdata. Here: every chain and set of it is documented.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for _, table := range []*table{program(), program6()} {
		for _, c := range table.chains {
			require.Contains(t, string(doc), "//\t"+c.name+" ")
		}
		for _, s := range table.sets {
			require.Contains(t, string(doc), "//\t"+s.name+" ")
		}
	}
	source, err := os.ReadFile("program.go")
	require.NoError(t, err)
	listing, err := os.ReadFile(filepath.Join("testdata", "dual-stack.nft"))
	require.NoError(t, err)
	for line := range strings.Lines(string(listing)) {
		if text, _, ok := strings.Cut(strings.TrimSpace(line), ` comment "`); ok && text != "" {
			text = strings.ReplaceAll(text, "0x00010000 != 0x00000000", "0x10000 != 0")
			text = strings.ReplaceAll(text, "0x00010000", "0x10000")
			text = strings.ReplaceAll(text, "@nh,192,32 & 0xffc00000 == 0xfe800000", "ip6 daddr fe80::/10")
			require.Contains(t, string(source), "// "+text+"\n")
		}
	}
}
