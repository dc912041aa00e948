package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/l3kit/l3kit/internal/test/deployment"
)

// programs are the binaries of the reference deployment, beside this one.
func programs() (server, agent deployment.Command, err error) {
	own, err := os.Executable()
	if err != nil {
		return server, agent, err
	}
	dir := filepath.Dir(own)
	server, agent = deployment.Command{File: filepath.Join(dir, "server")}, deployment.Command{File: filepath.Join(dir, "agent")}
	for _, c := range []deployment.Command{server, agent} {
		if _, err := os.Stat(c.File); err != nil {
			return server, agent, fmt.Errorf("%w: it is built by make bench", err)
		}
	}
	return server, agent, nil
}

// withCluster runs fn on one server and some hosts, each a process of its own.
func withCluster(ctx context.Context, c deployment.Config, fn func(*deployment.Cluster, *gophercloud.ServiceClient) ([]row, error)) (rows []row, err error) {
	if c.Server, c.Agent, err = programs(); err != nil {
		return nil, err
	}
	cluster, err := deployment.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, cluster.LastWords())
		}
		err = errors.Join(err, cluster.Close())
	}()
	return fn(cluster, cluster.Servers[0].API)
}

const echoPort = 7

// e2e measures how long after the API's answer a packet gets through, on one host: out of a new
// router, and in by a new floating IP.
func e2e(ctx context.Context) ([]row, error) {
	const runs = 21
	return withCluster(ctx, deployment.Config{Hosts: 1}, func(c *deployment.Cluster, api *gophercloud.ServiceClient) ([]row, error) {
		external, err := deployment.NewExternal(ctx, api, deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
		if err != nil {
			return nil, err
		}
		service, err := c.Outside.Serve(echoPort)
		if err != nil {
			return nil, err
		}
		defer service.Close()
		var routers, bindings []time.Duration
		for i := range runs {
			r, f, err := firstPackets(ctx, c, api, external, fmt.Sprint("t", i))
			if err != nil {
				return nil, err
			}
			if i > 0 { // a warm-up
				routers, bindings = append(routers, r), append(bindings, f)
			}
		}
		return []row{
			atMost(50, row{Name: "e2e/router", Value: milliseconds(median(routers)), Unit: "ms", Note: "from the API's last answer to a reply from outside"}),
			atMost(20, row{Name: "e2e/fip", Value: milliseconds(median(bindings)), Unit: "ms", Note: "from the API's answer to a reply from inside"}),
		}, nil
	})
}

// firstPackets makes a tenant whose workload is there before its router.
func firstPackets(ctx context.Context, c *deployment.Cluster, api *gophercloud.ServiceClient, external, name string) (
	router, binding time.Duration, err error,
) {
	t, err := deployment.NewNetwork(ctx, api, name)
	if err != nil {
		return 0, 0, err
	}
	workload, err := c.Hosts[0].Attach(ctx, t)
	if err != nil {
		return 0, 0, err
	}
	service, err := workload.Serve(echoPort)
	if err != nil {
		return 0, 0, err
	}
	defer service.Close()
	if err := t.Route(ctx, api, external); err != nil {
		return 0, 0, err
	}
	if router, err = timed(func() error { return firstReply(ctx, workload, deployment.OutsideAddr) }); err != nil {
		return 0, 0, err
	}
	if err := t.Bind(ctx, api, external); err != nil {
		return 0, 0, err
	}
	if binding, err = timed(func() error { return firstReply(ctx, c.Outside, t.Floating) }); err != nil {
		return 0, 0, err
	}
	return router, binding, nil
}

// failover measures how long 100 routers are away when their host dies: until the last of them
// passes packets on another.
func failover(ctx context.Context) ([]row, error) {
	const routers, runs, limit = 100, 3, 6
	config := deployment.Config{Hosts: 3, AgentDownTime: 3 * time.Second}
	return withCluster(ctx, config, func(c *deployment.Cluster, api *gophercloud.ServiceClient) ([]row, error) {
		external, err := deployment.NewExternal(ctx, api, deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
		if err != nil {
			return nil, err
		}
		// The workloads are on a host that has no agent, and the routers on the first of the two
		// others.
		compute, from, to := c.Hosts[2], c.Hosts[0], c.Hosts[1]
		for _, h := range []*deployment.Host{compute, to} {
			if err := h.Agent.Kill(); err != nil {
				return nil, err
			}
		}
		time.Sleep(config.AgentDownTime + time.Second) // until the server knows
		var tenants []*deployment.Tenant
		for i := range routers {
			t, err := deployment.NewTenant(ctx, api, external, fmt.Sprint("t", i))
			if err != nil {
				return nil, err
			}
			workload, err := compute.Attach(ctx, t)
			if err != nil {
				return nil, err
			}
			if _, err := workload.Serve(echoPort); err != nil {
				return nil, err
			}
			tenants = append(tenants, t)
		}
		var away []float64
		for range runs {
			if err := restart(ctx, to); err != nil {
				return nil, err
			}
			if _, err := lastReply(ctx, c.Outside, tenants); err != nil {
				return nil, fmt.Errorf("before the host dies: %w", err)
			}
			if err := errors.Join(from.Agent.Kill(), from.Unplug(true)); err != nil {
				return nil, err
			}
			d, err := lastReply(ctx, c.Outside, tenants)
			if err != nil {
				return nil, fmt.Errorf("after the host has died: %w", err)
			}
			away = append(away, d.Seconds())
			from, to = to, from
		}
		return []row{atMost(limit, row{Name: fmt.Sprint("e2e/failover-", routers), Value: median(away), Unit: "s",
			Note: fmt.Sprintf("agent_down_time 3 s; from the host's death to a packet through the last router; %d runs: %.2f", runs, away)})}, nil
	})
}

// restart brings a host back, and returns when it has let go of what is elsewhere now.
func restart(ctx context.Context, h *deployment.Host) error {
	if err := h.Unplug(false); err != nil {
		return err
	}
	if err := h.Agent.Start(); err != nil {
		return err
	}
	if err := h.Ready(ctx); err != nil {
		return err
	}
	for {
		left, err := h.Routers()
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
