package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/scheduler"
)

// compile measures what it takes to derive a router of three ports and a thousand floating IPs.
func compile(context.Context) ([]row, error) {
	const floatingIPs, runs = 1000, 50
	in := service.Intent{
		Router:   l3.Router{Meta: l3.Meta{ID: "r"}, AdminStateUp: true, EnableSNAT: true},
		Networks: map[string]l3.Network{}, Subnets: map[string]l3.Subnet{},
	}
	for i, name := range []string{"web", "app", "outside"} {
		gateway := netip.AddrFrom4([4]byte{10, byte(i), 0, 1})
		in.Networks[name] = l3.Network{Meta: l3.Meta{ID: name}, MTU: 1450, Segments: []l3.Segment{{Type: dataplane.NetworkVXLAN, ID: uint32(i + 1)}}}
		in.Subnets[name] = l3.Subnet{Meta: l3.Meta{ID: name}, CIDR: netip.PrefixFrom(gateway, 16).Masked(), GatewayIP: gateway}
		p := l3.Port{
			Meta: l3.Meta{ID: name}, NetworkID: name, AdminStateUp: true, MAC: dataplane.MAC{2, 0, 0, 0, 0, byte(i)},
			DeviceOwner: l3.OwnerRouterInterface, FixedIPs: []l3.FixedIP{{SubnetID: name, IPAddress: gateway}},
		}
		if name == "outside" {
			p.DeviceOwner = l3.OwnerRouterGateway
			p.FixedIPs[0].IPAddress = netip.AddrFrom4([4]byte{10, byte(i), 255, 1})
			in.Router.Gateway = &l3.GatewayInfo{NetworkID: name, PortID: name, EnableSNAT: true, FixedIPs: p.FixedIPs}
		}
		in.Ports = append(in.Ports, p)
	}
	for i := range floatingIPs {
		hi, lo := byte(1+i/250), byte(1+i%250)
		in.FloatingIPs = append(in.FloatingIPs, l3.FloatingIP{
			Meta: l3.Meta{ID: fmt.Sprint("fip-", i)}, Address: netip.AddrFrom4([4]byte{10, 2, hi, lo}), FixedIP: netip.AddrFrom4([4]byte{10, 0, hi, lo}),
		})
	}
	var samples []time.Duration
	for range runs {
		var out dataplane.Router
		d, err := timed(func() (err error) {
			out, err = service.Compile(in)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(out.FloatingIPs) != floatingIPs {
			return nil, fmt.Errorf("%d floating IPs were compiled", len(out.FloatingIPs))
		}
		samples = append(samples, d)
	}
	return []row{atMost(2, row{Name: "l3/compile-1000", Value: milliseconds(median(samples)), Unit: "ms"})}, nil
}

// place measures the placing of 100,000 routers on 1,000 agents, one after the other.
func place(context.Context) ([]row, error) {
	const agents, routers = 1000, 100_000
	candidates := make([]l3.Candidate, agents)
	index := make(map[string]int, agents)
	for i := range candidates {
		candidates[i].Agent.ID = fmt.Sprint("agent-", i)
		index[candidates[i].Agent.ID] = i
	}
	s := scheduler.NewLeastRouters(nil)
	d, err := timed(func() error {
		for range routers {
			candidates[index[s.Pick(l3.Router{}, candidates)]].Routers++
		}
		return nil
	})
	return []row{atMost(1, row{Name: "scheduler/place-100000", Value: d.Seconds(), Unit: "s", Note: "LeastRouters, 1,000 agents"})}, err
}
