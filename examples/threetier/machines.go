package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/ovs"
)

// machines are what the site stands on: one that has allinone, the router and the outside world,
// and one that has the tiers. With bridges they are the same one. If the router is distributed, a
// cluster has it and the tiers.
type machines struct {
	router, tiers *lab.Lab
	wiring        func(ctx context.Context, host string) (namespace.InterfaceDriver, error) // of one of the hosts around the router
	wirings       []namespace.InterfaceDriver                                               // to be closed
	flags         []string                                                                  // that tell allinone of it
	story         string                                                                    // for people
}

// externalBridge is the device that the outside network is on.
const externalBridge = "br-ex"

// raise makes the machines that a kind of wiring is shown on. What was made is taken away again
// when it fails.
func raise(ctx context.Context, how setting) (*machines, error) {
	l, err := lab.NewIn(how.dir, "")
	if err != nil {
		return nil, err
	}
	m := &machines{router: l, tiers: l}
	switch {
	case how.distributed:
		m.story = spreadStory
		return m, nil
	case how.wiring == "bridge":
		err = m.bridges()
	case how.wiring == "ovs":
		err = m.switches(ctx, how.dir)
	default:
		err = fmt.Errorf("no wiring %q", how.wiring)
	}
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	m.flags = append(m.flags, "--wiring", how.wiring, "--physical", outside+"="+externalBridge)
	return m, nil
}

// bridges is one machine, and networks that stay on it.
func (m *machines) bridges() error {
	m.story = "All of it is on one machine; each network is a bridge."
	m.wiring = func(context.Context, string) (namespace.InterfaceDriver, error) {
		return m.keep(bridge.New(bridge.Config{HostNS: m.router.HostNS, Physical: map[string]string{outside: externalBridge}}))
	}
	host, err := m.router.Enter(m.router.HostNS)
	if err != nil {
		return err
	}
	return host.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: externalBridge}}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	})
}

// switches is two machines, each with an Open vSwitch of its own, and an Ethernet between them. The
// tenant's networks are tunnelled over that; the outside one is what is behind the first machine's
// external bridge.
func (m *machines) switches(ctx context.Context, dir string) (err error) {
	m.story = "The tiers are on another machine than the router, and Open vSwitch carries their networks over in VXLAN."
	if m.tiers, err = lab.NewIn(dir, "tiers-"); err != nil {
		return err
	}
	underlay, err := m.router.NewUnderlay()
	if err != nil {
		return err
	}
	addrs := map[*lab.Lab]netip.Addr{m.router: addr("192.0.2.1"), m.tiers: addr("192.0.2.2")}
	configs := map[*lab.Lab]ovs.Config{}
	for l, a := range addrs {
		s, err := l.Switch(ctx)
		if err != nil {
			return err
		}
		if _, err := underlay.Join(ctx, l, s, string(ovs.Netdev), netip.PrefixFrom(a, 24)); err != nil {
			return err
		}
		configs[l] = ovs.Config{
			HostNS: l.HostNS, Endpoints: []string{s.Endpoint}, RunDir: s.RunDir, Datapath: ovs.Netdev,
			Physical: map[string]string{outside: externalBridge},
			Tunnel:   ovs.Tunnel{Local: a, Peers: []netip.Addr{addrs[m.router], addrs[m.tiers]}},
		}
		if l != m.router {
			continue
		}
		if _, err := s.Vsctl("add-br", externalBridge, "--", "set", "bridge", externalBridge, "datapath_type="+string(ovs.Netdev)); err != nil {
			return err
		}
		m.flags = []string{
			"--ovs-endpoint", s.Endpoint, "--ovs-run-dir", s.RunDir, "--ovs-datapath", string(ovs.Netdev),
			"--tunnel-address", a.String(), "--tunnel-peers", addrs[m.tiers].String(),
		}
	}
	m.wiring = func(ctx context.Context, host string) (namespace.InterfaceDriver, error) {
		l := m.tiers
		if beyond(host) {
			l = m.router
		}
		return m.keep(ovs.New(ctx, configs[l]))
	}
	return nil
}

// keep has wiring closed with the machines.
func (m *machines) keep(w namespace.InterfaceDriver, err error) (namespace.InterfaceDriver, error) {
	if err != nil {
		return nil, err
	}
	m.wirings = append(m.wirings, w)
	return w, nil
}

func (m *machines) close() error {
	var errs []error
	for _, w := range m.wirings {
		errs = append(errs, w.Close())
	}
	if m.tiers != nil && m.tiers != m.router {
		errs = append(errs, m.tiers.Close())
	}
	return errors.Join(append(errs, m.router.Close())...)
}
