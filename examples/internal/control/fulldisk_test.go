package control_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestReadinessWhenTheDatabaseIsFull: the process is not ready from the first write that fails
// until one works again.
func TestReadinessWhenTheDatabaseIsFull(t *testing.T) {
	if !needs.MountNamespace(t) {
		return
	}
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s := start(t, "--database=sqlite:"+filepath.Join(dir, "l3.db"))
	eventually(t, "it is ready", s.ready)
	for range 2 {
		ballast := filepath.Join(dir, "ballast")
		f, err := os.Create(ballast)
		require.NoError(t, err)
		for size := 1 << 20; size > 0; {
			if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
				size /= 2
			} else {
				require.NoError(t, err)
			}
		}
		require.NoError(t, f.Close())
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
