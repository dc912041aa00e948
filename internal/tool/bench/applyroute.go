package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// applyRoute measures an Apply of an edge that has one more remote workload, with few present and
// with a thousand.
func applyRoute(ctx context.Context) ([]row, error) {
	const few, many, runs = 10, 1000, 200
	var rows []row
	for _, b := range []backend{nft, ipt} {
		var sizes []row
		for _, n := range []int{few, many} {
			d, err := applyRouteAt(ctx, b, n, runs)
			if err != nil {
				return nil, err
			}
			sizes = append(sizes, atMost(0.5, row{Name: fmt.Sprintf("dvr/apply-route-%s-%d", b.name, n), Value: milliseconds(d), Unit: "ms"}))
		}
		rows = append(rows, sizes...)
		rows = append(rows, flat(fmt.Sprintf("dvr/apply-route-%s-flat", b.name), "slowest to fastest of the above", sizes))
	}
	return rows, nil
}

func applyRouteAt(ctx context.Context, b backend, present, runs int) (took time.Duration, err error) {
	s, err := newStage(ctx, b)
	if err != nil {
		return 0, err
	}
	defer s.close()
	r := edge(present)
	for range 2 {
		if _, err := s.dataplane.Apply(ctx, r); err != nil {
			return 0, err
		}
	}
	defer func() { err = errors.Join(err, s.dataplane.Delete(context.WithoutCancel(ctx), r.ID)) }()
	time.Sleep(time.Second) // announcements are over
	var samples []time.Duration
	more := edge(present)
	more.Transit.Routes = slices.Insert(more.Transit.Routes, 1+present/2, remote(present-1)) // where compiling puts it
	for range runs {
		d, err := timed(func() error {
			plan, err := s.dataplane.Apply(ctx, more)
			if err == nil && len(plan.Steps) != 1 {
				err = fmt.Errorf("one route is %d steps", len(plan.Steps))
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		samples = append(samples, d)
		if _, err := s.dataplane.Apply(ctx, r); err != nil {
			return 0, err
		}
	}
	return median(samples), nil
}

// centreHop is the address of the centre on an edge's transit.
var centreHop = netip.MustParseAddr("169.254.64.2")

// edge is what a host has of a distributed router that has n workloads elsewhere, on 100 hosts.
// Every other address is one of them.
func edge(n int) dataplane.Router {
	leg := port("edge-w", "web", 1, "10.1.0.1/16")
	leg.Anycast = &dataplane.Anycast{Neighbours: []netip.Addr{netip.MustParseAddr("10.1.255.5")}}
	r := dataplane.Router{ID: "edge", Ports: []dataplane.Port{leg}, Transit: &dataplane.Transit{
		Port:   port("edge-t", "transit", 2, "169.254.64.1/18"),
		Routes: []dataplane.Route{{Dest: leg.Addrs[0].Masked(), NextHop: centreHop}},
		Centre: []netip.Addr{centreHop},
	}}
	for i := range n {
		r.Transit.Routes = append(r.Transit.Routes, remote(2*i))
	}
	return r
}

// remote leads to the i-th address.
func remote(i int) dataplane.Route {
	const hosts = 100
	return dataplane.Route{Dest: netip.PrefixFrom(floatingIP(i).Fixed, 32), NextHop: netip.AddrFrom4([4]byte{169, 254, 64, byte(3 + i%hosts)})}
}
