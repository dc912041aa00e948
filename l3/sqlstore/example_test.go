package sqlstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// A change is made whole or not at all.
func Example() {
	ctx := context.Background()
	store, err := sqlstore.Open(ctx, "sqlite::memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	err = store.Update(ctx, func(tx l3.Tx) error {
		return tx.Routers().Insert(ctx, l3.Router{Meta: l3.Meta{ID: "r1", Name: "edge"}})
	})
	if err != nil {
		log.Fatal(err)
	}
	err = store.View(ctx, func(tx l3.Tx) error {
		router, err := tx.Routers().Get(ctx, "r1")
		fmt.Println(router.Name)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// edge
}
