package powerloss_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/powerloss"
)

// TestWhatIsSyncedStays: a loss of power takes back the rest.
func TestWhatIsSyncedStays(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	d, err := powerloss.Mount(dir)
	require.NoError(t, err)
	write := func(name, text string, flags int, sync bool) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND|flags, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		if sync {
			require.NoError(t, f.Sync())
		}
		require.NoError(t, f.Close())
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	write("a/b/synced", "one ", 0, true)
	write("a/b/synced", "lost", 0, false)
	write("a/always", "two", os.O_SYNC, false)
	write("never", "three", 0, false)
	write("new", "four", 0, false)
	write("old", "five", 0, true)
	require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "old")))
	write("last", "", 0, true)
	require.NoError(t, os.Remove(filepath.Join(dir, "last")))
	text, err := os.ReadFile(filepath.Join(dir, "a/b/synced"))
	require.NoError(t, err)
	require.Equal(t, "one lost", string(text))
	require.Positive(t, d.Cut())
	_, err = os.ReadFile(filepath.Join(dir, "a/always"))
	require.Error(t, err, "there is no power")
	require.NoError(t, d.Unmount())

	require.NoError(t, d.Restore())
	t.Cleanup(func() {
		d.Cut()
		require.NoError(t, d.Unmount())
	})
	for name, want := range map[string]string{"a/b/synced": "one ", "a/always": "two", "never": "", "old": "four", "last": ""} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err, name)
		require.Equal(t, want, string(text), name)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4)
}
