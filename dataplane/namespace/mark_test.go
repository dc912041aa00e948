package namespace

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestLinksAreNotOurs: a link, a directory or a foreign file in the place of a name is passed over,
// and keeps no router from being listed.
func TestLinksAreNotOurs(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	at := func(router string) string { return filepath.Join(dir, dataplane.NamespaceName(router)) }
	f, err := netns.Create(dir, dataplane.NamespaceName("ours"), mark("ours"), func() error {
		_, err := claim("ours", "", nil)
		return err
	})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	t.Cleanup(func() {
		require.NoError(t, netns.Remove(dir, dataplane.NamespaceName("ours")))
		require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) // which Create has made a place for mounts
	})
	require.NoError(t, os.Symlink(at("ours"), at("link")))
	require.NoError(t, os.Symlink("/proc/1/ns/net", at("init")))
	require.NoError(t, os.Symlink("/nowhere", at("dangling")))
	require.NoError(t, os.Mkdir(at("directory"), 0o700))
	require.NoError(t, os.WriteFile(at("file"), []byte("something"), 0o600))
	routers, err := owned(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"ours"}, routers)
}
