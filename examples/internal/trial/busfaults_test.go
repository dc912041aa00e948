package trial_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/disk"
	"github.com/l3kit/l3kit/internal/test/intrusion"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/powerloss"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// intruderHost is a host of which nothing exists but its login.
const intruderHost = "intruder"

// intruder holds the login of one host, and sends everything that could reach another.
func (f *lostAndFound) intruder() {
	victim := f.Hosts[1]
	theirs := slices.Sorted(maps.Keys(f.kept[victim.Name]))[0]
	nc := f.login(intruderHost)
	defer nc.Close()
	f.lossless("intruder", f.tenants, func() {
		before := f.onOthers()
		sent, err := intrusion.Intrusion{
			Host: intruderHost, Router: theirs, Victim: natsbus.Token(victim.Name), Theirs: natsbus.Token(theirs),
		}.Run(nc)
		require.NoError(f, err)
		began := time.Now()
		source, err := natsbus.NewSource(nc, intruderHost, nil)
		require.NoError(f, err)
		require.Eventually(f, func() bool {
			return source.Heartbeat(within(f.T, 20*time.Second), agent.Heartbeat{}) == nil
		}, lab.Patience(60*time.Second), 100*time.Millisecond, "the bus takes from it again, too")
		f.Logf("%d messages, and what the host sends was discarded for %s", sent, time.Since(began).Round(time.Millisecond))
		require.Equal(f, before, f.onOthers())
	})
}

// login connects to the bus as a host.
func (f *lostAndFound) login(host string) (nc *nats.Conn) {
	f.Helper()
	secret, err := os.ReadFile(f.flag("--bus-secret-file"))
	require.NoError(f, err)
	require.NoError(f, f.server.Do(func() (err error) {
		nc, err = natsbus.Connect(natsbus.Login{
			URLs: []string{"nats://" + f.flag("--bus-listen")}, Host: host, Password: natsbus.Credential(secret, host),
		})
		return err
	}))
	return nc
}

// onOthers is what the bus has, but what is the intruder's and what changes all the time.
func (f *lostAndFound) onOthers() map[string]string {
	f.Helper()
	all := map[string]string{}
	f.onBus(func(ctx context.Context, js jetstream.JetStream) {
		for _, name := range intrusion.Streams {
			s, err := js.Stream(ctx, name)
			require.NoError(f, err)
			info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
			require.NoError(f, err)
			config, err := json.Marshal(info.Config)
			require.NoError(f, err)
			all["stream "+name] = fmt.Sprintf("%s %s", info.Created, config)
			for subject := range info.State.Subjects {
				if name == "KV_agents" || name == "reports" || strings.HasSuffix(subject, "=") || strings.HasSuffix(subject, "."+intruderHost) {
					continue
				}
				m, err := s.GetLastMsgForSubject(ctx, subject)
				require.NoError(f, err)
				all[subject] = fmt.Sprintf("%d %s", m.Sequence, m.Data)
			}
			consumers := s.ListConsumers(ctx)
			for c := range consumers.Info() {
				if c.Config.Durable != "" || slices.ContainsFunc(f.Hosts, func(h *deployment.Host) bool { return c.Name == natsbus.Token(h.Name) }) {
					all["consumer "+name+" "+c.Name] = c.Created.String()
				}
			}
			require.NoError(f, consumers.Err())
		}
	})
	require.Greater(f, len(all), len(f.tenants)+len(f.Hosts))
	return all
}

// badPeers sends heartbeats with tunnel addresses that nobody can send to.
func (f *lostAndFound) badPeers() {
	nc := f.login(intruderHost)
	defer nc.Close()
	source, err := natsbus.NewSource(nc, intruderHost, nil)
	require.NoError(f, err)
	f.lossless("bad peers", f.tenants, func() {
		before := f.onOthers()
		for _, address := range []any{
			"224.0.0.1", "127.0.0.1", "::1", "0.0.0.0", "::", "255.255.255.255", "240.0.0.1", "0.1.2.3", "ff02::1", "fe80::1", "fe80::1%eth0",
			"2001:db8::1%eth0", "::ffff:198.18.1.200", "", "host1", "198.18.1", 7, nil, []string{"198.18.1.200"},
		} {
			require.NoError(f, source.Heartbeat(within(f.T, 20*time.Second), agent.Heartbeat{
				StartedAt: time.Now(), Instance: "intruder", Machine: "intruder", Capabilities: agent.Capabilities{Other: map[string]any{"tunneling_ip": address}},
			}))
			time.Sleep(20 * time.Millisecond) // so that the next one does not take its place before it was read
		}
		require.Eventually(f, func() bool {
			_, heard := f.agents()[intruderHost]
			return heard
		}, lab.Patience(20*time.Second), 50*time.Millisecond, "the heartbeats themselves count")
		require.Equal(f, before, f.onOthers())
		f.onBus(func(ctx context.Context, js jetstream.JetStream) {
			s, err := js.Stream(ctx, "KV_peers")
			require.NoError(f, err)
			_, err = s.GetLastMsgForSubject(ctx, "$KV.peers."+intruderHost)
			require.ErrorIs(f, err, jetstream.ErrMsgNotFound)
		})
	})
	require.NoError(f, agents.Delete(within(f.T, 20*time.Second), f.api(), f.agents()[intruderHost]).ExtractErr())
}

// agents are the IDs of the agents, by their hosts.
func (f *lostAndFound) agents() map[string]string {
	f.Helper()
	pages, err := agents.List(f.api(), nil).AllPages(within(f.T, 20*time.Second))
	require.NoError(f, err)
	list, err := agents.ExtractAgents(pages)
	require.NoError(f, err)
	ids := map[string]string{}
	for _, a := range list {
		ids[a.Host] = a.ID
	}
	return ids
}

// lostStreams deletes every stream of the bus, one after the other, as an administrator of the bus
// can.
func (f *lostAndFound) lostStreams() {
	f.lossless("lost streams", f.tenants, func() {
		for i, name := range intrusion.Streams {
			f.onBus(func(ctx context.Context, js jetstream.JetStream) { require.NoError(f, js.DeleteStream(ctx, name)) })
			f.changes(f.tenants[10+i]) // which is realised only by way of what was repaired
			f.onBus(func(ctx context.Context, js jetstream.JetStream) {
				require.Eventually(f, func() bool {
					_, err := js.Stream(ctx, name)
					return err == nil
				}, lab.Patience(20*time.Second), 50*time.Millisecond, "stream %s is there again", name)
			})
			f.ready(f.server)
		}
	})
}

// asks asks for a change of a tenant's router that does no harm to its packets, and takes it back.
func (f *lostAndFound) asks(tenant *deployment.Tenant) {
	f.Helper()
	for _, all := range [][]routers.Route{{{DestinationCIDR: "192.0.2.0/24", NextHop: tenant.Fixed.String()}}, {}} {
		_, err := routers.Update(within(f.T, 20*time.Second), f.api(), tenant.Router, routers.UpdateOpts{Routes: &all}).Extract()
		require.NoError(f, err)
	}
}

// changes does so, and waits until it is realised.
func (f *lostAndFound) changes(tenants ...*deployment.Tenant) {
	f.Helper()
	for _, tenant := range tenants {
		f.asks(tenant)
	}
	f.active(f.api(), tenants...)
}

// fullBus has the bus on a disk that is full for some seconds.
func (f *lostAndFound) fullBus() {
	small := f.busDir + ".small"
	require.NoError(f, os.Mkdir(small, 0o700))
	require.NoError(f, unix.Mount("tmpfs", small, "tmpfs", 0, "size=96m,mode=700"))
	f.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) }) // it is unmounted, if all went well
	f.lossless("full bus", f.tenants, func() {
		f.moveBus(small)
		pid := f.server.Process.PID()
		ballast := filepath.Join(small, "ballast")
		require.NoError(f, disk.Fill(ballast))
		f.unready("bus")
		f.asks(f.tenants[14]) // the database takes it
		time.Sleep(3 * time.Second)
		f.unready("bus")
		require.NoError(f, os.Remove(ballast))
		f.ready(f.server)
		f.changes(f.tenants[14], f.tenants[15])
		require.Equal(f, pid, f.server.Process.PID(), "it is the same process")
		f.moveBus(f.busDir)
	})
	require.NoError(f, unix.Unmount(small, 0))
}

// moveBus has the bus keep what it has in another directory, which is emptied first.
func (f *lostAndFound) moveBus(dir string) {
	f.Helper()
	f.stop()
	old, err := os.ReadDir(dir)
	require.NoError(f, err)
	for _, e := range old {
		require.NoError(f, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	require.NoError(f, os.CopyFS(dir, os.DirFS(f.flag("--bus-dir"))))
	require.NoError(f, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	}))
	f.set("--bus-dir", dir)
	f.start()
}

// powerLoss cuts the power of the server's machine while changes are published. Whatever was not
// synced to the bus's disk is lost; the database is on another machine.
func (f *lostAndFound) powerLoss() {
	dir := f.busDir + ".disk"
	require.NoError(f, os.Mkdir(dir, 0o700))
	volume, err := powerloss.Mount(dir)
	require.NoError(f, err)
	mounted := true
	f.Cleanup(func() {
		if mounted {
			volume.Cut()
			_ = volume.Unmount() // the server may still be there
		}
	})
	f.lossless("power loss", f.tenants, func() {
		f.moveBus(dir)
		var stop atomic.Bool
		var changed atomic.Int64
		var changing sync.WaitGroup
		for i, tenant := range f.tenants[16:20] {
			changing.Go(func() {
				for n := 0; !stop.Load(); n++ {
					_, err := routers.Update(f.Context(), f.api(), tenant.Router, routers.UpdateOpts{
						Routes: &[]routers.Route{{DestinationCIDR: fmt.Sprintf("192.0.%d.%d/32", 100+i, n%256), NextHop: tenant.Fixed.String()}},
					}).Extract()
					if err == nil {
						changed.Add(1)
					}
				}
			})
		}
		require.Eventually(f, func() bool { return changed.Load() > 20 }, lab.Patience(20*time.Second), 10*time.Millisecond)
		syncs := volume.Cut()
		require.NoError(f, f.server.Process.Kill())
		stop.Store(true)
		changing.Wait()
		f.Logf("%d changes, %d syncs", changed.Load(), syncs)
		require.NoError(f, volume.Unmount())
		require.NoError(f, volume.Restore())
		before := len(f.server.Process.Said())
		f.start()
		f.changes(f.tenants[16:20]...)
		require.NotContains(f, f.server.Process.Said()[before:], "the bus had lost")
		require.Empty(f, f.orphans())
		f.moveBus(f.busDir)
	})
	volume.Cut()
	mounted = false
	require.NoError(f, volume.Unmount())
}

// plantedLinks puts symbolic links where a host's agent keeps its files and the names of
// namespaces.
func (f *lostAndFound) plantedLinks() {
	h := f.Hosts[2]
	cache := f.agentFlag(h, "--cache")
	const outside = "/var/lib/l3kit/outside" // what the agent must not touch
	ids := slices.Sorted(maps.Keys(f.kept[h.Name]))
	links := map[string]string{ // to outside, by path
		filepath.Join(cache, ids[0]+".json"): "router", filepath.Join(cache, "peers"): "peers", filepath.Join(cache, "listing"): "listing",
		filepath.Join(cache, "writable"): "writable", "/run/netns/qrouter-planted": "namespace",
	}
	f.lossless("links", f.tenants, func() {
		require.NoError(f, h.Agent.Terminate(within(f.T, 20*time.Second)))
		require.NoError(f, h.Do(func() error {
			err := os.Mkdir(outside, 0o700)
			for path, name := range links {
				target := filepath.Join(outside, name)
				_ = os.Remove(path) // what the agent has there
				err = errors.Join(err, os.WriteFile(target, []byte(name), 0o600), os.Symlink(target, path))
			}
			return errors.Join(err, os.Rename(filepath.Join(cache, "lock"), filepath.Join(cache, "unlocked")),
				os.Symlink(filepath.Join(outside, "lock"), filepath.Join(cache, "lock")))
		}))
		said, status, err := h.Agent.Run(within(f.T, 20*time.Second))
		require.NoError(f, err)
		require.NotZero(f, status, said)
		require.Contains(f, said, "--cache: open "+filepath.Join(cache, "lock")+": too many levels of symbolic links")
		require.NoError(f, h.Do(func() error {
			return os.Rename(filepath.Join(cache, "unlocked"), filepath.Join(cache, "lock"))
		}))
		require.NoError(f, h.Agent.Start())
		require.NoError(f, h.Ready(within(f.T, 30*time.Second)))
		f.active(f.api(), f.tenants...)
	})
	require.Contains(f, h.Agent.Said(), ids[0]+".json is a symbolic link")
	require.NoError(f, h.Do(func() error {
		var errs []error
		for path, name := range links {
			text, err := os.ReadFile(filepath.Join(outside, name))
			if err == nil && string(text) != name {
				err = fmt.Errorf("%s was written to: %q", name, text)
			}
			errs = append(errs, err)
			if filepath.Base(path) == "writable" || filepath.Dir(path) != cache {
				errs = append(errs, os.Remove(path))
			}
		}
		_, err := os.Lstat(filepath.Join(outside, "lock"))
		require.ErrorIs(f, err, fs.ErrNotExist)
		return errors.Join(append(errs, os.RemoveAll(outside))...)
	}))
}

// unready waits until the server says that it is not ready, and why.
func (f *lostAndFound) unready(why string) {
	f.Helper()
	said := ""
	require.Eventually(f, func() bool {
		said = f.readiness(10 * time.Second)
		return strings.HasPrefix(said, why+": ")
	}, lab.Patience(30*time.Second), 50*time.Millisecond, "it is not ready because of the %s", why)
	f.Logf("not ready: %s", strings.TrimSpace(said))
}
