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
	"github.com/l3kit/l3kit/dataplane/bridge"
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

// open begins to work on the host whose namespace is at hostNS. The dataplane closes the wiring.
func (b backend) open(n names, hostNS string) (dataplane.Dataplane, namespace.InterfaceDriver, error) {
	var wiring namespace.InterfaceDriver
	var err error
	switch b.wiring {
	case "bridge":
		wiring, err = bridge.New(bridge.Config{HostNS: hostNS})
	default:
		err = fmt.Errorf("no wiring %q", b.wiring)
	}
	if err != nil {
		return nil, nil, err
	}
	d, err := namespace.New(namespace.Config{Wiring: wiring, Firewall: b.firewall(), HostNS: hostNS, Dir: n.dir})
	if err != nil {
		return nil, nil, errors.Join(err, wiring.Close())
	}
	return d, wiring, nil
}

func (b backend) firewall() namespace.Firewall {
	if b.dataplane == "iptables" {
		return &iptables.Firewall{}
	}
	return nftables.Firewall{}
}

// site is what stands: a host with the router on it, and the machines around it.
type site struct {
	names   names
	backend backend
	lab     *lab.Lab
	routers dataplane.Dataplane
	took    time.Duration // to apply the router

	provider, intruder, www, app, appliance, archive, db *lab.Host

	servers map[string]*tier
}

// build makes the site. What was built is taken away again when it fails.
func build(ctx context.Context, n names, b backend) (_ *site, err error) {
	l, err := lab.NewIn(n.dir, n.prefix)
	if err != nil {
		return nil, err
	}
	s := &site{names: n, backend: b, lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.down(context.WithoutCancel(ctx)))
		}
	}()
	var wiring namespace.InterfaceDriver
	if s.routers, wiring, err = b.open(n, l.HostNS); err != nil {
		return nil, err
	}
	start := time.Now()
	if _, err = s.routers.Apply(ctx, router()); err != nil {
		return nil, err
	}
	s.took = time.Since(start)

	for _, h := range []struct {
		host **lab.Host
		spec lab.Spec
	}{
		{&s.provider, lab.Spec{Name: "provider", Ports: on("outside", providerAddr), Local: []netip.Addr{addr(clientAddr)}}},
		{&s.intruder, lab.Spec{Name: "intruder", Ports: on("outside", intruderAddr), NextHops: hops(routerAddr)}},
		{&s.www, lab.Spec{Name: "www", Ports: on("www", wwwAddr), NextHops: hops("10.0.1.1")}},
		{&s.app, lab.Spec{Name: "app", Ports: on("app", appAddr), NextHops: hops("10.0.2.1")}},
		{&s.db, lab.Spec{Name: "db", Ports: on("db", dbAddr), NextHops: hops("10.0.3.1")}},
		{&s.appliance, lab.Spec{Name: "appliance", Ports: append(on("app", applAddr), on("archive", "10.0.4.1")...), NextHops: hops("10.0.2.1")}},
		{&s.archive, lab.Spec{Name: "archive", Ports: on("archive", archiveAddr), NextHops: hops("10.0.4.1")}},
	} {
		if *h.host, err = l.Attach(ctx, wiring, h.spec); err != nil {
			return nil, err
		}
	}
	return s, s.serve()
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

// on is a machine's port on a network.
func on(network, a string) []dataplane.Port {
	return []dataplane.Port{{Network: dataplane.Network{ID: network}, Addrs: []netip.Prefix{netip.PrefixFrom(addr(a), 24)}}}
}

func hops(a string) []netip.Addr { return []netip.Addr{addr(a)} }

// routerNS is the path of the router's namespace.
func (s *site) routerNS() string {
	return filepath.Join(s.names.dir, dataplane.NamespaceName(routerID))
}

// restart is what a new process finds: nothing is carried over but what is in the kernel.
func (s *site) restart() error {
	if err := s.routers.Close(); err != nil {
		return err
	}
	routers, _, err := s.backend.open(s.names, s.lab.HostNS)
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
	return errors.Join(append(errs, s.lab.Close())...)
}

// sweep takes away what an earlier run left. With the namespaces of the machines goes all that was attached to them; the router's own is
// deleted by a dataplane, which makes sure that it is ours.
func sweep(ctx context.Context, n names, b backend) error {
	if err := lab.Sweep(n.dir, n.prefix); err != nil {
		return err
	}
	l, err := lab.NewIn(n.dir, n.prefix)
	if err != nil {
		return err
	}
	routers, _, err := b.open(n, l.HostNS)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(routers.Delete(ctx, routerID), routers.Close(), l.Close())
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
