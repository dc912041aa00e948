package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/disk"
)

// TestCacheOnABadDisk: the agent serves its host from the message queue, is not ready and says why,
// and keeps everything once the disk is good again.
func TestCacheOnABadDisk(t *testing.T) {
	ballast := func(dir string) string { return filepath.Join(dir, "ballast") }
	for name, c := range map[string]struct{ harm, heal func(dir string) error }{
		"full": {
			func(dir string) error { return disk.Fill(ballast(dir)) },
			func(dir string) error { return os.Remove(ballast(dir)) },
		},
		"read-only": {
			func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") },
			func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT, "") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			dir := t.TempDir()
			disk.Small(t, dir, "64k")
			require.NoError(t, c.harm(dir))
			r.flags.Cache = filepath.Join(dir, "cache")
			b := newBus(t, loopback)
			b.put(office(), 1)
			reports := b.hear("reports.host1")
			p := r.start(b.login())
			next(t, reports, applied)
			_, client := r.neighbours()
			require.NoError(t, client.Ping(t.Context(), "203.0.113.5"))
			synced := func() bool { n, ok := p.metric("l3kit_agent_synced"); return ok && n == 1 }
			eventually(t, synced, "it has read the list")
			require.False(t, p.ready())
			require.Contains(t, p.said.String(), "cannot write the cache")

			require.NoError(t, c.heal(dir))
			eventually(t, p.ready, "the disk is good again")
			kept, err := agent.ReadCache(r.flags.Cache)
			require.NoError(t, err)
			require.Len(t, kept.Routers, 1)
			require.Equal(t, testDeployment, kept.Deployment)
			p.end()
		})
	}
}

// TestInspectWithoutACache: the deployment of a router that nothing on disk tells of is read from
// the kernel. With the cache, plan says when somebody has taken it away.
func TestInspectWithoutACache(t *testing.T) {
	r := newRig(t)
	b := newBus(t, loopback)
	b.put(office(), 1)
	reports := b.hear("reports.host1")
	p := r.start(b.login())
	next(t, reports, applied)
	eventually(t, p.ready, "it runs")
	p.end()
	text, err := r.runs(&Plan{Machine: r.flags.Machine})
	require.NoError(t, err, "%s", text)

	f, err := netns.Open(filepath.Join(r.machine.Dir, dataplane.NamespaceName(office().ID)))
	require.NoError(t, err)
	defer f.Close()
	h, err := netlink.NewHandleAt(vnetns.NsHandle(f.Fd()))
	require.NoError(t, err)
	defer h.Close()
	lo, err := h.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, h.LinkDelAltName(lo, "l3kit-"+testDeployment))
	text, err = r.runs(&Plan{Machine: r.flags.Machine})
	require.ErrorIs(t, err, errDrift)
	require.Contains(t, text, "+ owner qrouter-"+office().ID+": "+testDeployment)
	require.NoError(t, h.LinkAddAltName(lo, "l3kit-"+testDeployment))

	require.NoError(t, os.RemoveAll(r.flags.Cache))
	text, err = r.runs(&Inspect{Machine: r.flags.Machine})
	require.NoError(t, err)
	require.Contains(t, text, "not applied by this agent")
	require.Contains(t, text, "deployment "+testDeployment)
}
