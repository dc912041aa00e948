package trial_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestLostAndFound has traffic through forty routers while the control plane loses its memory, is
// attacked from within, and meets faults of its machines and clients, one after the other. Each
// time no packet is lost, nothing is removed that was not deleted, the API says what the hosts
// have, and no address is in two places.
func TestLostAndFound(t *testing.T) {
	if !needs.MountNamespace(t) { // disks are mounted, of which some get full and one loses its power
		return
	}
	db := newDatabase(t)
	f := &lostAndFound{
		site: start(t, deployment.Config{
			Database: db.URL, Hosts: 4, AgentDownTime: 20 * time.Second, Heartbeat: time.Second,
			ServerFlags: []string{"--request-timeout=3s", "--write-timeout=4s", "--read-timeout=20s"},
		}),
		db: db,
	}
	f.server = f.Servers[0]
	f.busDir = f.flag("--bus-dir")
	f.tenants = f.site.tenants("t", 40)
	f.active(f.api(), f.tenants...)
	homes := f.homes(f.api(), f.tenants)
	for i, tenant := range f.tenants {
		f.serve(f.Hosts[i%len(f.Hosts)], tenant)
		require.NotEmpty(t, homes[tenant.Router])
	}
	f.kept = f.namespaces()
	f.sound("at the beginning")

	for _, trial := range []struct {
		name string
		run  func()
	}{
		{"an empty database and an empty message queue", f.emptyDatabase},
		{"an empty database under a message queue that is in use", f.emptyDatabaseOldBus},
		{"a message queue of some minutes ago", f.oldBus},
		{"a message queue without one of its keys", f.missingKey},
		{"a database that was restored", f.restoredDatabase},
		{"a database that was restored twice", f.restoredDatabase},
		{"a second agent on a host", f.secondAgent},
		{"a second machine by the name of a host", f.secondMachine},
		{"a second server with a message queue of its own", f.secondServer},
		{"a host with another name", f.renamedHost},
		{"a host with its old name and its old cache", f.oldName},

		{"a login that tries to reach other hosts", f.intruder},
		{"tunnel addresses that cannot be used", f.badPeers},
		{"streams that were deleted", f.lostStreams},

		{"a message queue on a full disk", f.fullBus},
		{"a loss of power", f.powerLoss},
		{"clients that do not read and do not write", f.clients},
		{"a database that stands still", f.frozenDatabase},
		{"a database of a newer version", f.newerSchema},
		{"symbolic links in the directories of a host", f.plantedLinks},
		{"a database on a full disk", f.fullDatabase},
	} {
		if !t.Run(trial.name, func(t *testing.T) {
			outer := f.T
			f.T = t
			defer func() { f.T = outer }()
			trial.run()
			f.sound(trial.name)
		}) {
			return // what follows would fail too
		}
	}
}

// lostAndFound is a site whose control plane goes through trials.
type lostAndFound struct {
	*site
	db      *database
	server  *deployment.Server
	busDir  string
	tenants []*deployment.Tenant
	kept    map[string]map[string]netns.ID // namespaces that must stay what they are, by host and router
}

// flag returns the value of a flag that the server was started with.
func (f *lostAndFound) flag(name string) string {
	f.Helper()
	return f.flagOf(f.server.Process, name)
}

// agentFlag returns the value of a flag that a host's agent was started with.
func (f *lostAndFound) agentFlag(h *deployment.Host, name string) string {
	f.Helper()
	return f.flagOf(h.Agent, name)
}

func (f *lostAndFound) flagOf(p *deployment.Program, name string) string {
	f.Helper()
	for _, a := range p.Args {
		if value, ok := strings.CutPrefix(a, name+"="); ok {
			return value
		}
	}
	f.Fatalf("%s has no %s", p.Name, name)
	return ""
}

// set changes a flag for the next start of the server.
func (f *lostAndFound) set(name, value string) {
	f.Helper()
	i := slices.IndexFunc(f.server.Process.Args, func(a string) bool { return strings.HasPrefix(a, name+"=") })
	require.GreaterOrEqual(f, i, 0)
	f.server.Process.Args[i] = name + "=" + value
}

func (f *lostAndFound) stop() {
	f.Helper()
	require.NoError(f, f.server.Process.Terminate(within(f.T, 20*time.Second)))
}

func (f *lostAndFound) start() {
	f.Helper()
	require.NoError(f, f.server.Process.Start())
	f.ready(f.server)
}

// sound requires that everything is as it should be: each router in the place that the API names,
// in the namespace that it always had, ACTIVE, its packets passing, and no address in two places.
func (f *lostAndFound) sound(what string) {
	f.Helper()
	f.active(f.api(), f.tenants...)
	f.lossless(what+": afterwards", f.tenants, func() {})
	homes, now := f.homes(f.api(), f.tenants), f.namespaces()
	require.Equal(f, f.kept, now, "%s: namespaces", what)
	places := map[string][]string{}
	for host, all := range now {
		for id := range all {
			places[id] = append(places[id], host)
		}
	}
	addresses := map[netip.Addr]string{}
	for _, tenant := range f.tenants {
		require.Equal(f, []string{homes[tenant.Router]}, places[tenant.Router], "%s: router of %s", what, tenant.Name)
		require.Empty(f, addresses[tenant.Floating], "%s: %s of %s", what, tenant.Floating, tenant.Name)
		addresses[tenant.Floating] = tenant.Name
	}
}

// orphans are those that the API shows, by host.
func (f *lostAndFound) orphans() map[string][]string {
	f.Helper()
	var answer struct {
		Agents []struct {
			Host    string
			Orphans []struct {
				RouterID  string       `json:"router_id"`
				Addresses []netip.Addr `json:"addresses"`
				Conflicts []netip.Addr `json:"conflicts"`
			}
		}
	}
	_, err := f.api().Get(within(f.T, 20*time.Second), f.api().ServiceURL("agents"), &answer, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	require.NoError(f, err)
	all := map[string][]string{}
	for _, a := range answer.Agents {
		for _, o := range a.Orphans {
			require.Empty(f, o.Conflicts)
			require.NotEmpty(f, o.Addresses)
			all[a.Host] = append(all[a.Host], o.RouterID)
		}
		slices.Sort(all[a.Host])
	}
	return all
}

// showsOrphans waits until the API shows exactly these.
func (f *lostAndFound) showsOrphans(want map[string][]string) {
	f.Helper()
	require.Eventually(f, func() bool {
		got := f.orphans()
		return fmt.Sprint(got) == fmt.Sprint(want)
	}, lab.Patience(30*time.Second), 50*time.Millisecond, "the API shows the orphans %v", want)
}

// hosted lists the routers by host.
func (f *lostAndFound) hosted() map[string][]string {
	all := map[string][]string{}
	for host, here := range f.kept {
		for id := range here {
			all[host] = append(all[host], id)
		}
		slices.Sort(all[host])
	}
	return all
}

// stranger makes a tenant and returns it when its router works. Its addresses must not be
// another's.
func (f *lostAndFound) stranger(name string) *deployment.Tenant {
	f.Helper()
	made := f.site.tenants(name, 1)[0]
	f.active(f.api(), made)
	for _, tenant := range f.tenants {
		require.NotEqual(f, tenant.Floating, made.Floating, "an address that %s has was given again", tenant.Name)
	}
	return made
}

// gone waits until no host has a router.
func (f *lostAndFound) gone(router string) {
	f.Helper()
	require.Eventually(f, func() bool {
		for _, all := range f.namespaces() {
			if _, there := all[router]; there {
				return false
			}
		}
		return true
	}, lab.Patience(30*time.Second), 50*time.Millisecond, "router %s is gone", router)
}

// emptyDatabase starts the server on a new database, with the old secret: it is another deployment.
func (f *lostAndFound) emptyDatabase() {
	another, err := f.db.server.Database(within(f.T, time.Minute))
	require.NoError(f, err)
	var foreign *deployment.Tenant
	f.lossless("empty", f.tenants, func() {
		f.stop()
		f.set("--database", another)
		f.set("--bus-dir", f.busDir+".empty")
		f.start()
		f.showsOrphans(f.hosted())
		external, err := deployment.NewExternal(within(f.T, 20*time.Second), f.api(), deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
		require.NoError(f, err)
		foreign = f.foreign(external)
		for _, h := range f.Hosts { // agents that start anew know no more than the listing says
			require.NoError(f, h.Agent.Kill())
			require.NoError(f, h.Agent.Start())
			require.NoError(f, h.Ready(within(f.T, 30*time.Second)))
		}
		f.showsOrphans(f.hosted())

		f.stop()
		f.set("--database", f.db.URL)
		f.set("--bus-dir", f.busDir)
		f.start()
		f.active(f.api(), f.tenants...)
	})
	home := ""
	require.Eventually(f, func() bool {
		for host, all := range f.orphans() {
			if slices.Equal(all, []string{foreign.Router}) {
				home = host
			}
		}
		return home != ""
	}, lab.Patience(30*time.Second), 50*time.Millisecond, "what the other deployment made is an orphan now")
	f.removeOrphan(home, foreign.Router)
}

// foreign makes a router for a deployment that is not the hosts' own, and sees that no address and
// no segment is given to it that is in use. Its external network is on the wire of another one, so
// that it has none.
func (f *lostAndFound) foreign(external string) *deployment.Tenant {
	f.Helper()
	ctx := within(f.T, 40*time.Second)
	made, err := deployment.NewNetwork(ctx, f.api(), "foreign")
	require.NoError(f, err)
	r, err := routers.Create(ctx, f.api(), routers.CreateOpts{Name: "foreign"}).Extract()
	require.NoError(f, err)
	made.Router = r.ID
	_, err = routers.AddInterface(ctx, f.api(), r.ID, routers.AddInterfaceOpts{SubnetID: made.Subnet}).Extract()
	require.NoError(f, err)
	require.Eventually(f, func() bool {
		status, _, err := deployment.StatusOf(ctx, f.api(), r.ID)
		return err == nil && status == "ACTIVE"
	}, lab.Patience(30*time.Second), 50*time.Millisecond)
	for _, tenant := range f.tenants {
		require.NotEqual(f, tenant.Segment, made.Segment, "the segment of %s", tenant.Name)
	}
	for range 3 {
		a, err := floatingips.Create(ctx, f.api(), floatingips.CreateOpts{FloatingNetworkID: external}).Extract()
		require.NoError(f, err)
		for _, tenant := range f.tenants {
			require.NotEqual(f, tenant.Floating.String(), a.FloatingIP, "the address of %s", tenant.Name)
		}
	}
	return made
}

// removeOrphan has an administrator remove an orphan by the API.
func (f *lostAndFound) removeOrphan(host, router string) {
	f.Helper()
	var answer struct{ Agents []struct{ ID, Host string } }
	ctx := within(f.T, 20*time.Second)
	_, err := f.api().Get(ctx, f.api().ServiceURL("agents")+"?host="+host, &answer, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	require.NoError(f, err)
	require.Len(f, answer.Agents, 1)
	_, err = f.api().Delete(ctx, f.api().ServiceURL("agents", answer.Agents[0].ID, "l3-routers", router), &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusNoContent},
	})
	require.NoError(f, err)
	f.gone(router)
	f.showsOrphans(map[string][]string{})
}

// emptyDatabaseOldBus starts the server on a new database, over a message queue that belongs to the
// old one. It refuses, and says why.
func (f *lostAndFound) emptyDatabaseOldBus() {
	another, err := f.db.server.Database(within(f.T, time.Minute))
	require.NoError(f, err)
	f.lossless("refused", f.tenants, func() {
		f.stop()
		f.set("--database", another)
		said, status, err := f.server.Process.Run(within(f.T, 30*time.Second))
		require.NoError(f, err)
		require.NotZero(f, status)
		require.Contains(f, said, "deployment")
		require.Contains(f, said, "--bus-dir")
		f.set("--database", f.db.URL)
		f.start()
	})
}

// oldBus brings back the message queue's directory as it was before changes that the database has.
func (f *lostAndFound) oldBus() {
	changed := f.tenants[0]
	f.lossless("old", f.tenants[1:], func() {
		f.stop()
		f.copyDir(f.busDir, f.busDir+".old")
		f.start()
		made := f.stranger("later")
		_, err := routers.Update(within(f.T, 20*time.Second), f.api(), changed.Router, routers.UpdateOpts{
			GatewayInfo: &routers.GatewayInfo{NetworkID: f.external, EnableSNAT: new(false)},
		}).Extract()
		require.NoError(f, err)
		f.active(f.api(), changed)

		f.stop()
		require.NoError(f, os.RemoveAll(f.busDir))
		f.copyDir(f.busDir+".old", f.busDir)
		for _, h := range f.Hosts[:2] {
			require.NoError(f, h.Agent.Kill())
		}
		f.start()
		for _, h := range f.Hosts[:2] {
			require.NoError(f, h.Agent.Start())
			require.NoError(f, h.Ready(within(f.T, 30*time.Second)))
		}
		f.active(f.api(), append(f.tenants, made)...)
		require.Empty(f, f.orphans())
		require.NoError(f, made.Remove(within(f.T, 20*time.Second), f.api()))
		f.gone(made.Router)
	})
	_, err := routers.Update(within(f.T, 20*time.Second), f.api(), changed.Router, routers.UpdateOpts{
		GatewayInfo: &routers.GatewayInfo{NetworkID: f.external, EnableSNAT: new(true)},
	}).Extract()
	require.NoError(f, err)
}

func (f *lostAndFound) copyDir(from, to string) {
	f.Helper()
	require.NoError(f, os.RemoveAll(to))
	require.NoError(f, os.CopyFS(to, os.DirFS(from)))
}

// missingKey takes one router from the message queue, and starts the router's agent anew.
func (f *lostAndFound) missingKey() {
	tenant := f.tenants[3]
	home := f.homes(f.api(), f.tenants[3:4])[tenant.Router]
	h := f.Hosts[slices.IndexFunc(f.Hosts, func(h *deployment.Host) bool { return h.Name == home })]
	f.lossless("missing", f.tenants, func() {
		f.onBus(func(ctx context.Context, js jetstream.JetStream) {
			s, err := js.Stream(ctx, "KV_routers")
			require.NoError(f, err)
			require.NoError(f, s.Purge(ctx, jetstream.WithPurgeSubject("$KV.routers."+natsbus.Token(home)+"."+natsbus.Token(tenant.Router))))
		})
		require.NoError(f, h.Agent.Kill())
		require.NoError(f, h.Agent.Start())
		require.NoError(f, h.Ready(within(f.T, 30*time.Second)))
		require.Eventually(f, func() bool {
			m, err := h.Metrics(within(f.T, 20*time.Second))
			return err == nil && m["l3kit_agent_orphans"] == 0 && m["l3kit_agent_waiting"] == 0 && m["l3kit_agent_routers"] > 0
		}, lab.Patience(30*time.Second), 50*time.Millisecond, "the key is back")
	})
}

// onBus does something as the control plane.
func (f *lostAndFound) onBus(do func(context.Context, jetstream.JetStream)) {
	f.Helper()
	ctx := within(f.T, 30*time.Second)
	secret, err := os.ReadFile(f.flag("--bus-secret-file"))
	require.NoError(f, err)
	require.NoError(f, f.server.Do(func() error {
		nc, err := natsbus.Connect(natsbus.Login{URLs: []string{"nats://" + f.flag("--bus-listen")}, Password: natsbus.ControlCredential(secret)})
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err == nil {
			do(ctx, js)
		}
		return err
	}))
}

// restoredDatabase brings back a backup of the database, after which routers were made, changed and
// moved.
func (f *lostAndFound) restoredDatabase() {
	changed, moved := f.tenants[5], f.tenants[6]
	var late *deployment.Tenant
	backup := f.db.dump()
	from := f.homes(f.api(), f.tenants[6:7])[moved.Router]
	to := f.Hosts[0].Name
	if from == to {
		to = f.Hosts[1].Name
	}
	f.move(moved.Router, from, to) // which loses packets, because it moves between hosts
	f.active(f.api(), moved)
	f.flows(moved)
	f.kept = f.namespaces()

	f.lossless("restored", f.tenants, func() {
		late = f.stranger("late")
		f.kept = f.namespaces()
		for _, name := range []string{"one", "two", "three"} {
			_, err := routers.Update(within(f.T, 20*time.Second), f.api(), changed.Router, routers.UpdateOpts{
				Routes: &[]routers.Route{{DestinationCIDR: "192.0.2.0/24", NextHop: changed.Fixed.String()}}, Name: name,
			}).Extract()
			require.NoError(f, err)
			_, err = routers.Update(within(f.T, 20*time.Second), f.api(), changed.Router, routers.UpdateOpts{Routes: &[]routers.Route{}}).Extract()
			require.NoError(f, err)
		}
		f.active(f.api(), f.tenants...)
		f.stop()
		f.db.restore(backup)
		f.start()
		f.active(f.api(), f.tenants...)
	})
	require.Equal(f, to, f.homes(f.api(), f.tenants[6:7])[moved.Router], "it stays where it runs")
	home := ""
	for host, all := range f.kept {
		if _, there := all[late.Router]; there {
			home = host
		}
	}
	f.showsOrphans(map[string][]string{home: {late.Router}})
	another := f.stranger("another")
	require.NotEqual(f, late.Floating, another.Floating, "the orphan's address is given again")
	require.NoError(f, another.Remove(within(f.T, 20*time.Second), f.api()))
	f.gone(another.Router)
	f.removeOrphan(home, late.Router)

	// Changes are obeyed.
	for _, up := range []bool{false, true} {
		_, err := routers.Update(within(f.T, 20*time.Second), f.api(), changed.Router, routers.UpdateOpts{AdminStateUp: &up}).Extract()
		require.NoError(f, err)
		if !up {
			f.gone(changed.Router)
		}
	}
	f.active(f.api(), changed)
	f.kept = f.namespaces()
}

func (f *lostAndFound) move(router, from, to string) {
	f.Helper()
	ids := map[string]string{}
	var answer struct{ Agents []struct{ ID, Host string } }
	ctx := within(f.T, 20*time.Second)
	_, err := f.api().Get(ctx, f.api().ServiceURL("agents"), &answer, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	require.NoError(f, err)
	for _, a := range answer.Agents {
		ids[a.Host] = a.ID
	}
	_, err = f.api().Delete(ctx, f.api().ServiceURL("agents", ids[from], "l3-routers", router), &gophercloud.RequestOpts{OkCodes: []int{http.StatusNoContent}})
	require.NoError(f, err)
	_, err = f.api().Post(ctx, f.api().ServiceURL("agents", ids[to], "l3-routers"), map[string]string{"router_id": router}, nil,
		&gophercloud.RequestOpts{OkCodes: []int{http.StatusCreated}})
	require.NoError(f, err)
	require.Eventually(f, func() bool {
		now := f.namespaces()
		_, there := now[to][router]
		_, still := now[from][router]
		return there && !still
	}, lab.Patience(30*time.Second), 50*time.Millisecond)
}

// flows waits until packets to a tenant pass.
func (f *lostAndFound) flows(tenant *deployment.Tenant) {
	f.Helper()
	ctx := within(f.T, 20*time.Second)
	for _, stream := range f.streams([]*deployment.Tenant{tenant}) {
		require.NoError(f, stream.Pause(ctx, 50))
		stream.Stop(ctx)
	}
}

// secondAgent starts another agent on a host, with a cache of its own.
func (f *lostAndFound) secondAgent() {
	h := f.Hosts[0]
	f.lossless("second agent", f.tenants, func() {
		args := append(slices.Clone(h.Agent.Args), "--cache=/var/lib/l3kit/another", "--metrics=127.0.0.1:9191")
		second := f.Program(h.Machine, "second-agent", deployment.Self("agent"), args...)
		said, status, err := second.Run(within(f.T, 30*time.Second))
		require.NoError(f, err)
		require.NotZero(f, status)
		require.Contains(f, said, fmt.Sprintf("another agent runs on this host, process %d", h.Agent.PID()))
	})
}

// secondMachine starts an agent by the name of a host on another machine, with that host's password
// and a copy of its cache.
func (f *lostAndFound) secondMachine() {
	h := f.Hosts[1]
	m, err := deployment.NewMachine("copy", true)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, m.Close()) })
	addr := netip.MustParsePrefix("198.18.0.200/24")
	_, err = f.Management.Connect(m.Lab, "mgmt0", addr)
	require.NoError(f, err)
	files := map[string][]byte{}
	require.NoError(f, h.Do(func() error {
		return filepath.WalkDir("/var/lib/l3kit", func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "lock" {
				return err
			}
			files[path], err = os.ReadFile(path)
			return err
		})
	}))
	require.Greater(f, len(files), 5)
	require.NoError(f, m.Do(func() error {
		for path, text := range files {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				return err
			}
		}
		return nil
	}))
	f.lossless("second machine", f.tenants, func() {
		args := slices.DeleteFunc(slices.Clone(h.Agent.Args), func(a string) bool {
			return strings.HasPrefix(a, "--physical") || strings.HasPrefix(a, "--tunnel-address")
		})
		second := f.Program(m, "second-machine", deployment.Self("agent"), args...)
		require.NoError(f, second.Start())
		require.Eventually(f, func() bool { return strings.Contains(second.Said(), "in use by the agent on machine") },
			lab.Patience(30*time.Second), 50*time.Millisecond)
		time.Sleep(8 * time.Second) // longer than it waits before it applies what is in its cache
		require.NoError(f, m.Do(func() error {
			left, err := filepath.Glob("/run/netns/qrouter-*")
			require.Empty(f, left, "it applies nothing")
			return err
		}))
		require.NoError(f, second.Kill())
	})
}

// secondServer starts a server on the same database with an embedded message queue of its own.
func (f *lostAndFound) secondServer() {
	f.lossless("second server", f.tenants, func() {
		args := slices.Clone(f.server.Process.Args)
		for i, a := range args {
			for flag, value := range map[string]string{
				"--listen": "127.0.0.1:9797", "--metrics": "127.0.0.1:9191", "--bus-listen": "127.0.0.1:4333", "--bus-dir": f.busDir + ".second",
			} {
				if strings.HasPrefix(a, flag+"=") {
					args[i] = flag + "=" + value
				}
			}
		}
		second := f.Program(f.server.Machine, "second-server", deployment.Self("server"), args...)
		said, status, err := second.Run(within(f.T, 30*time.Second))
		require.NoError(f, err)
		require.NotZero(f, status)
		require.Contains(f, said, "all servers of a database share one message queue")
	})
}

// renamedHost starts a host's agent by another name.
func (f *lostAndFound) renamedHost() {
	h := f.Hosts[3]
	f.lossless("renamed", f.tenants, func() {
		require.NoError(f, h.Agent.Terminate(within(f.T, 20*time.Second)))
		require.NoError(f, h.Do(func() error { return os.CopyFS(oldCache, os.DirFS(f.agentFlag(h, "--cache"))) }))
		f.rename(h, "renamed")
	})
}

// oldCache is where a host keeps a copy of its agent's cache.
const oldCache = "/var/lib/l3kit/old"

// oldName starts the host's agent by its first name again, with the cache that it had then.
func (f *lostAndFound) oldName() {
	h := f.Hosts[3]
	at := slices.IndexFunc(f.tenants, func(t *deployment.Tenant) bool { return f.kept[h.Name][t.Router] != netns.ID{} })
	changed := f.tenants[at]
	f.lossless("old name", f.tenants, func() {
		_, err := routers.Update(within(f.T, 20*time.Second), f.api(), changed.Router, routers.UpdateOpts{
			Routes: &[]routers.Route{{DestinationCIDR: "192.0.2.0/24", NextHop: changed.Fixed.String()}},
		}).Extract()
		require.NoError(f, err)
		f.active(f.api(), changed)
		require.NoError(f, h.Agent.Terminate(within(f.T, 20*time.Second)))
		require.NoError(f, h.Do(func() error {
			cache := f.agentFlag(h, "--cache")
			return errors.Join(os.RemoveAll(cache), os.CopyFS(cache, os.DirFS(oldCache)))
		}))
		f.rename(h, "host4")
	})
}

// rename starts a host's agent, which does not run, by another name. It returns when the host's
// routers are bound to that.
func (f *lostAndFound) rename(h *deployment.Host, name string) {
	f.Helper()
	secret, err := os.ReadFile(f.flag("--bus-secret-file"))
	require.NoError(f, err)
	i := slices.Index(h.Agent.Args, "--host="+h.Name)
	h.Agent.Args[i] = "--host=" + name
	require.NoError(f, h.Do(func() error {
		return os.WriteFile("/var/lib/l3kit/password", []byte(natsbus.Credential(secret, name)), 0o600)
	}))
	require.NoError(f, h.Agent.Start())
	require.NoError(f, h.Ready(within(f.T, 30*time.Second)))
	f.kept[name] = f.kept[h.Name]
	delete(f.kept, h.Name)
	h.Name = name
	require.Eventually(f, func() bool {
		homes := f.homes(f.api(), f.tenants)
		for id := range f.kept[name] {
			if home, ours := homes[id]; ours && home != name {
				return false
			}
		}
		return true
	}, lab.Patience(40*time.Second), 100*time.Millisecond, "its routers are bound to %s", name)
}

// dump makes a backup of the database, as text that psql reads.
func (d *database) dump() []byte {
	d.Helper()
	server, schema := d.parts()
	var said strings.Builder
	cmd := exec.Command("pg_dump", "--no-owner", "--clean", "--if-exists", "--schema="+schema, server)
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(d, err, said.String())
	return out
}

// restore brings a backup back. Nobody may be connected.
func (d *database) restore(backup []byte) {
	d.Helper()
	server, _ := d.parts()
	cmd := exec.Command("psql", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", server)
	cmd.Stdin = strings.NewReader(string(backup))
	out, err := cmd.CombinedOutput()
	require.NoError(d, err, "%s", out)
}

// parts are the URL as PostgreSQL's own programs take it, and the schema that is the database here.
func (d *database) parts() (server, schema string) {
	d.Helper()
	u, err := url.Parse(d.URL)
	require.NoError(d, err)
	query := u.Query()
	schema = query.Get("search_path")
	query.Del("search_path")
	u.RawQuery = query.Encode()
	return u.String(), schema
}
