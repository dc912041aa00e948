package rest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// The API over a service. The identity headers must come from a proxy that checks them.
func Example() {
	store, err := sqlstore.Open(context.Background(), "sqlite::memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	svc, err := service.New(service.Config{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	api := rest.New(rest.Config{Service: svc, Auth: rest.None{}})

	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/v2.0/routers", nil)
	answer := httptest.NewRecorder()
	api.ServeHTTP(answer, r)
	fmt.Println(answer.Code)

	r.Header.Set("X-Project-Id", "demo")
	r.Header.Set("X-Roles", "member")
	answer = httptest.NewRecorder()
	api.ServeHTTP(answer, r)
	fmt.Println(answer.Code, answer.Body)
	// Output:
	// 401
	// 200 {"routers":[]}
}
