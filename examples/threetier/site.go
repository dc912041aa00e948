package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

// site is what stands: machines, allinone on one of them or a cluster, and the hosts around the
// router.
type site struct {
	how      setting
	machines *machines
	allinone *deployment.Program
	cluster  *deployment.Cluster // nil if the router is not distributed
	cloud    *cloud

	provider, intruder, www, app, appliance, archive, db *lab.Host
	standby                                              *lab.Host // only with a cluster

	sensor     *lab.Host
	sensorAddr string // that the API expects it to give itself

	servers map[string]*tier
	nova    *http.Server // of metadata
}

// build makes the site. What was built is taken away again when it fails.
func build(ctx context.Context, how setting, out *report) (_ *site, err error) {
	m, err := raise(ctx, how)
	if err != nil {
		return nil, err
	}
	s := &site{how: how, machines: m}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.down())
		}
	}()
	out.text(picture)
	out.text(m.story)
	start, what := s.startAllinone, "allinone is started, and asked for all of it"
	if how.distributed {
		start, what = s.startCluster, "A server and five agents are started, and the server is asked for all of it"
	}
	out.section(what)
	if err := start(ctx); err != nil {
		return nil, err
	}
	if err := s.serveMetadata(); err != nil {
		return nil, err
	}
	if err := s.cloud.makeNetworks(ctx); err != nil {
		return nil, err
	}
	if err := s.populate(ctx); err != nil {
		return nil, err
	}
	if err := s.serve(); err != nil {
		return nil, err
	}
	asked := time.Now()
	if err := s.cloud.makeRouter(ctx); err != nil {
		return nil, err
	}
	answered := time.Now()
	out.note("the API has answered for all of the router", "in "+brief(answered.Sub(asked)))
	err = firstAnswer(ctx, s.provider, clientAddr, publicAddr)
	out.check("the client's first packet has come back from www", brief(time.Since(answered))+" after the last answer", err)
	err = s.cloud.applied(ctx)
	out.check("the router is ACTIVE", brief(time.Since(answered))+" after it", err)
	return s, nil
}

func brief(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

// startAllinone starts it on the router's machine, with files of its own.
func (s *site) startAllinone(ctx context.Context) error {
	files := s.how.files()
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	on := &deployment.Machine{Lab: s.machines.router, Name: "router"}
	s.cloud = newCloud(on.HTTP())
	s.allinone = on.NewProgram(files, "allinone", s.how.allinone, append([]string{
		"--listen", apiAddr, "--metrics", metricsAddr,
		"--database", "sqlite:" + filepath.Join(files, "l3.db"), "--bus-dir", filepath.Join(files, "bus"),
		"--bus-secret-file", filepath.Join(files, "secret"), "--cache", filepath.Join(files, "agent"),
		"--namespaces", s.how.dir, "--dataplane", s.how.dataplane, "--metadata-socket", s.how.metadata(), "--check", checkEvery.String(),
	}, s.machines.flags...)...)
	return s.run(ctx)
}

// metricsAddr is where allinone says whether it is ready.
const metricsAddr = "127.0.0.1:9697"

// run starts allinone and returns when it is ready.
func (s *site) run(ctx context.Context) error {
	if err := s.allinone.Start(); err != nil {
		return err
	}
	return s.allinone.Ready(ctx, "http://"+metricsAddr+"/readyz")
}

// checkEvery is how often allinone looks whether somebody else has changed a router.
const checkEvery = 2 * time.Second

// member is a host around the router.
type member struct {
	host  **lab.Host
	ports [][2]string // network and address
	spec  lab.Spec
}

// populate attaches the hosts: the outside world beside the router, the tiers on their own
// machines. Those of the tenant have the ports that the API gave them.
func (s *site) populate(ctx context.Context) error {
	members := []member{
		{&s.provider, nil, lab.Spec{
			Name: "provider", Local: []netip.Addr{addr(clientAddr), addr(client6Addr)}, Ports: s.outsidePort(providerAddr, provider6Addr),
			Routes: []dataplane.Route{{Dest: netip.MustParsePrefix(sensorCIDR), NextHop: addr(router6Addr)}},
		}},
		{&s.intruder, nil, lab.Spec{Name: "intruder", NextHops: hops(routerAddr), Ports: s.outsidePort(intruderAddr)}},
		{&s.www, [][2]string{{"www", wwwAddr}}, lab.Spec{Name: "www", NextHops: hops("10.0.1.1")}},
		{&s.app, [][2]string{{"app", appAddr}}, lab.Spec{Name: "app", NextHops: hops("10.0.2.1")}},
		{&s.db, [][2]string{{"db", dbAddr}}, lab.Spec{Name: "db", NextHops: hops("10.0.3.1")}},
		{&s.appliance, [][2]string{{"app", applAddr}, {"archive", "10.0.4.1"}}, lab.Spec{Name: "appliance", NextHops: hops("10.0.2.1")}},
		{&s.archive, [][2]string{{"archive", archiveAddr}}, lab.Spec{Name: "archive", NextHops: hops("10.0.4.1")}},
	}
	if s.cluster != nil {
		members = append(members, member{&s.standby, [][2]string{{"db", standbyAddr}}, lab.Spec{Name: "standby", NextHops: hops("10.0.3.1")}})
	}
	for _, m := range members {
		for _, p := range m.ports {
			port, err := s.cloud.port(ctx, p[0], p[1], s.place(m.spec.Name))
			if err != nil {
				return err
			}
			m.spec.Ports = append(m.spec.Ports, port)
		}
		wiring, err := s.machines.wiring(ctx, m.spec.Name)
		if err != nil {
			return err
		}
		if *m.host, err = s.machines.router.Attach(ctx, wiring, m.spec); err != nil {
			return err
		}
	}
	return s.attachSensor(ctx)
}

// beyond reports whether a host is of the outside world.
func beyond(host string) bool { return host == "provider" || host == "intruder" }

// outsidePort is a port of somebody whom the API does not know, on the outside network.
func (s *site) outsidePort(addrs ...string) []dataplane.Port {
	n := s.cloud.networks[outside]
	p := dataplane.Port{Network: n.segment(), MTU: n.MTU}
	for _, a := range addrs {
		bits := 24
		if addr(a).Is6() {
			bits = 64
		}
		p.Addrs = append(p.Addrs, netip.PrefixFrom(addr(a), bits))
	}
	return []dataplane.Port{p}
}

func hops(a string) []netip.Addr { return []netip.Addr{addr(a)} }

// serve starts a server on every machine that is asked anything.
func (s *site) serve() error {
	s.servers = map[string]*tier{}
	tiers := []*tier{
		{name: "www", host: s.www, next: "http://" + appAddr},
		{name: "app", host: s.app, next: "http://" + dbAddr},
		{name: "db", host: s.db},
		{name: "archive", host: s.archive},
		{name: "client", host: s.provider},
	}
	if s.standby != nil {
		tiers = append(tiers, &tier{name: "standby", host: s.standby})
	}
	for _, t := range tiers {
		if err := t.start(); err != nil {
			return fmt.Errorf("server on %s: %w", t.name, err)
		}
		s.servers[t.name] = t
	}
	return nil
}

// namespaces are the names of all routers' namespaces.
func (s *site) namespaces() (names []string, err error) {
	if s.cluster == nil {
		_, err := os.Stat(s.routerNS())
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return []string{s.routerNS()}, err
	}
	for _, h := range s.cluster.Hosts {
		here, err := namespaces(h)
		if err != nil {
			return nil, err
		}
		names = append(names, here...)
	}
	return names, nil
}

// routerNS is the path of the router's namespace.
func (s *site) routerNS() string {
	return filepath.Join(s.how.dir, dataplane.NamespaceName(s.cloud.routerID))
}

func (s *site) firewall() namespace.Firewall {
	if s.how.dataplane == "iptables" {
		return &iptables.Firewall{}
	}
	return nftables.Firewall{}
}

// lookAround is for whoever kept the site.
func (s *site) lookAround() string {
	inside := func(name string) string { return "  nsenter --net=" + filepath.Join(s.how.dir, name) + " " }
	router, api, log := inside(dataplane.NamespaceName(s.cloud.routerID)), "host", "allinone.log"
	if s.cluster != nil {
		router = fmt.Sprintf("  nsenter -t %d -n -m ip netns exec %s ", s.cluster.Hosts[0].Agent.PID(), dataplane.NamespaceName(s.cloud.routerID))
		api, log = "server1-host", "host1.log"
	}
	return inside("provider") + "ping -I " + clientAddr + " " + publicAddr + "   # the client reaches www by its floating IP\n" +
		inside("www") + "ping " + archiveAddr + "   # the extra route\n" +
		inside(api) + "openstack --os-auth-type none --os-endpoint http://" + apiAddr + " router list\n" +
		router + "nft list ruleset\n" +
		router + "ip route   # and conntrack -L, tcpdump -i any\n" +
		"  less " + filepath.Join(s.how.files(), log) + "\n"
}

// down takes the site away.
func (s *site) down() error {
	var errs []error
	for _, t := range s.servers {
		errs = append(errs, t.stop())
	}
	if s.allinone != nil {
		errs = append(errs, s.allinone.Kill())
	}
	if s.nova != nil {
		errs = append(errs, s.nova.Close())
	}
	errs = append(errs, s.machines.close())
	if s.cluster != nil {
		errs = append(errs, s.cluster.Close())
	}
	return errors.Join(append(errs, s.how.sweep())...)
}
