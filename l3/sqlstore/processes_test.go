package sqlstore_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
)

// TestSeveralStoresOnOneDatabase: what keeps the transactions of one process apart does so between
// processes too.
func TestSeveralStoresOnOneDatabase(t *testing.T) {
	for name, address := range l3test.Databases() {
		t.Run(name, func(t *testing.T) {
			database := address(t)
			stores := make([]l3.Store, 3)
			var group sync.WaitGroup
			for i := range stores {
				group.Go(func() { stores[i] = l3test.Open(t, database) }) // all of them want to make the tables
			}
			group.Wait()
			if t.Failed() {
				return
			}
			require.NoError(t, addSubnet(t.Context(), stores[0]))
			for _, s := range stores {
				for range 2 {
					group.Go(func() {
						for range 8 {
							if _, err := addPort(t.Context(), s); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			group.Wait()
			require.NoError(t, stores[1].View(t.Context(), func(tx l3.Tx) error {
				n, err := tx.Ports().Count(t.Context())
				require.Equal(t, 3*2*8, n)
				return err
			}))
			require.NoError(t, l3test.Audit(t.Context(), stores[2]))
		})
	}
}
