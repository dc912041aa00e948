package service_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// The rules on a database in memory, without an API, a bus or agents.
func Example() {
	ctx := context.Background()
	store, err := sqlstore.Open(ctx, "sqlite::memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	svc, err := service.New(service.Config{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	member := l3.Caller{Project: "demo", Roles: []string{l3.RoleMember}}
	routers, err := svc.CreateRouters(ctx, member, l3.RouterSpec{Name: new("edge")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(routers[0].Name, routers[0].ProjectID)

	stranger := l3.Caller{Project: "other", Roles: []string{l3.RoleMember}}
	_, err = svc.GetRouter(ctx, stranger, routers[0].ID)
	fmt.Println(errors.Is(err, l3.ErrNotFound))
	// Output:
	// edge demo
	// true
}
