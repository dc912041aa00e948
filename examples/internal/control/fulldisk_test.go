package control_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/disk"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestReadinessWhenTheDatabaseIsFull: the process is not ready from the first write that fails
// until one works again.
func TestReadinessWhenTheDatabaseIsFull(t *testing.T) {
	if !needs.MountNamespace(t) {
		return
	}
	dir := t.TempDir()
	disk.Small(t, dir, "16m")
	s := start(t, "--database=sqlite:"+filepath.Join(dir, "l3.db"))
	eventually(t, "it is ready", s.ready)
	for range 2 {
		ballast := filepath.Join(dir, "ballast")
		require.NoError(t, disk.Fill(ballast))
		create := func() int {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"routers", strings.NewReader(`{"router":{}}`))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			got, err := http.DefaultTransport.RoundTrip(r)
			require.NoError(t, err)
			got.Body.Close()
			return got.StatusCode
		}
		eventually(t, "writes fail", func() bool { return create() >= 500 })
		eventually(t, "it is not ready", func() bool { return !s.ready() })
		require.Contains(t, s.says("/readyz"), "database")
		require.NoError(t, os.Remove(ballast))
		eventually(t, "it is ready again", s.ready)
	}
}
