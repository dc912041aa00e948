package host

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBind: a port whose status changed since it was read is bound all the same; one that another
// host has taken is not.
func TestBind(t *testing.T) {
	for name, c := range map[string]struct {
		holder string // of the port, when it is read again
		bound  bool
	}{
		"another change":       {"", true},
		"taken by another one": {"other", false},
	} {
		t.Run(name, func(t *testing.T) {
			const revision = 8
			port := func(w http.ResponseWriter, host string) {
				fmt.Fprintf(w, `{"port": {"id": "p", "binding:host_id": %q, "revision_number": %d}}`, host, revision)
			}
			bound := false
			mux := http.NewServeMux()
			mux.HandleFunc("GET /v2.0/ports/p", func(w http.ResponseWriter, _ *http.Request) { port(w, c.holder) })
			mux.HandleFunc("PUT /v2.0/ports/p", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("If-Match") != fmt.Sprintf("revision_number=%d", revision) {
					w.WriteHeader(http.StatusPreconditionFailed)
					return
				}
				bound = true
				port(w, "h1")
			})
			server := httptest.NewServer(mux)
			t.Cleanup(server.Close)
			client, err := (&API{URL: server.URL}).client()
			require.NoError(t, err)

			p := apiPort{ID: "p", Revision: revision - 1}
			err = bind(t.Context(), client, &p, "h1")
			require.Equal(t, c.bound, err == nil, err)
			require.Equal(t, c.bound, bound)
			if c.bound {
				require.Equal(t, "h1", p.HostID)
			}
		})
	}
}
