package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// holder is a workload that can have the virtual address.
type holder struct {
	*lab.Host
	port *deployment.Tenant
}

// sighting measures how long after a virtual address has announced itself on another host it
// answers to another subnet on a third one.
func sighting(ctx context.Context) ([]row, error) {
	const hosts, runs = 3, 20
	virtual := netip.AddrPortFrom(netip.MustParseAddr("10.0.1.250"), echoPort) // on the app's network
	return withRegion(ctx, hosts, func(r *region) ([]row, error) {
		client, err := r.hosts[0].PlaceAndAttach(ctx, r.api, r.web)
		if err != nil {
			return nil, err
		}
		var holders [2]holder
		for i := range holders {
			t, w, err := r.more(ctx, r.app, r.hosts[1+i], fmt.Sprint("holder-", i))
			if err != nil {
				return nil, err
			}
			holders[i] = holder{w, t}
		}
		asker, err := newAsker(client, virtual.Addr())
		if err != nil {
			return nil, err
		}
		defer asker.close()
		var samples []time.Duration
		for i := range runs + 1 {
			if err := r.settled(ctx); err != nil {
				return nil, err
			}
			time.Sleep(250 * time.Millisecond) // a host may send the next sighting at once
			d, err := appears(ctx, holders[i%2], virtual, asker)
			if err != nil {
				return nil, err
			}
			if i > 0 { // nobody had it before
				samples = append(samples, d)
			}
		}
		return []row{atMost(300, row{
			Name: "dvr/sighting", Value: milliseconds(median(samples)), Unit: "ms",
			Note: fmt.Sprintf("from the gratuitous ARP to a reply; %d runs", runs),
		})}, nil
	})
}

// appears gives a virtual address to a workload, says so, and takes it away when that has answered
// from it.
func appears(ctx context.Context, h holder, virtual netip.AddrPort, a *asker) (took time.Duration, err error) {
	if err := h.Hold(virtual.Addr(), true); err != nil {
		return 0, err
	}
	service, err := h.ServeAt(virtual)
	if err != nil {
		return 0, err
	}
	before := a.asked
	start := time.Now()
	if err := h.Announce(virtual.Addr(), h.port.MAC); err != nil {
		return 0, err
	}
	if err := a.until(ctx, func() (bool, error) { return a.answered > before, nil }); err != nil {
		return 0, err
	}
	took = time.Since(start)
	if err := service.Close(); err != nil {
		return 0, err
	}
	return took, h.Hold(virtual.Addr(), false)
}
