package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/l3"
)

// lists answers with routers that it has at hand, so that what is measured is this package alone.
type lists struct {
	Service
	routers []l3.Router
}

func (s lists) Allows(l3.Caller, string, l3.Relation) bool { return true }

func (s lists) ListRouters(context.Context, l3.Caller, l3.Query) ([]l3.Router, error) {
	return s.routers, nil
}

func (s lists) GetRouter(context.Context, l3.Caller, string) (l3.Router, error) {
	return s.routers[0], nil
}

func BenchmarkRouters(b *testing.B) {
	s := lists{routers: make([]l3.Router, 1000)}
	for i := range s.routers {
		s.routers[i] = l3.Router{
			Meta: l3.Meta{ID: uuid.NewString(), ProjectID: uuid.NewString(), Name: fmt.Sprintf("router-%d", i), Tags: []string{"a", "b"}},
			Gateway: &l3.GatewayInfo{NetworkID: uuid.NewString(),
				FixedIPs: []l3.FixedIP{{SubnetID: uuid.NewString(), IPAddress: netip.MustParseAddr("203.0.113.9")}}},
			Routes: []l3.Route{{Destination: netip.MustParsePrefix("10.0.0.0/8"), NextHop: netip.MustParseAddr("10.0.0.9")}},
		}
	}
	h := New(Config{Service: s, Auth: None{Default: l3.System()}})
	for name, target := range map[string]string{"list-1000": "/v2.0/routers", "show": "/v2.0/routers/x", "ids-1000": "/v2.0/routers?fields=id"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+target, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
