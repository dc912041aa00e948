package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/ovs"
)

// stage is a host with three networks, each with one workload on it, and a dataplane.
type stage struct {
	lab       *lab.Lab
	ovs       *lab.Switch // nil with bridges
	wiring    namespace.InterfaceDriver
	dataplane *host.Host
	outside   *lab.Host
	web       *lab.Host
}

// backend is a dataplane to measure.
type backend struct {
	name   string
	config host.Config
}

var (
	nft = backend{"nftables", host.Config{}}
	ipt = backend{"iptables", host.Config{Backend: "iptables"}}
	// switched is Open vSwitch on its userspace datapath, which every kernel can run.
	switched = backend{"ovs", host.Config{Wiring: "ovs", OVS: host.OVS{Datapath: ovs.Netdev}}}
)

func newStage(ctx context.Context, b backend) (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.lab, err = lab.New(); err != nil {
		return nil, err
	}
	c := b.config
	c.HostNS, c.Dir, c.NoTakeOver = s.lab.HostNS, s.lab.Dir, true
	if c.Wiring == "ovs" {
		if s.ovs, err = s.lab.Switch(ctx); err != nil {
			return nil, err
		}
		c.OVS.Endpoints, c.OVS.RunDir = []string{s.ovs.Endpoint}, s.ovs.RunDir
	}
	if s.dataplane, err = host.Open(ctx, c); err != nil {
		return nil, err
	}
	s.wiring = s.dataplane.Wiring
	r := router("stage", 0)
	if s.outside, err = s.attach(ctx, "outside", r.Gateway.Network, "203.0.0.1/16", r.Gateway.Addrs[0].Addr()); err != nil {
		return nil, err
	}
	if s.web, err = s.attach(ctx, "web", r.Ports[0].Network, "10.1.255.5/16", r.Ports[0].Addrs[0].Addr()); err != nil {
		return nil, err
	}
	_, err = s.attach(ctx, "app", r.Ports[1].Network, "10.2.0.5/24", netip.Addr{})
	return s, err
}

func (s *stage) attach(ctx context.Context, name string, n dataplane.Network, addr string, via netip.Addr) (*lab.Host, error) {
	spec := lab.Spec{Name: name, Ports: []dataplane.Port{{ID: name, Network: n, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}}}
	if via.IsValid() {
		spec.Routes = []dataplane.Route{ // to the other side, also where nothing is translated
			{Dest: netip.MustParsePrefix("10.0.0.0/8"), NextHop: via}, {Dest: netip.MustParsePrefix("203.0.0.0/8"), NextHop: via},
		}
	}
	return s.lab.Attach(ctx, s.wiring, spec)
}

func (s *stage) close() error {
	var errs []error
	if s.dataplane != nil {
		errs = append(errs, s.dataplane.Close())
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}
	return errors.Join(errs...)
}

// router has two ports, a gateway with SNAT, and n floating IPs. Its ports' IDs begin with its own.
func router(id string, n int) dataplane.Router {
	r := dataplane.Router{
		ID: id,
		Ports: []dataplane.Port{
			port(id+"-w", "web", 1, "10.1.0.1/16"),
			port(id+"-a", "app", 2, "10.2.0.1/24"),
		},
		Gateway: &dataplane.Gateway{
			Port: port(id+"-g", "outside", 3, "203.0.255.254/16"), NextHops: []netip.Addr{netip.MustParseAddr("203.0.0.1")}, SNAT: true,
		},
	}
	for i := range n {
		r.FloatingIPs = append(r.FloatingIPs, floatingIP(i))
	}
	return r
}

func port(id, network string, last byte, addr string) dataplane.Port {
	return dataplane.Port{
		ID: id, Network: dataplane.Network{ID: network}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0xbe, 0, last},
		Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, MTU: 1500,
	}
}

// portForwarding is the i-th of up to 30,000 port forwardings of one address.
func portForwarding(i int) dataplane.PortForwarding {
	port := uint16(1 + i)
	return dataplane.PortForwarding{
		ID: fmt.Sprint("pf-", i), Addr: netip.AddrFrom4([4]byte{203, 0, 254, 1}), Proto: dataplane.TCP, Ports: dataplane.SinglePort(port),
		Fixed: netip.AddrFrom4([4]byte{10, 1, 250, 1}), FixedPorts: dataplane.SinglePort(port),
	}
}

// floatingIP is the i-th of up to 60,000 floating IPs.
func floatingIP(i int) dataplane.FloatingIP {
	hi, lo := byte(1+i/250), byte(1+i%250)
	return dataplane.FloatingIP{ID: fmt.Sprint("fip-", i), Addr: netip.AddrFrom4([4]byte{203, 0, hi, lo}), Fixed: netip.AddrFrom4([4]byte{10, 1, hi, lo})}
}
