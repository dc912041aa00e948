package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/lab"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

// names are the names of a demonstration on this machine. They are the only trace of it, so a later run knows by them what an earlier one left.
type names struct {
	dir    string // where the names of namespaces are
	prefix string // of the machines' namespaces
}

// machine has its namespaces where ip-netns(8) finds them.
var machine = names{dir: netns.Dir, prefix: "l3kit-demo-"}

const (
	routerID = "l3kit-demo"
	lockFile = "/run/l3kit-demo.lock"
)

// backend names what realises the router.
type backend struct{ dataplane, wiring string }

// open begins to work on a machine. The dataplane closes the wiring.
func (b backend) open(ctx context.Context, n names, m *machines) (dataplane.Dataplane, error) {
	wiring, err := m.open(ctx, m.router)
	if err != nil {
		return nil, err
	}
	d, err := namespace.New(namespace.Config{Wiring: wiring, Firewall: b.firewall(), HostNS: m.router.HostNS, Dir: n.dir})
	if err != nil {
		return nil, errors.Join(err, wiring.Close())
	}
	return d, nil
}

func (b backend) firewall() namespace.Firewall {
	if b.dataplane == "iptables" {
		return &iptables.Firewall{}
	}
	return nftables.Firewall{}
}

// site is what stands: a machine with the router on it, and the hosts around it.
type site struct {
	names    names
	backend  backend
	machines *machines
	routers  dataplane.Dataplane
	wirings  []namespace.InterfaceDriver // of the hosts
	took     time.Duration               // to apply the router

	provider, intruder, www, app, appliance, archive, db *lab.Host

	servers map[string]*tier
}

// build makes the site. What was built is taken away again when it fails.
func build(ctx context.Context, n names, b backend) (_ *site, err error) {
	m, err := raise(ctx, n, b.wiring)
	if err != nil {
		return nil, err
	}
	s := &site{names: n, backend: b, machines: m}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.down(context.WithoutCancel(ctx)))
		}
	}()
	if s.routers, err = b.open(ctx, n, m); err != nil {
		return nil, err
	}
	start := time.Now()
	if _, err = s.routers.Apply(ctx, m.desired()); err != nil {
		return nil, err
	}
	s.took = time.Since(start)
	if err = s.populate(ctx); err != nil {
		return nil, err
	}
	return s, s.serve()
}

// populate attaches the hosts: the outside world beside the router, the tiers on their own machine.
func (s *site) populate(ctx context.Context) error {
	m := s.machines
	for _, group := range []struct {
		on    *lab.Lab
		hosts map[**lab.Host]lab.Spec
	}{
		{m.router, map[**lab.Host]lab.Spec{
			&s.provider: {Name: "provider", Ports: m.on(outside, providerAddr), Local: []netip.Addr{addr(clientAddr)}},
			&s.intruder: {Name: "intruder", Ports: m.on(outside, intruderAddr), NextHops: hops(routerAddr)},
		}},
		{m.tiers, map[**lab.Host]lab.Spec{
			&s.www:       {Name: "www", Ports: m.on("www", wwwAddr), NextHops: hops("10.0.1.1")},
			&s.app:       {Name: "app", Ports: m.on("app", appAddr), NextHops: hops("10.0.2.1")},
			&s.db:        {Name: "db", Ports: m.on("db", dbAddr), NextHops: hops("10.0.3.1")},
			&s.appliance: {Name: "appliance", Ports: append(m.on("app", applAddr), m.on("archive", "10.0.4.1")...), NextHops: hops("10.0.2.1")},
			&s.archive:   {Name: "archive", Ports: m.on("archive", archiveAddr), NextHops: hops("10.0.4.1")},
		}},
	} {
		wiring, err := m.open(ctx, group.on)
		if err != nil {
			return err
		}
		s.wirings = append(s.wirings, wiring)
		for host, spec := range group.hosts {
			if *host, err = group.on.Attach(ctx, wiring, spec); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve starts a server on every machine that is asked anything.
func (s *site) serve() error {
	s.servers = map[string]*tier{}
	for _, t := range []*tier{
		{name: "www", host: s.www, next: "http://" + appAddr},
		{name: "app", host: s.app, next: "http://" + dbAddr},
		{name: "db", host: s.db},
		{name: "archive", host: s.archive},
		{name: "client", host: s.provider},
	} {
		if err := t.start(); err != nil {
			return fmt.Errorf("server on %s: %w", t.name, err)
		}
		s.servers[t.name] = t
	}
	return nil
}

// on is a host's port on a network.
func (m *machines) on(network, a string) []dataplane.Port {
	return []dataplane.Port{{Network: m.network(network), MTU: m.mtu, Addrs: []netip.Prefix{netip.PrefixFrom(addr(a), 24)}}}
}

func hops(a string) []netip.Addr { return []netip.Addr{addr(a)} }

// routerNS is the path of the router's namespace.
func (s *site) routerNS() string {
	return filepath.Join(s.names.dir, dataplane.NamespaceName(routerID))
}

// restart is what a new process finds: nothing is carried over but what is in the kernel.
func (s *site) restart(ctx context.Context) error {
	if err := s.routers.Close(); err != nil {
		return err
	}
	routers, err := s.backend.open(ctx, s.names, s.machines)
	if err == nil {
		s.routers = routers
	}
	return err
}

// down takes the site away.
func (s *site) down(ctx context.Context) error {
	var errs []error
	for _, t := range s.servers {
		errs = append(errs, t.stop())
	}
	if s.routers != nil {
		errs = append(errs, s.routers.Delete(ctx, routerID), s.routers.Close())
	}
	for _, w := range s.wirings {
		errs = append(errs, w.Close())
	}
	return errors.Join(append(errs, s.machines.close())...)
}

// sweep takes away what an earlier run left, whatever its wiring was. With the namespaces of the machines goes all that was attached to them; the
// router's own is deleted by a dataplane, which makes sure that it is ours.
func sweep(ctx context.Context, n names, b backend) error {
	if err := lab.Sweep(n.dir, n.prefix); err != nil {
		return err
	}
	b.wiring = "bridge"
	m, err := raise(ctx, n, b.wiring)
	if err != nil {
		return err
	}
	routers, err := b.open(ctx, n, m)
	if err != nil {
		return errors.Join(err, m.close())
	}
	return errors.Join(routers.Delete(ctx, routerID), routers.Close(), m.close())
}

// lock makes sure that demonstrations, which share their names, run one at a time. It ends with the process.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if errors.Is(err, os.ErrPermission) {
		return nil, dataplane.ErrPermission
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errors.New("another demonstration is running")
	}
	return func() { f.Close() }, nil
}
