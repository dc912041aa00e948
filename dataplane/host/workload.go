package host

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/ovs"
)

// Attach gives the network namespace at a path, such as /run/netns/web or /proc/4711/ns/net, a
// device on the port's network; see [workload.Attach].
func (w *Wiring) Attach(ctx context.Context, netnsPath, device string, c workload.Config) error {
	return in(netnsPath, func(ns namespace.NS) error { return workload.Attach(ctx, w, ns, device, c) })
}

// Detach removes a device that Attach made; see [workload.Detach].
func (w *Wiring) Detach(ctx context.Context, netnsPath, device string) error {
	return in(netnsPath, func(ns namespace.NS) error { return workload.Detach(ctx, w, ns, device) })
}

// AttachTap makes a tap device for a virtual machine in the host's namespace, and returns its name;
// see [workload.AttachTap].
func (w *Wiring) AttachTap(ctx context.Context, p dataplane.Port) (tap string, err error) {
	return workload.AttachTap(ctx, w, namespace.NS{FD: int(w.host.Fd())}, p)
}

// DetachTap removes what AttachTap made; see [workload.DetachTap].
func (w *Wiring) DetachTap(ctx context.Context, port string) error {
	return workload.DetachTap(ctx, w, namespace.NS{FD: int(w.host.Fd())}, port)
}

func in(path string, fn func(namespace.NS) error) error {
	if path == "" {
		return fmt.Errorf("open a workload's namespace: %w", os.ErrNotExist) // and not the calling thread's
	}
	f, err := netns.Open(path)
	if err != nil {
		return fmt.Errorf("open a workload's namespace: %w", err)
	}
	defer f.Close()
	return fn(namespace.NS{FD: int(f.Fd())})
}

// workloads stands for them where a wiring asks for a router's ID.
const workloads = ""

// Workloads returns the IDs of the ports that workloads are attached by on this host, sorted.
// Those that other processes attached are among them.
func (w *Wiring) Workloads(ctx context.Context) ([]string, error) {
	if o, ok := w.driver.(*ovs.Driver); ok {
		return o.Attached(ctx, workloads) // it keeps the ports of workloads that have gone
	}
	ports, err := w.Networks(ctx, workloads)
	return slices.Sorted(maps.Keys(ports)), err
}

// RemoveWorkloads removes the ports of workloads for which gone returns true, without need of their
// namespaces, and what serves networks that have no port on this host any more. It returns the IDs
// of the ports removed.
func (w *Wiring) RemoveWorkloads(ctx context.Context, gone func(port string) bool) (removed []string, err error) {
	ports, err := w.Networks(ctx, workloads)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		if gone(port) {
			removed = append(removed, port)
		} else {
			others = append(others, dataplane.PortDevice(port))
		}
	}
	return removed, w.Sweep(ctx, workloads, others)
}
