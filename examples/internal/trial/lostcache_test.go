package trial_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// TestHostsThatLostTheirCache: agents that start without a cache, under a server with an empty
// database, remove nothing. The kernel tells them whose the routers are and which addresses they
// have, and those are not given to others. Under their own server the routers are adopted.
func TestHostsThatLostTheirCache(t *testing.T) {
	db := newDatabase(t)
	f := &lostAndFound{
		site: start(t, deployment.Config{Database: db.URL, Hosts: 2, AgentDownTime: 20 * time.Second, Heartbeat: time.Second}),
		db:   db,
	}
	f.server = f.Servers[0]
	f.busDir = f.flag("--bus-dir")
	f.tenants = f.site.tenants("t", 4)
	f.active(f.api(), f.tenants...)
	for i, tenant := range f.tenants {
		f.serve(f.Hosts[i%len(f.Hosts)], tenant)
	}
	f.kept = f.namespaces()
	f.sound("at the beginning")

	another, err := f.db.server.Database(within(t, time.Minute))
	require.NoError(t, err)
	var foreign *deployment.Tenant
	f.lossless("without a cache", f.tenants, func() {
		f.stop()
		f.loseCaches()
		f.set("--database", another)
		f.set("--bus-dir", f.busDir+".empty")
		f.start()
		f.showsOrphans(f.hosted())
		for host, owners := range f.owners() {
			require.Len(t, owners, 1, "the orphans of %s belong to one deployment", host)
			require.NotContains(t, owners, "", "the orphans of %s", host)
		}
		external, err := deployment.NewExternal(within(t, 20*time.Second), f.api(), deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
		require.NoError(t, err)
		foreign = f.foreign(external)

		f.stop()
		f.loseCaches()
		f.set("--database", f.db.URL)
		f.set("--bus-dir", f.busDir)
		f.start()
		f.active(f.api(), f.tenants...)
	})
	home := ""
	require.Eventually(t, func() bool {
		for host, all := range f.orphans() {
			home = host
			return len(all) == 1 && all[0] == foreign.Router
		}
		return false
	}, lab.Patience(30*time.Second), 50*time.Millisecond, "the other deployment's router is the only orphan")
	f.removeOrphan(home, foreign.Router)
	f.sound("without a cache")
}

// loseCaches ends the agents, takes their caches away, and starts them.
func (f *lostAndFound) loseCaches() {
	f.Helper()
	for _, h := range f.Hosts {
		require.NoError(f, h.Agent.Kill())
		require.NoError(f, h.Do(func() error {
			for _, a := range h.Agent.Args {
				if dir, ok := strings.CutPrefix(a, "--cache="); ok {
					if _, err := os.Stat(dir); err != nil {
						return err
					}
					return os.RemoveAll(dir)
				}
			}
			return os.ErrNotExist
		}))
		require.NoError(f, h.Agent.Start())
	}
}

// owners are the deployments that the API shows of orphans, by host.
func (f *lostAndFound) owners() map[string]map[string]bool {
	f.Helper()
	var answer struct {
		Agents []struct {
			Host    string
			Orphans []struct{ Deployment string }
		}
	}
	_, err := f.api().Get(within(f.T, 20*time.Second), f.api().ServiceURL("agents"), &answer, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	require.NoError(f, err)
	all := map[string]map[string]bool{}
	for _, a := range answer.Agents {
		for _, o := range a.Orphans {
			if all[a.Host] == nil {
				all[a.Host] = map[string]bool{}
			}
			all[a.Host][o.Deployment] = true
		}
	}
	return all
}
