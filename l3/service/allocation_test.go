package service_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/l3"
)

// TestAllocationNeverDoubles: random making, changing and deleting of ports in a pool of six
// addresses does what a set of addresses says.
func TestAllocationNeverDoubles(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		rapid.Check(t, func(rt *rapid.T) {
			n := c.network(admin, l3.NetworkSpec{})
			sub := c.subnet(n, "10.0.0.0/28", pools(pool("10.0.0.2", "10.0.0.5"), pool("10.0.0.8", "10.0.0.9")))
			inPool := func(a netip.Addr) bool {
				return sub.AllocationPools[0].First.Compare(a) <= 0 && a.Compare(sub.AllocationPools[0].Last) <= 0 ||
					sub.AllocationPools[1].First.Compare(a) <= 0 && a.Compare(sub.AllocationPools[1].Last) <= 0
			}
			held := map[netip.Addr]string{}
			ports := map[string]l3.Port{}
			lowest := func() netip.Addr {
				for a := sub.AllocationPools[0].First; sub.CIDR.Contains(a); a = a.Next() {
					if held[a] == "" && inPool(a) {
						return a
					}
				}
				return netip.Addr{}
			}
			take := func(p l3.Port) {
				ports[p.ID] = p
				for _, f := range p.FixedIPs {
					held[f.IPAddress] = p.ID
				}
			}
			drop := func(p l3.Port) {
				delete(ports, p.ID)
				for _, f := range p.FixedIPs {
					delete(held, f.IPAddress)
				}
			}
			some := func(rt *rapid.T) l3.Port {
				if len(ports) == 0 {
					rt.Skip("there is no port")
				}
				ids := []string{}
				for id := range ports {
					ids = append(ids, id)
				}
				return ports[rapid.SampledFrom(ids).Draw(rt, "port")]
			}
			address := rapid.Custom(func(rt *rapid.T) netip.Addr {
				return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 14).Draw(rt, "host"))})
			})
			rt.Repeat(map[string]func(*rapid.T){
				"any": func(rt *rapid.T) {
					want := lowest()
					p, err := c.tryPort(admin, n)
					if !want.IsValid() {
						require.ErrorIs(rt, err, l3.ErrConflict)
						return
					}
					require.NoError(rt, err)
					require.Equal(rt, []string{want.String()}, addresses(p))
					take(p)
				},
				"given": func(rt *rapid.T) {
					a := address.Draw(rt, "address")
					p, err := c.tryPort(admin, n, at(l3.FixedIPSpec{IPAddress: a}))
					if held[a] != "" {
						require.ErrorIs(rt, err, l3.ErrConflict)
						return
					}
					require.NoError(rt, err)
					take(p)
				},
				"change": func(rt *rapid.T) {
					p, a := some(rt), address.Draw(rt, "address")
					q, err := c.update(p, admin, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{{IPAddress: a}}})
					if held[a] != "" && held[a] != p.ID {
						require.ErrorIs(rt, err, l3.ErrConflict)
						return
					}
					require.NoError(rt, err)
					drop(p)
					take(q)
				},
				"delete": func(rt *rapid.T) {
					p := some(rt)
					require.NoError(rt, c.DeletePort(t.Context(), admin, p.ID, l3.If{}))
					drop(p)
				},
				"": func(rt *rapid.T) {
					list, err := c.ListPorts(t.Context(), admin, l3.Query{Filters: []l3.Filter{{Field: "network_id", Values: []any{n.ID}}}})
					require.NoError(rt, err)
					require.Len(rt, list, len(ports))
				},
			})
			for _, p := range ports {
				require.NoError(rt, c.DeletePort(t.Context(), admin, p.ID, l3.If{}))
			}
			require.NoError(rt, c.DeleteNetwork(t.Context(), admin, n.ID, l3.If{}))
		})
	})
}

// TestAllocationUnderConcurrency: 16 clients take and give back addresses of a pool that is too
// small for them. None is had twice, and all are had in the end.
func TestAllocationUnderConcurrency(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(admin, l3.NetworkSpec{})
		c.subnet(n, "10.0.0.0/28", pools(pool("10.0.0.2", "10.0.0.9")))
		var mu sync.Mutex
		held := map[string]bool{}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 4 {
					made, err := c.CreatePorts(t.Context(), admin, l3.PortSpec{NetworkID: &n.ID})
					var full *l3.Error
					if errors.As(err, &full) {
						assert.Equal(t, "IpAddressGenerationFailure", full.Name)
						continue
					}
					if !assert.NoError(t, err) {
						return
					}
					a := addresses(made[0])[0]
					mu.Lock()
					assert.False(t, held[a], "%s is had twice", a)
					held[a] = true
					mu.Unlock()
					if rand.IntN(2) == 0 {
						continue
					}
					mu.Lock()
					delete(held, a) // before it is free, because another may have it at once
					mu.Unlock()
					assert.NoError(t, c.DeletePort(t.Context(), admin, made[0].ID, l3.If{}))
				}
			})
		}
		all.Wait()
		for len(held) < 8 {
			p := c.port(admin, n)
			require.False(t, held[addresses(p)[0]])
			held[addresses(p)[0]] = true
		}
		_, err := c.tryPort(admin, n)
		refused(t, err, l3.ErrConflict, "IpAddressGenerationFailure")
	})
}
