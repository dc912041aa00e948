package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/service"
)

// compileEdge measures what it takes to derive what one host has of a distributed router with 1,000
// workloads on 100 hosts.
func compileEdge(context.Context) ([]row, error) {
	const workloads, hosts, runs = 1000, 100, 50
	in := service.Intent{
		Router:   l3.Router{Meta: l3.Meta{ID: "r"}, AdminStateUp: true, Distributed: true},
		Networks: map[string]l3.Network{}, Subnets: map[string]l3.Subnet{},
		Spread: &service.Spread{
			Transit: dataplane.Network{ID: "transit", Type: dataplane.NetworkVXLAN, Segment: 9}, MTU: 1450,
			Centre: service.Instance{Host: "node", Number: hosts + 1, MAC: dataplane.MAC{2, 9, 9, 9, 9, 9}},
		},
	}
	for i, name := range []string{"web", "app"} {
		gateway := netip.AddrFrom4([4]byte{10, byte(i), 0, 1})
		in.Networks[name] = l3.Network{Meta: l3.Meta{ID: name}, MTU: 1450, Segments: []l3.Segment{{Type: dataplane.NetworkVXLAN, ID: uint32(i + 1)}}}
		in.Subnets[name] = l3.Subnet{Meta: l3.Meta{ID: name}, CIDR: netip.PrefixFrom(gateway, 16).Masked(), GatewayIP: gateway}
		in.Ports = append(in.Ports, l3.Port{
			Meta: l3.Meta{ID: name}, NetworkID: name, AdminStateUp: true, MAC: dataplane.MAC{2, 0, 0, 0, 0, byte(i)},
			DeviceOwner: l3.OwnerDistributedInterface, FixedIPs: []l3.FixedIP{{SubnetID: name, IPAddress: gateway}},
		})
	}
	for i := range workloads {
		n := i % 2
		in.Spread.Located = append(in.Spread.Located, service.Located{
			NetworkID: []string{"web", "app"}[n], Host: fmt.Sprint("host-", i%hosts), Addr: netip.AddrFrom4([4]byte{10, byte(n), byte(1 + i/250), byte(1 + i%250)}),
		})
	}
	for i := range hosts {
		in.Spread.Edges = append(in.Spread.Edges, service.Instance{Host: fmt.Sprint("host-", i), Number: uint16(i + 1), MAC: dataplane.MAC{2, 9, 0, 0, 0, byte(i)}})
	}
	var samples []time.Duration
	for range runs {
		var out dataplane.Router
		d, err := timed(func() (err error) {
			out, err = service.CompileEdge(in, "host-7")
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(out.Transit.Routes) < workloads-workloads/hosts {
			return nil, fmt.Errorf("%d routes were compiled", len(out.Transit.Routes))
		}
		samples = append(samples, d)
	}
	return []row{atMost(5, row{Name: "dvr/compile-1000", Value: milliseconds(median(samples)), Unit: "ms", Note: "one of 100 hosts"})}, nil
}

// bind measures how long it takes until all hosts of a distributed router know where another
// workload is. The hosts are simulated: what each has is the agent's end of the bus.
func bind(ctx context.Context) (rows []row, err error) {
	const hosts, runs = 100, 100
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(own), "bind-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := newLine(ctx, filepath.Join(dir, "l3"), false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	subnet, err := l.distribute(ctx)
	if err != nil {
		return nil, err
	}
	arrived := make(chan arrival, hosts)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	for i := range hosts {
		host := fmt.Sprint("host-", i)
		if err := l.watch(watching, host, arrived); err != nil {
			return nil, err
		}
		if _, err := l.place(ctx, subnet, host); err != nil {
			return nil, err
		}
	}
	another := func(host int) error {
		a, err := l.place(ctx, subnet, fmt.Sprint("host-", host))
		if err != nil {
			return err
		}
		for know := map[string]bool{}; len(know) < hosts; {
			select {
			case at := <-arrived:
				if slices.Contains(at.known, a) {
					know[at.host] = true
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	if err := another(0); err != nil { // until the hosts have what came before
		return nil, err
	}
	var samples []time.Duration
	before, err := processorTime()
	if err != nil {
		return nil, err
	}
	for i := range runs {
		d, err := timed(func() error { return another(i % hosts) })
		if err != nil {
			return nil, err
		}
		samples = append(samples, d)
	}
	after, err := processorTime()
	if err != nil {
		return nil, err
	}
	slices.Sort(samples)
	return []row{atMost(250, row{
		Name: "dvr/bind", Value: milliseconds(samples[runs*99/100-1]), Unit: "ms",
		Note: fmt.Sprintf("p99 of %d; median %.0f ms; %.0f ms of processor time each, with that of the agents, which decode what they are told",
			runs, milliseconds(median(samples)), milliseconds((after-before)/runs)),
	})}, nil
}

// processorTime is what this process has used.
func processorTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// arrival is what a host knows of where workloads are.
type arrival struct {
	host  string
	known []netip.Addr
}

// distribute makes a distributed router with one subnet.
func (l *line) distribute(ctx context.Context) (l3.Subnet, error) {
	networks, err := l.service.CreateNetworks(ctx, lineCaller, l3.NetworkSpec{})
	if err != nil {
		return l3.Subnet{}, err
	}
	subnets, err := l.service.CreateSubnets(ctx, lineCaller, l3.SubnetSpec{NetworkID: &networks[0].ID, CIDR: new(netip.MustParsePrefix("10.1.0.0/16"))})
	if err != nil {
		return l3.Subnet{}, err
	}
	routers, err := l.service.CreateRouters(ctx, lineCaller, l3.RouterSpec{Distributed: new(true)})
	if err != nil {
		return l3.Subnet{}, err
	}
	_, err = l.service.AddRouterInterface(ctx, lineCaller, routers[0].ID, l3.InterfaceSpec{SubnetID: subnets[0].ID})
	return subnets[0], err
}

// watch registers a host, and has what it is told arrive.
func (l *line) watch(ctx context.Context, host string, arrived chan<- arrival) error {
	if _, err := l.service.Heartbeat(ctx, agent.Heartbeat{Host: host, Capabilities: agent.Capabilities{Mode: agent.ModeDVR}}); err != nil {
		return err
	}
	nc, err := l.connect(natsbus.Login{Server: l.server, Host: host, Password: natsbus.Credential(l.secret, host)})
	if err != nil {
		return err
	}
	source, err := natsbus.NewSource(nc, host, nil)
	if err != nil {
		return err
	}
	events, err := source.Watch(ctx, agent.Session{Host: host, Instance: "i", Machine: host})
	if err != nil {
		return err
	}
	go func() {
		for e := range events {
			p, is := e.(agent.Put)
			if !is || p.Router.Transit == nil {
				continue
			}
			at := arrival{host: host}
			for _, r := range p.Router.Transit.Routes {
				if r.Dest.IsSingleIP() {
					at.known = append(at.known, r.Dest.Addr())
				}
			}
			for _, port := range p.Router.Ports {
				at.known = append(at.known, port.Anycast.Neighbours...)
			}
			select {
			case arrived <- at:
			case <-ctx.Done():
			}
		}
	}()
	return nil
}

// place binds a new port to a host, and returns its address.
func (l *line) place(ctx context.Context, subnet l3.Subnet, host string) (netip.Addr, error) {
	made, err := l.service.CreatePorts(ctx, lineCaller, l3.PortSpec{NetworkID: &subnet.NetworkID, HostID: &host})
	if err != nil {
		return netip.Addr{}, err
	}
	return made[0].FixedIPs[0].IPAddress, nil
}
