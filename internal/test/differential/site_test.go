package differential

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"github.com/ti-mo/conntrack"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

// backend is a way to realise routers.
type backend struct {
	name string
	open func(namespace.Config) (*namespace.Dataplane, error)
	tool string // that it needs; empty: none
}

var backends = []backend{
	{"nftables", nftables.New, ""},
	{"iptables-nft", openIPTables(iptables.NFT), "iptables-nft-restore"},
	{"iptables-legacy", openIPTables(iptables.Legacy), "iptables-legacy-restore"},
}

// installed says that this machine can run the backend. Where tests are expected to run, it must.
func (b backend) installed(t testing.TB) bool {
	t.Helper()
	if b.tool == "" {
		return true
	}
	_, err := exec.LookPath(b.tool)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Logf("left out: %v", err)
	}
	return err == nil
}

func openIPTables(v iptables.Variant) func(namespace.Config) (*namespace.Dataplane, error) {
	return func(cfg namespace.Config) (*namespace.Dataplane, error) {
		cfg.Firewall = &iptables.Firewall{Variant: v}
		return iptables.New(cfg)
	}
}

// site is a machine on which one backend realises the router, with wires at its networks.
type site struct {
	backend   string
	lab       *lab.Lab
	dataplane *namespace.Dataplane
	witness   *namespace.Dataplane // another process, which has nothing to do after an Apply
	wires     *wires
	router    dataplane.Router // as applied last
	ports     map[string]dataplane.Port
	inside    *lab.Host // the router's namespace, once there is one
	conntrack *conntrack.Conn
	serial    uint64 // of the packets sent, so that each is known again
}

func openSite(t testing.TB, b backend) *site {
	t.Helper()
	s := &site{backend: b.name}
	t.Cleanup(func() { require.NoError(t, s.close()) })
	var err error
	s.lab, err = lab.New()
	require.NoError(t, err)
	var wiring *bridge.Driver
	for _, dp := range []**namespace.Dataplane{&s.witness, &s.dataplane} {
		wiring, err = bridge.New(bridge.Config{HostNS: s.lab.HostNS})
		require.NoError(t, err)
		*dp, err = b.open(namespace.Config{Wiring: wiring, HostNS: s.lab.HostNS, Dir: s.lab.Dir, Metadata: http.NotFoundHandler()})
		require.NoError(t, err)
	}
	networks := []string{externalNet, transitNet}
	for i := range maxPorts {
		networks = append(networks, networkID(i))
	}
	spec := lab.Spec{Name: "wires"}
	for _, n := range networks {
		spec.Ports = append(spec.Ports, dataplane.Port{Network: dataplane.Network{ID: n}, MTU: mtu})
	}
	far, err := s.lab.Attach(t.Context(), wiring, spec)
	require.NoError(t, err)
	s.wires, err = openWires(far, networks)
	require.NoError(t, err)
	return s
}

func (s *site) close() error {
	var errs []error
	if s.conntrack != nil {
		errs = append(errs, s.conntrack.Close())
	}
	if s.wires != nil {
		errs = append(errs, s.wires.close())
	}
	for _, dp := range []*namespace.Dataplane{s.dataplane, s.witness} {
		if dp != nil {
			errs = append(errs, dp.Close())
		}
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}
	return errors.Join(errs...)
}

// apply makes the machine's router the one wanted.
func (s *site) apply(r dataplane.Router) error {
	if _, err := s.dataplane.Apply(context.Background(), r); err != nil {
		return fmt.Errorf("%s: %w", s.backend, err)
	}
	left, err := s.witness.Plan(context.Background(), r)
	if err != nil {
		return fmt.Errorf("%s: %w", s.backend, err)
	}
	if !left.Empty() {
		return fmt.Errorf("%s: after Apply there is still to do: %v", s.backend, left)
	}
	s.router, s.ports = r, map[string]dataplane.Port{}
	for _, p := range allPorts(r) {
		s.ports[p.ID] = p
	}
	if err := s.settle(); err != nil || s.inside != nil {
		return err
	}
	if s.inside, err = s.lab.Enter(filepath.Join(s.lab.Dir, dataplane.NamespaceName(r.ID))); err != nil {
		return err
	}
	if err := s.inside.Do(talkative); err != nil {
		return err
	}
	s.conntrack, err = conntrack.Dial(&netlink.Config{NetNS: s.inside.FD()})
	return err
}

// talkative lifts the limits on how many ICMP errors the calling thread's namespace sends. It offers
// a connection only once: nobody takes it.
func talkative() error {
	return errors.Join(
		os.WriteFile("/proc/sys/net/ipv4/icmp_ratemask", []byte("0"), 0),
		os.WriteFile("/proc/sys/net/ipv4/tcp_synack_retries", []byte("0"), 0),
		os.WriteFile("/proc/sys/net/ipv6/icmp/ratelimit", []byte("0"), 0),
		os.WriteFile("/proc/sys/net/ipv6/icmp/ratemask", []byte("255"), 0), // a type that is none
	)
}

// portOf is the port whose MAC a frame comes from.
func (s *site) portOf(mac dataplane.MAC) (dataplane.Port, bool) {
	for _, p := range s.ports {
		if p.MAC == mac {
			return p, true
		}
	}
	return dataplane.Port{}, false
}

// bell is a port of the router and an address on it, whose MAC the router can be asked for. A
// router without ports has none.
func (s *site) bell() (p dataplane.Port, target netip.Addr, ok bool) {
	for _, candidate := range allPorts(s.router) {
		for _, a := range candidate.Addrs {
			if a.Addr().Is4() {
				return candidate, a.Addr(), true
			}
			p, target, ok = candidate, a.Addr(), true
		}
	}
	return p, target, ok
}
