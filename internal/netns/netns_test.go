package netns_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/needs"
)

func TestCreateOpensPreparesAndRemoves(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	prepared := false
	f, err := netns.Create(dir, "a", "mark\n", func() error {
		_, err := os.Stat(filepath.Join(dir, "a"))
		require.NoError(t, err, "the name is taken before the namespace is made")
		mark, err := netns.Mark(filepath.Join(dir, "a"))
		require.NoError(t, err)
		require.Equal(t, "mark\n", mark, "a process that dies here leaves its mark")
		prepared = true
		return nil
	})
	require.NoError(t, err)
	defer f.Close()
	require.True(t, prepared)

	id, err := netns.Identify(filepath.Join(dir, "a"))
	require.NoError(t, err)
	same, err := netns.IdentifyFD(int(f.Fd()))
	require.NoError(t, err)
	require.Equal(t, id, same)
	mark, err := netns.Mark(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Empty(t, mark)

	_, err = netns.Create(dir, "a", "", nil)
	require.ErrorIs(t, err, os.ErrExist)
	require.NoError(t, netns.Remove(dir, "a"))
	require.NoError(t, netns.Remove(dir, "a"), "absent is fine")
	_, err = os.Stat(filepath.Join(dir, "a"))
	require.ErrorIs(t, err, os.ErrNotExist)
	t.Cleanup(func() { _ = netns.Remove(filepath.Dir(dir), filepath.Base(dir)) }) // dir itself was made a mount point
}

// TestRemoveFollowsNoLink: a symbolic link among the names is removed, and what it points to stays
// mounted.
func TestRemoveFollowsNoLink(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	f, err := netns.Create(dir, "a", "", nil)
	require.NoError(t, err)
	defer f.Close()
	t.Cleanup(func() { _ = netns.Remove(filepath.Dir(dir), filepath.Base(dir)) }) // dir itself was made a mount point
	target := filepath.Join(dir, "a")
	require.NoError(t, os.Symlink(target, filepath.Join(dir, "link")))
	before, err := netns.Identify(target)
	require.NoError(t, err)
	require.NoError(t, netns.Remove(dir, "link"))
	_, err = os.Lstat(filepath.Join(dir, "link"))
	require.ErrorIs(t, err, os.ErrNotExist)
	after, err := netns.Identify(target)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, netns.Remove(dir, "a"))
}

func TestDoEntersAndLeaves(t *testing.T) {
	needs.Root(t)
	f, err := netns.New(nil)
	require.NoError(t, err)
	defer f.Close()
	outside, err := net.Interfaces()
	require.NoError(t, err)
	boom := errors.New("boom")
	err = netns.Do(int(f.Fd()), func() error {
		links, err := net.Interfaces()
		require.NoError(t, err)
		require.Len(t, links, 1, "a new namespace has lo alone")
		return boom
	})
	require.ErrorIs(t, err, boom)
	again, err := net.Interfaces()
	require.NoError(t, err)
	require.Len(t, again, len(outside))
}

func TestFailedPreparationLeavesNothing(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	t.Cleanup(func() { _ = netns.Remove(filepath.Dir(dir), filepath.Base(dir)) })
	boom := errors.New("boom")
	_, err := netns.Create(dir, "a", "", func() error { return boom })
	require.ErrorIs(t, err, boom)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestOpenRefusesWhatIsNoNamespace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := netns.Open(path)
	require.ErrorIs(t, err, netns.ErrNotNamespace)
}
