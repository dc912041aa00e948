package l3test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func ranges(ends ...string) (list []l3.AddressRange) {
	for i := 0; i < len(ends); i += 2 {
		list = append(list, l3.AddressRange{First: netip.MustParseAddr(ends[i]), Last: netip.MustParseAddr(ends[i+1])})
	}
	return list
}

func addressClaims(t *testing.T, s l3.Store) {
	ctx := t.Context()
	free := func(tx l3.Tx, subnet string, ends ...string) string {
		a, err := tx.Addresses().FirstFree(ctx, subnet, ranges(ends...))
		require.NoError(t, err)
		if !a.IsValid() {
			return "none"
		}
		return a.String()
	}
	claim := func(tx l3.Tx, subnet string, addresses ...string) {
		for _, a := range addresses {
			require.NoError(t, tx.Addresses().Claim(ctx, subnet, netip.MustParseAddr(a), "port"))
		}
	}
	update(t, s, func(tx l3.Tx) error {
		require.Equal(t, "10.0.0.2", free(tx, "s", "10.0.0.2", "10.0.0.9"))
		claim(tx, "s", "10.0.0.2", "10.0.0.4", "10.0.0.3", "10.0.0.6")
		require.Equal(t, "10.0.0.5", free(tx, "s", "10.0.0.2", "10.0.0.9"))
		require.Equal(t, "none", free(tx, "s", "10.0.0.2", "10.0.0.4"))
		require.Equal(t, "10.0.0.1", free(tx, "s", "10.0.0.3", "10.0.0.4", "10.0.0.1", "10.0.0.9"), "ranges in their order")
		require.Equal(t, "10.0.0.2", free(tx, "t", "10.0.0.2", "10.0.0.9"), "another subnet")
		require.Equal(t, "none", free(tx, "t"))
		claim(tx, "s", "10.0.0.5")
		require.Equal(t, "10.0.0.7", free(tx, "s", "10.0.0.2", "10.0.0.9"))
		require.NoError(t, tx.Addresses().Release(ctx, "s", netip.MustParseAddr("10.0.0.3")))
		require.Equal(t, "10.0.0.3", free(tx, "s", "10.0.0.2", "10.0.0.9"))
		n, err := tx.Addresses().Count(ctx, "s")
		require.Equal(t, 4, n)

		claim(tx, "all", "0.0.0.0", "255.255.255.255", "255.255.255.254")
		require.Equal(t, "0.0.0.1", free(tx, "all", "0.0.0.0", "255.255.255.255"))
		require.Equal(t, "none", free(tx, "all", "255.255.255.254", "255.255.255.255"))
		claim(tx, "six", "2001:db8::1", "2001:db8::ffff", "2001:db8::1:0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
		require.Equal(t, "2001:db8::1:1", free(tx, "six", "2001:db8::ffff", "2001:db8::ffff:ffff"))
		require.Equal(t, "2001:db8::2", free(tx, "six", "2001:db8::1", "2001:db8::ffff:ffff"))
		require.Equal(t, "none", free(tx, "six", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
		return err
	})
}

// addressWantedByTwo takes every address of a range from many goroutines, by FirstFree and Claim.
func addressWantedByTwo(t *testing.T, s l3.Store) {
	ctx := t.Context()
	const clients, each = 8, 6
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for i := range each {
				err := s.Update(ctx, func(tx l3.Tx) error {
					a, err := tx.Addresses().FirstFree(ctx, "s", ranges("10.0.0.10", "10.0.0.57"))
					if err != nil {
						return err
					}
					return tx.Addresses().Claim(ctx, "s", a, fmt.Sprintf("%d-%d", c, i))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	view(t, s, func(tx l3.Tx) error {
		all, err := tx.Addresses().All(ctx)
		require.NoError(t, err)
		holders := map[string]bool{}
		for i, c := range all {
			require.Equal(t, netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}), c.Address)
			holders[c.PortID] = true
		}
		require.Len(t, holders, clients*each)
		a, err := tx.Addresses().FirstFree(ctx, "s", ranges("10.0.0.10", "10.0.0.57"))
		require.False(t, a.IsValid())
		return err
	})
}

func addressesGoWithPort(t *testing.T, s l3.Store) {
	ctx := t.Context()
	p := l3.Port{Meta: meta("p", "")}
	update(t, s, func(tx l3.Tx) error {
		require.NoError(t, tx.Ports().Insert(ctx, p))
		for i := range byte(4) {
			owner := []string{p.ID, "other"}[i%2]
			require.NoError(t, tx.Addresses().Claim(ctx, "s", netip.AddrFrom4([4]byte{10, 0, 0, i}), owner))
		}
		require.NoError(t, tx.Addresses().Claim(ctx, "six", netip.MustParseAddr("2001:db8::1"), p.ID))
		return tx.Ports().Delete(ctx, p.ID)
	})
	view(t, s, func(tx l3.Tx) error {
		all, err := tx.Addresses().All(ctx)
		require.NoError(t, err)
		require.Len(t, all, 2)
		a, err := tx.Addresses().FirstFree(ctx, "s", ranges("10.0.0.1", "10.0.0.9"))
		require.Equal(t, "10.0.0.2", a.String())
		return err
	})
}

func segmentClaims(t *testing.T, s l3.Store) {
	ctx := t.Context()
	update(t, s, func(tx l3.Tx) error {
		vlan := func(physical string, id uint32) l3.Segment {
			return l3.Segment{Type: "vlan", Physical: physical, ID: id}
		}
		require.NoError(t, tx.Segments().Claim(ctx, vlan("one", 100), "n"))
		require.NoError(t, tx.Segments().Claim(ctx, vlan("one", 101), "n"))
		require.NoError(t, tx.Segments().Claim(ctx, vlan("two", 100), "m"), "another physical network")
		require.NoError(t, tx.Segments().Claim(ctx, l3.Segment{Type: "vxlan", ID: 100}, "m"), "another type")
		flat := l3.Segment{Type: "flat", Physical: "one"}
		require.NoError(t, tx.Segments().Claim(ctx, flat, "f"))
		require.ErrorIs(t, tx.Segments().Claim(ctx, flat, "g"), l3.ErrTaken)
		local := l3.Segment{Type: "local"}
		require.NoError(t, tx.Segments().Claim(ctx, local, "l"))
		require.NoError(t, tx.Segments().Claim(ctx, local, "k"), "a local network is nobody else's")
		id, err := tx.Segments().FirstFree(ctx, "vlan", "one", 100, 200)
		require.NoError(t, err)
		require.EqualValues(t, 102, id)
		id, err = tx.Segments().FirstFree(ctx, "vlan", "one", 100, 101)
		require.NoError(t, err)
		require.Zero(t, id)
		require.NoError(t, tx.Segments().Release(ctx, "n"))
		require.NoError(t, tx.Segments().Release(ctx, "n"), "nothing to release is fine")
		id, err = tx.Segments().FirstFree(ctx, "vlan", "one", 100, 101)
		require.NoError(t, err)
		require.EqualValues(t, 100, id)
		id, err = tx.Segments().FirstFree(ctx, "vxlan", "", 100, 1<<24-1)
		require.NoError(t, err)
		require.EqualValues(t, 101, id)
		all, err := tx.Segments().All(ctx)
		require.Equal(t, map[l3.Segment]string{vlan("two", 100): "m", {Type: "vxlan", ID: 100}: "m", flat: "f"}, all)
		return err
	})
}

func epochs(t *testing.T, s l3.Store) {
	ctx := t.Context()
	next := func(tx l3.Tx) uint64 {
		epoch, err := tx.Deployment().NextEpoch(ctx)
		require.NoError(t, err)
		return epoch
	}
	update(t, s, func(tx l3.Tx) error {
		require.EqualValues(t, 1, next(tx))
		require.EqualValues(t, 2, next(tx))
		return nil
	})
	update(t, s, func(tx l3.Tx) error {
		require.EqualValues(t, 3, next(tx), "no epoch is given twice")
		d, err := tx.Deployment().Get(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 3, d.Epoch)
		require.NoError(t, tx.Deployment().RaiseEpoch(ctx, 2))
		require.EqualValues(t, 4, next(tx), "it was higher already")
		require.NoError(t, tx.Deployment().RaiseEpoch(ctx, 40))
		require.EqualValues(t, 41, next(tx))
		return nil
	})
}

func hosted(t *testing.T, s l3.Store) {
	ctx := t.Context()
	one, two, three := l3.RouterState{ID: "1", AgentID: "a"}, l3.RouterState{ID: "2", AgentID: "a"}, l3.RouterState{ID: "3"}
	counted := func(tx l3.Tx, want map[string]int) {
		t.Helper()
		counts, err := tx.RouterStates().Hosted(ctx)
		require.NoError(t, err)
		require.Equal(t, want, counts)
	}
	update(t, s, func(tx l3.Tx) error {
		counted(tx, map[string]int{})
		require.NoError(t, tx.RouterStates().Insert(ctx, one, two, three))
		counted(tx, map[string]int{"a": 2})
		require.ErrorIs(t, tx.RouterStates().Insert(ctx, one), l3.ErrTaken)
		counted(tx, map[string]int{"a": 2})
		one.AgentID, three.AgentID = "b", "b"
		require.NoError(t, tx.RouterStates().Update(ctx, &one))
		require.NoError(t, tx.RouterStates().Refresh(ctx, &three))
		counted(tx, map[string]int{"a": 1, "b": 2})
		one.Revision = 7
		require.NoError(t, tx.RouterStates().Update(ctx, &one))
		counted(tx, map[string]int{"a": 1, "b": 2})
		two.AgentID = ""
		require.NoError(t, tx.RouterStates().Update(ctx, &two))
		counted(tx, map[string]int{"b": 2})
		require.NoError(t, tx.RouterStates().Delete(ctx, one.ID))
		require.NoError(t, tx.RouterStates().Delete(ctx, two.ID))
		counted(tx, map[string]int{"b": 1})
		return nil
	})
	failed := errors.New("failed")
	require.ErrorIs(t, s.Update(ctx, func(tx l3.Tx) error { return errors.Join(tx.RouterStates().Delete(ctx, three.ID), failed) }), failed)
	view(t, s, func(tx l3.Tx) error { counted(tx, map[string]int{"b": 1}); return nil })
}

func quotaLimits(t *testing.T, s l3.Store) {
	ctx := t.Context()
	update(t, s, func(tx l3.Tx) error {
		q := tx.Quotas()
		got, err := q.Get(ctx, "p")
		require.NoError(t, err)
		require.Empty(t, got)
		require.NoError(t, q.Set(ctx, "p", map[string]int{"network": 3, "router": -1}))
		require.NoError(t, q.Set(ctx, "p", map[string]int{"network": 4, "port": 0}))
		require.NoError(t, q.Set(ctx, "p", nil))
		require.NoError(t, q.Set(ctx, "q", map[string]int{"network": 5}))
		want := map[string]int{"network": 4, "router": -1, "port": 0}
		got, err = q.Get(ctx, "p")
		require.NoError(t, err)
		require.Equal(t, want, got)
		all, err := q.List(ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]map[string]int{"p": want, "q": {"network": 5}}, all)
		require.NoError(t, q.Delete(ctx, "p"))
		require.NoError(t, q.Delete(ctx, "p"), "nothing to delete is fine")
		all, err = q.List(ctx)
		require.Equal(t, map[string]map[string]int{"q": {"network": 5}}, all)
		return err
	})
}

// outboxOrder adds from many goroutines while another takes away, which must see every notice once,
// in the order of its sender.
func outboxOrder(t *testing.T, s l3.Store) {
	ctx := t.Context()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	notice := l3.Notice{Host: "h", RouterID: "r", Epoch: 7, Gone: true, At: at}
	update(t, s, func(tx l3.Tx) error { return tx.Outbox().Add(ctx, notice, l3.Notice{Host: "i"}) })
	update(t, s, func(tx l3.Tx) error {
		list, err := tx.Outbox().Next(ctx, 1)
		require.NoError(t, err)
		require.Len(t, list, 1)
		notice.Seq = list[0].Seq
		require.Equal(t, notice, list[0])
		require.NoError(t, tx.Outbox().Done(ctx, notice.Seq))
		list, err = tx.Outbox().Next(ctx, 10)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Greater(t, list[0].Seq, notice.Seq)
		return tx.Outbox().Done(ctx, list[0].Seq)
	})

	const clients, each = 4, 10
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for i := range each {
				n := l3.Notice{Host: fmt.Sprint(c), Epoch: uint64(i + 1)}
				if err := s.Update(ctx, func(tx l3.Tx) error { return tx.Outbox().Add(ctx, n) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	last := map[string]uint64{}
	for seen, seq := 0, uint64(0); seen < clients*each && !t.Failed(); {
		var list []l3.Notice
		view(t, s, func(tx l3.Tx) (err error) {
			list, err = tx.Outbox().Next(ctx, 3)
			return err
		})
		for _, n := range list {
			require.Greater(t, n.Seq, seq)
			require.Equal(t, last[n.Host]+1, n.Epoch, "a notice is missing or twice there")
			seq, last[n.Host] = n.Seq, n.Epoch
			seen++
		}
		if len(list) > 0 {
			update(t, s, func(tx l3.Tx) error { return tx.Outbox().Done(ctx, seq) })
		}
	}
	group.Wait()
}
