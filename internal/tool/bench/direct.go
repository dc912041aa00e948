package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// direct measures how long after a workload is bound a packet from another subnet on another host
// reaches it from host to host, and not through the network node. The router is on 20 hosts.
func direct(ctx context.Context) ([]row, error) {
	const hosts, runs = 20, 19
	return withRegion(ctx, hosts, func(r *region) ([]row, error) {
		client, err := r.hosts[0].PlaceAndAttach(ctx, r.api, r.web)
		if err != nil {
			return nil, err
		}
		for _, h := range r.hosts[1:] {
			t, err := r.app.More(ctx, r.api, "first-"+h.Name)
			if err == nil {
				err = t.Place(ctx, r.api, h.Name)
			}
			if err != nil {
				return nil, err
			}
		}
		var samples []time.Duration
		for i := range runs {
			d, err := r.direct(ctx, client, r.hosts[1+i%(hosts-1)], fmt.Sprint("second-", i))
			if err != nil {
				return nil, fmt.Errorf("workload %d: %w", i, err)
			}
			samples = append(samples, d)
		}
		return []row{atMost(100, row{
			Name: "dvr/direct", Value: milliseconds(median(samples)), Unit: "ms",
			Note: fmt.Sprintf("from the request that binds, to the reply to a packet from host to host; %d hosts, %d runs", hosts, runs),
		})}, nil
	})
}

// direct measures one workload, on a host, as the client on the first host sees it. Before it is
// bound, it has not said anything by which its host could know it.
func (r *region) direct(ctx context.Context, client *lab.Host, h *deployment.Host, name string) (took time.Duration, err error) {
	t, err := r.app.More(ctx, r.api, name)
	if err != nil {
		return 0, err
	}
	w, err := h.Attach(ctx, t)
	if err != nil {
		return 0, err
	}
	service, err := w.Serve(echoPort)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, service.Close(), w.Detach(context.WithoutCancel(ctx))) }()
	arriving, err := r.Tunnels.CaptureAll(h.TunnelPort())
	if err != nil {
		return 0, err
	}
	defer arriving.Close()
	passing, err := r.Tunnels.CaptureAll(r.node.TunnelPort())
	if err != nil {
		return 0, err
	}
	defer passing.Close()
	asker, err := newAsker(client, t.Fixed)
	if err != nil {
		return 0, err
	}
	defer asker.close()
	if err := r.settled(ctx); err != nil {
		return 0, err
	}

	start := time.Now()
	if err := t.Place(ctx, r.api, h.Name); err != nil {
		return 0, err
	}
	first := 0 // question of which it is known that it goes directly
	err = asker.until(ctx, func() (bool, error) {
		if first > 0 {
			return asker.answered >= first, nil
		}
		is, err := carries(arriving, r.hosts[0].Tunnel, t.Fixed)
		if is {
			first = asker.asked + 1
			if asker.answered == asker.asked {
				first--
			}
		}
		return first > 0 && asker.answered >= first, err
	})
	took = time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("on %s: %w", h.Name, err)
	}
	return took, r.bypassed(asker, passing, t.Fixed)
}

// bypassed makes sure that questions do not pass the network node any more.
func (r *region) bypassed(a *asker, node *lab.Capture, to netip.Addr) error {
	const questions = 20
	time.Sleep(20 * time.Millisecond) // the last answer of the other way is there
	if _, err := node.Packets(); err != nil {
		return err
	}
	for range questions {
		if err := a.ask(time.Second); err != nil {
			return err
		}
	}
	if a.answered < a.asked {
		return fmt.Errorf("%s does not answer any more", to)
	}
	is, err := carries(node, netip.Addr{}, to)
	if is {
		err = fmt.Errorf("what is for %s passes the network node", to)
	}
	return err
}

// carries reports whether a tunnel has brought something for an address since it was asked last,
// from a host if one is given.
func carries(c *lab.Capture, from, to netip.Addr) (is bool, err error) {
	packets, err := c.Packets()
	for _, p := range packets {
		if p.Tunnel == nil || p.Tunnel.Inner == nil || from.IsValid() && p.Src.Addr() != from {
			continue
		}
		is = is || p.Tunnel.Inner.Dst.Addr() == to
	}
	return is, err
}
