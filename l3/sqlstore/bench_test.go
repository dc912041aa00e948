package sqlstore_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// someRouter is as big as most are.
func someRouter(i int) l3.Router {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return l3.Router{
		Meta: l3.Meta{
			ID: uuid.NewString(), ProjectID: fmt.Sprintf("6f1d2a4e9c8b4f0a8f1d2a4e9c8b%04d", i%50), Name: fmt.Sprintf("router-%d", i), Tags: []string{},
			Revision: 1, CreatedAt: now, UpdatedAt: now,
		},
		AdminStateUp: true, EnableSNAT: true, Routes: []l3.Route{}, AZHints: []string{},
	}
}

// create does what the creation of a router takes.
func create(ctx context.Context, s l3.Store, r l3.Router) error {
	return s.Update(ctx, func(tx l3.Tx) error {
		if _, err := tx.Quotas().Get(ctx, r.ProjectID); err != nil {
			return err
		}
		if _, err := tx.Routers().Count(ctx, l3.Filter{Field: "project_id", Values: []any{r.ProjectID}}); err != nil {
			return err
		}
		return tx.Routers().Insert(ctx, r)
	})
}

// databases are as an operator would have them: every commit is on the disk.
func databases(b *testing.B) map[string]*sqlstore.Store {
	ctx := context.Background()
	server, err := l3test.StartPostgres(ctx)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, server.Close()) })
	address, err := server.Database(ctx)
	require.NoError(b, err)
	return map[string]*sqlstore.Store{
		"sqlite":   l3test.Open(b, "sqlite:"+b.TempDir()+"/l3.db"),
		"postgres": l3test.Open(b, address),
	}
}

func BenchmarkCreate(b *testing.B) {
	ctx := context.Background()
	for name, s := range databases(b) {
		b.Run(name, func(b *testing.B) {
			var n atomic.Int64
			b.SetParallelism(4) // clients on each of two processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					require.NoError(b, create(ctx, s, someRouter(int(n.Add(1)))))
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creations/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	ctx := context.Background()
	for name, s := range databases(b) {
		var all []l3.Router
		for i := range 1000 {
			all = append(all, someRouter(i))
		}
		require.NoError(b, s.Update(ctx, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, all...) }))
		for what, read := range map[string]func(l3.Table[l3.Router]) (int, error){
			"list-1000": func(rs l3.Table[l3.Router]) (int, error) {
				found, err := rs.List(ctx, l3.Query{})
				return len(found) - 999, err
			},
			"page-100-by-name": func(rs l3.Table[l3.Router]) (int, error) {
				found, err := rs.List(ctx, l3.Query{Sort: []l3.Sort{{Field: "name"}}, Limit: 100, Marker: all[500].ID})
				return len(found) - 99, err
			},
			"by-name": func(rs l3.Table[l3.Router]) (int, error) {
				found, err := rs.List(ctx, l3.Query{Filters: []l3.Filter{{Field: "name", Values: []any{"router-77"}}}})
				return len(found), err
			},
			"get": func(rs l3.Table[l3.Router]) (int, error) {
				_, err := rs.Get(ctx, all[123].ID)
				return 1, err
			},
		} {
			b.Run(name+"/"+what, func(b *testing.B) {
				for b.Loop() {
					require.NoError(b, s.View(ctx, func(tx l3.Tx) error {
						n, err := read(tx.Routers())
						if n != 1 {
							return fmt.Errorf("found %d too many", n-1)
						}
						return err
					}))
				}
			})
		}
	}
}

// BenchmarkFirstFree looks for an address where 10,000 are taken.
func BenchmarkFirstFree(b *testing.B) {
	ctx := context.Background()
	for name, s := range databases(b) {
		require.NoError(b, s.Update(ctx, func(tx l3.Tx) error {
			a := pool[0].First
			for range 10_000 {
				if err := tx.Addresses().Claim(ctx, subID, a, "port"); err != nil {
					return err
				}
				a = a.Next()
			}
			return nil
		}))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, s.View(ctx, func(tx l3.Tx) error {
					a, err := tx.Addresses().FirstFree(ctx, subID, pool)
					require.True(b, a.IsValid())
					return err
				}))
			}
		})
	}
}
