package sqlstore_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// TestFilesAreTheOwnersAlone: whatever the umask, and through a link that leads nowhere yet. What
// is there keeps its permissions.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("elsewhere.db", link))
	there := filepath.Join(dir, "there.db")
	require.NoError(t, os.WriteFile(there, nil, 0o600))
	require.NoError(t, os.Chmod(there, 0o644))
	for path, want := range map[string]os.FileMode{filepath.Join(dir, "new.db"): 0o600, link: 0o600, there: 0o644} {
		address := "sqlite:" + path + "?synchronous=normal"
		before := syscall.Umask(0) // of the process: other tests may make files that are open to more, for a moment
		s, err := sqlstore.Open(t.Context(), address)
		syscall.Umask(before)
		require.NoError(t, err)
		require.NoError(t, s.Update(t.Context(), func(tx l3.Tx) error {
			return tx.Quotas().Set(context.Background(), "p", map[string]int{"router": 1})
		}))
		for _, file := range sqlstore.Files(address) {
			if path == link && file != path {
				continue // these are beside what it leads to
			}
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, want, info.Mode().Perm(), file)
		}
		require.NoError(t, s.Close())
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "no more is left than three databases and a link")
	require.Nil(t, sqlstore.Files("sqlite::memory:"))
	require.Nil(t, sqlstore.Files("postgres://host/name"))
}
