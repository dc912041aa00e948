package iptables

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

var update = flag.Bool("update", false, "write testdata anew")

func removed(f ...dataplane.FloatingIP) *namespace.Delta { return &namespace.Delta{Removed: f} }
func added(f ...dataplane.FloatingIP) *namespace.Delta   { return &namespace.Delta{Added: f} }

// routers are states that any other must lead to and come from.
func routers() map[string]dataplane.Router {
	full := example(fip(5), fip(6), fip(7), fip(20), fip(300))
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
		"many-subnets": without(full, func(r *dataplane.Router) {
			r.FloatingIPs = nil
			r.Ports[1].Addrs = nil
			for i := range 20 {
				r.Ports[1].Addrs = append(r.Ports[1].Addrs, netip.MustParsePrefix(fmt.Sprintf("10.%d.0.1/24", 1+i)),
					netip.MustParsePrefix(fmt.Sprintf("fd00:%x::1/64", 1+i)))
			}
		}),
		"moved":   without(full, func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = addr("10.0.9.9") }),
		"swapped": without(full, func(r *dataplane.Router) { f := r.FloatingIPs; f[0].Fixed, f[1].Fixed = f[1].Fixed, f[0].Fixed }),
	}
}

// The script for a namespace without rules is what testdata has, and iptables-save says the same of what it makes.
func TestScript(t *testing.T) {
	for name, r := range routers() {
		t.Run(name, func(t *testing.T) {
			d := compare(ruleset{}, render(r, " --random-fully"))
			got := d.script(ipv4) + d.script(ipv6)
			file := filepath.Join("testdata", name+".rules")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			eachVariant(t, func(t *testing.T, v Variant) {
				p := newPlace(t, v)
				p.apply(r)
				applied := p.listing()
				p.flush()
				require.Empty(t, p.listing())
				p.script(d.script(ipv4))
				p.script6(d.script(ipv6))
				require.Equal(t, p.listing(), applied)
			})
		})
	}
}

// Applying again writes nothing, in the process that applied and in another one, with and without a delta.
func TestUnchanged(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		for name, r := range routers() {
			t.Run(name, func(t *testing.T) {
				p := newPlace(t, v)
				require.NotNil(t, p.apply(r))
				store := p.side().store // whose seed makes stamps comparable
				at, err := store.stamp()
				require.NoError(t, err)
				for range 2 {
					require.Empty(t, p.plan(r, &namespace.Delta{}))
					undo, err := p.rules.Apply(t.Context(), namespace.Change{Want: r, Since: &namespace.Delta{}})
					require.NoError(t, err)
					require.Nil(t, undo)
					require.Empty(t, p.plan(r, nil))
					require.Nil(t, p.apply(r))
					p.reopen()
				}
				now, err := store.stamp()
				require.NoError(t, err)
				require.Equal(t, at, now)
			})
		}
	})
}

// Any state leads to any other, and back again.
func TestAnyToAny(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		fresh := map[string]string{}
		for name, r := range routers() {
			p := newPlace(t, v)
			p.apply(r)
			fresh[name] = p.listing()
		}
		for from, before := range routers() {
			for to, after := range routers() {
				t.Run(from+" to "+to, func(t *testing.T) {
					p := newPlace(t, v)
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
	})
}

func TestUndoOfFirst(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
		undo := p.apply(example(fip(5)))
		require.NoError(t, undo(t.Context()))
		require.Empty(t, p.listing())
	})
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
		"one more":     {example(fip(5), fip(6), fip(7)), added(fip(7)), []string{"+ floating-ip 203.0.0.7: → 10.0.0.7"}},
		"one far away": {example(fip(5), fip(6), fip(9999)), added(fip(9999)), []string{"+ floating-ip 203.0.39.15: → 10.0.39.15"}},
		"one less":     {example(fip(6)), removed(fip(5)), []string{"- floating-ip 203.0.0.5: → 10.0.0.5  !"}},
		"all": {example(), removed(fip(5), fip(6)), []string{
			"- floating-ip 203.0.0.5: → 10.0.0.5  !", "- floating-ip 203.0.0.6: → 10.0.0.6  !",
		}},
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
			"- rules filter l3kit-FORWARD: ! -o qg-out -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
			"- rules filter l3kit-FORWARD: -m conntrack --ctstate SNAT --ctstatus CONFIRMED --ctdir ORIGINAL -j RETURN",
			"- rules filter l3kit-FORWARD: -m conntrack --ctstate DNAT --ctstatus CONFIRMED --ctdir REPLY -j RETURN",
			"- rules filter l3kit-FORWARD: -o qg-out -m conntrack --ctstatus CONFIRMED -j DROP",
			"- rules filter l3kit-FORWARD: -i qg-out -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
			"- rules filter l3kit-FORWARD: -o qg-out -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
			"- rules filter l3kit-FORWARD: -i qg-out -m conntrack ! --ctstate DNAT -j DROP",
			"+ rules filter l3kit-FORWARD: -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
			"- snat qg-out: 203.0.255.2  !",
		}},
		"another gateway address": {
			without(full, func(r *dataplane.Router) { r.Gateway.Addrs = example().Ports[1].Addrs }), nil, []string{
				"- rules nat l3kit-hairpin: -o qr-db -j SNAT --to-source 203.0.255.2 --random-fully",
				"- rules nat l3kit-hairpin: -o qr-web -j SNAT --to-source 203.0.255.2 --random-fully",
				"+ rules nat l3kit-hairpin: -o qr-db -j SNAT --to-source 10.1.0.1 --random-fully",
				"+ rules nat l3kit-hairpin: -o qr-web -j SNAT --to-source 10.1.0.1 --random-fully",
				"~ snat qg-out: 10.1.0.1, was 203.0.255.2  !",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachVariant(t, func(t *testing.T, v Variant) {
				p := newPlace(t, v)
				require.Equal(t, []string{
					"+ rules filter", "+ rules mangle", "+ rules nat", "+ snat qg-out: 203.0.255.2",
					"+ floating-ip 203.0.0.5: → 10.0.0.5", "+ floating-ip 203.0.0.6: → 10.0.0.6",
				}, p.plan(full, nil))
				p.apply(full)
				require.Equal(t, c.steps, p.plan(c.want, nil), "by reading back")
				if c.since == nil {
					return
				}
				require.Equal(t, c.steps, p.plan(c.want, c.since), "by the delta")
				before := p.listing()
				undo, err := p.rules.Apply(t.Context(), namespace.Change{Want: c.want, Since: c.since})
				require.NoError(t, err)
				known, err := p.side().unchanged()
				require.NoError(t, err)
				require.True(t, known, "what the delta led to is not trusted")
				require.Empty(t, p.plan(c.want, nil), "the delta led elsewhere")
				if len(c.steps) > 0 {
					require.NoError(t, undo(t.Context()))
				}
				require.Equal(t, before, p.listing())
			})
		})
	}
}

// A delta must not be acted on when somebody wrote since, or when what it stands on was never applied.
func TestDeltaWithoutProof(t *testing.T) {
	before, after := example(fip(5)), example(fip(5), fip(6))
	for name, disturb := range map[string]func(p *place){
		"nothing applied": func(p *place) { require.NoError(p.t, p.rules.Clear(p.t.Context())); p.reopen() },
		"tampered":        func(p *place) { p.script("*nat\n-F l3kit-src-10.0.0.0/28\nCOMMIT\n") },
		"undone":          func(p *place) { require.NoError(p.t, p.apply(example())(p.t.Context())) },
		"cleared":         func(p *place) { require.NoError(p.t, p.rules.Clear(p.t.Context())) },
		"rule there already": func(p *place) {
			p.script("*nat\n-A l3kit-dst-203.0.0.0/28 -d 203.0.0.6/32 -j DNAT --to-destination 10.0.0.66\nCOMMIT\n")
		},
		"chain gone, unnoticed": func(p *place) {
			p.script("*nat\n-F l3kit-dst\n-F l3kit-dst-203.0.0.0/28\n-X l3kit-dst-203.0.0.0/28\nCOMMIT\n")
			p.side().known = p.stamp() // as if the kernel had not told
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachVariant(t, func(t *testing.T, v Variant) {
				p := newPlace(t, v)
				p.apply(before)
				disturb(p)
				_, err := p.rules.Apply(t.Context(), namespace.Change{Want: after, Since: added(fip(6))})
				require.NoError(t, err)
				require.Empty(t, p.plan(after, nil))
			})
		})
	}
}

// Foreign rules' changes cost one full look, not one each time.
func TestTrustRegained(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
		r := example(fip(5))
		p.apply(r)
		p.script("*filter\n-A INPUT -p tcp -j DROP\nCOMMIT\n")
		trusted, err := p.side().unchanged()
		require.NoError(t, err)
		require.False(t, trusted)
		require.Empty(t, p.plan(r, &namespace.Delta{}))
		trusted, err = p.side().unchanged()
		require.NoError(t, err)
		require.True(t, trusted)
	})
}

// From one random set of floating IPs to another by deltas: the rules are those of a fresh Apply, and no other floating IP's rules are
// touched.
func TestWalk(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p, fresh := newPlace(t, v), newPlace(t, v)
		random := rand.New(rand.NewPCG(1, 2))
		now := example()
		p.apply(now)
		for range 25 {
			next := now
			next.FloatingIPs = slices.Clone(now.FloatingIPs)
			var d namespace.Delta
			for range 1 + random.IntN(3) {
				if n := len(next.FloatingIPs); n > 0 && random.IntN(3) == 0 {
					i := random.IntN(n)
					d.Removed = append(d.Removed, next.FloatingIPs[i])
					next.FloatingIPs = slices.Delete(next.FloatingIPs, i, i+1)
				}
			}
			for range 1 + random.IntN(3) {
				f := fip(random.IntN(1 << (4 + random.IntN(11)))) // near others, or far away
				clash := func(o dataplane.FloatingIP) bool { return o.ID == f.ID }
				if !slices.ContainsFunc(next.FloatingIPs, clash) && !slices.ContainsFunc(d.Removed, clash) {
					d.Added = append(d.Added, f)
					next.FloatingIPs = append(next.FloatingIPs, f)
				}
			}
			_, err := p.rules.Apply(t.Context(), namespace.Change{Want: next, Since: &d})
			require.NoError(t, err)
			require.NoError(t, fresh.rules.Clear(t.Context()))
			fresh.apply(next)
			require.Equal(t, fresh.listing(), p.listing())
			now = next
		}
	})
}

func TestManyFloatingIPs(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
		many := example(fips(1, 10_001)...)
		p.apply(many)
		p.reopen()
		require.Empty(t, p.plan(many, nil))
		few := example(fips(9_000, 9_002)...)
		undo := p.apply(few)
		require.Empty(t, p.plan(few, nil))
		require.NoError(t, undo(t.Context()))
		require.Empty(t, p.plan(many, nil))
		require.NoError(t, p.rules.Clear(t.Context()))
		require.Empty(t, p.listing())
	})
}

func TestClear(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
		before := p.stamp()
		require.NoError(t, p.rules.Clear(t.Context()))
		require.Equal(t, before, p.stamp(), "nothing was there to clear")
		p.requirePresent(false)
		p.script("*filter\n:theirs - [0:0]\n-A INPUT -j theirs\n-A theirs -p tcp -j RETURN\nCOMMIT\n" +
			"*nat\n-A POSTROUTING -o x -j ACCEPT\nCOMMIT\n")
		p.requirePresent(false)
		foreign := p.listing()
		p.apply(example(fip(5)))
		p.requirePresent(true)
		require.NoError(t, p.rules.Clear(t.Context()))
		p.requirePresent(false)
		require.Equal(t, foreign, p.listing())
		counters, err := p.rules.Counters(t.Context())
		require.NoError(t, err)
		require.Empty(t, counters)
	})
}

// What iptables-nft made around our rules goes with them, as nft can tell.
func TestClearLeavesNothing(t *testing.T) {
	p := newPlace(t, NFT)
	p.apply(example(fip(5)))
	require.NoError(t, p.rules.Clear(t.Context()))
	require.Empty(t, p.run("", "nft", "list", "ruleset"))
}

func TestCancelled(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
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
	})
}

// Every chain is documented.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for _, rs := range []ruleset{program(), program6()} {
		for _, table := range rs {
			for name := range table.chains {
				require.Contains(t, string(doc), name)
			}
		}
	}
}
