package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// hostAddrs are external addresses for many routers and their floating IPs.
var hostAddrs = netip.MustParsePrefix("100.64.0.0/16")

// agentStart measures the start of an agent that has n routers to make, and of one that finds them
// made.
func agentStart(ctx context.Context, n int) ([]row, error) {
	least, err := floors(n)
	if err != nil {
		return nil, err
	}
	return withCluster(ctx, deployment.Config{Hosts: 1}, func(c *deployment.Cluster, api *gophercloud.ServiceClient) ([]row, error) {
		external, err := deployment.NewExternal(ctx, api, deployment.Physical, hostAddrs, hostAddrs.Addr().Next())
		if err != nil {
			return nil, err
		}
		host := c.Hosts[0]
		if err := host.Agent.Terminate(ctx); err != nil {
			return nil, err
		}
		for i := range n {
			if _, err := deployment.NewTenant(ctx, api, external, fmt.Sprint("t", i)); err != nil {
				return nil, err
			}
		}
		time.Sleep(time.Second) // the last message is on the bus
		cold, err := timed(func() error { return startAgent(ctx, host, n) })
		if err != nil {
			return nil, err
		}
		made, err := resident(host.Agent.PID())
		if err != nil {
			return nil, err
		}
		if err := host.Agent.Terminate(ctx); err != nil {
			return nil, err
		}
		time.Sleep(5 * time.Second) // announcements of addresses would end with the agent; the kernel's own notifications do not
		var warm time.Duration
		var writes []string
		err = host.Do(func() (err error) {
			writes, err = lab.Writes(namespacesOf(), func() error {
				return elsewhere(func() (err error) {
					warm, err = timed(func() error { return startAgent(ctx, host, n) })
					return err
				})
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		found, err := resident(host.Agent.PID())
		if err != nil {
			return nil, err
		}
		children, err := faultsOfChildren(host.Agent.PID())
		if err != nil {
			return nil, err
		}
		repaired, err := repairs(ctx, host)
		if err != nil {
			return nil, err
		}
		proxies, err := residentWithMetadata(ctx, host, n)
		if err != nil {
			return nil, err
		}
		name := func(what string) string { return fmt.Sprintf("agent/%s-%d", what, n) }
		return []row{
			atMost(2, row{Name: name("start-cold"), Value: float64(cold) / float64(least), Unit: "x floor",
				Note: fmt.Sprintf("%.2f s, floor %.2f s", cold.Seconds(), least.Seconds())}),
			atMost(2, row{Name: name("start-warm"), Value: warm.Seconds(), Unit: "s"}),
			atMost(0, row{Name: name("start-warm") + "/writes", Value: float64(len(writes)), Unit: "kernel writes",
				Note: strings.Join(writes[:min(len(writes), 1)], "")}),
			atMost(0, row{Name: name("start-warm") + "/processes", Value: children, Unit: "page faults of children", Note: "0: no process was started"}),
			atMost(1, row{Name: "e2e/repair", Value: median(repaired).Seconds(), Unit: "s",
				Note: fmt.Sprintf("one of %d routers, from the flush of its rules; slowest %.2f s", n, slices.Max(repaired).Seconds())}),
			atMost(80, row{Name: name("rss"), Value: max(made, found), Unit: "MiB", Note: fmt.Sprintf("%.1f after making them, %.1f after finding them", made, found)}),
			atMost(20, row{Name: name("rss") + "/metadata", Value: proxies - found, Unit: "MiB",
				Note: fmt.Sprintf("what a metadata proxy for each adds; %.1f after finding them", proxies)}),
		}, nil
	})
}

// residentWithMetadata is the memory of an agent that has found n routers, and serves metadata for
// each.
func residentWithMetadata(ctx context.Context, h *deployment.Host, n int) (float64, error) {
	if err := h.Agent.Terminate(ctx); err != nil {
		return 0, err
	}
	h.Agent.Args = append(slices.Clone(h.Agent.Args), "--metadata-url=http://127.0.0.1:9/") // nobody asks
	if err := startAgent(ctx, h, n); err != nil {
		return 0, err
	}
	return resident(h.Agent.PID())
}

// repairs measures how long the rules of a router are away that somebody flushes, on a host with
// many.
func repairs(ctx context.Context, h *deployment.Host) (took []time.Duration, err error) {
	const runs = 11
	routers, err := h.Routers()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(routers))[:runs] { // each once: the agent is slower with those that keep being flushed
		inside, err := h.Inside(id)
		if err != nil {
			return nil, err
		}
		conn, err := nftables.New(nftables.WithNetNSFd(inside.FD()), nftables.AsLasting())
		if err != nil {
			return nil, err
		}
		one, err := timed(func() error { return repair(ctx, conn) })
		if err := errors.Join(err, conn.CloseLasting()); err != nil {
			return nil, err
		}
		took = append(took, one)
	}
	return took, nil
}

// repair flushes all rules, and waits until there are some: they come as a whole or not at all.
func repair(ctx context.Context, conn *nftables.Conn) error {
	conn.FlushRuleset()
	if err := conn.Flush(); err != nil {
		return err
	}
	for {
		tables, err := conn.ListTables()
		if err != nil || len(tables) > 0 {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the rules stay away: %w", ctx.Err())
		}
	}
}

// elsewhere runs fn on a thread that sees this machine's own files.
func elsewhere(fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return <-done
}

// startAgent returns when the agent has its routers as they should be.
func startAgent(ctx context.Context, h *deployment.Host, n int) error {
	if err := h.Agent.Start(); err != nil {
		return err
	}
	for {
		m, err := h.Metrics(ctx)
		if err == nil && m["l3kit_agent_synced"] == 1 && m["l3kit_agent_routers"] == float64(n) && m["l3kit_agent_waiting"] == 0 {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// namespacesOf are the paths of a host's own namespace and of those of its routers, for a thread of
// the host.
func namespacesOf() []string {
	routers, _ := filepath.Glob(filepath.Join(netns.Dir, dataplane.NamespaceName("*"))) // the pattern is right
	return append(routers, "")
}

// resident is a process's memory in MiB, as proc_pid_status(5) has it.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// faultsOfChildren is more than 0 when the process had children that have ended: cminflt of
// proc_pid_stat(5).
func faultsOfChildren(pid int) (float64, error) {
	const cminflt = 11 - 3 // after pid and comm, which are cut off, from 0
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return strconv.ParseFloat(fields[cminflt], 64)
}

// floors makes n routers, each with a network of its own on a bridge with a VXLAN device, in the
// way of [floor]. It says how long that takes.
func floors(n int) (took time.Duration, err error) {
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	host, err := netns.Open(l.HostNS)
	if err != nil {
		return 0, err
	}
	defer host.Close()
	links, err := netlink.NewHandleAt(vnetns.NsHandle(host.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer links.Close()
	socket, err := newSocket(int(host.Fd()))
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	external := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "external"}}
	if err := errors.Join(links.LinkAdd(external), links.LinkSetUp(external)); err != nil {
		return 0, err
	}
	opened := make([]*os.File, 0, n)
	defer func() {
		for _, ns := range opened {
			ns.Close()
		}
	}()
	return timed(func() error {
		for i := range n {
			r := router("r", 1)
			r.Ports = r.Ports[:1]
			network := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("b", i), Flags: unix.IFF_UP}}
			if err := links.LinkAdd(network); err != nil {
				return err
			}
			tunnel := &netlink.Vxlan{VxlanId: i + 1, Port: 4789, LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("v", i), MasterIndex: network.Index}}
			if err := errors.Join(links.LinkAdd(tunnel), links.LinkSetUp(tunnel)); err != nil {
				return err
			}
			ns, err := floorRouter(l.Dir, fmt.Sprint("f", i), socket, []int{network.Index, external.Index}, r, floorTable)
			if err != nil {
				return err
			}
			opened = append(opened, ns)
		}
		return nil
	})
}
