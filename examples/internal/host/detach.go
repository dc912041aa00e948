package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/internal/netns"
)

// Detach is the command that takes a workload off its network.
type Detach struct {
	Port string `arg:"" help:"ID or name of a port that was attached on this host."`
	API
	Machine
}

// Run is called by kong. A port that the API does not have any more is detached by its ID.
func (d *Detach) Run(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	api, err := d.client()
	if err != nil {
		return err
	}
	port, err := portNamed(ctx, api, d.Port)
	deleted := errors.Is(err, errNoPort)
	if deleted {
		port.ID = d.Port
	} else if err != nil {
		return err
	}
	w, err := d.wire(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	found, err := d.detach(ctx, w, port.ID)
	if err != nil {
		return err
	}
	if !deleted && port.HostID != "" && found {
		if err := bind(ctx, api, &port, ""); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("detach port %s: nothing on this host is attached to it", d.Port)
	}
	_, err = fmt.Fprintf(out, "detached port %s\n", port.ID)
	return err
}

// detach looks for the port's device in all namespaces that have a name or a process.
func (d *Detach) detach(ctx context.Context, w wiring, port string) (found bool, err error) {
	host, err := netns.Open(d.ns)
	if err != nil {
		return false, err
	}
	defer host.Close()
	hostNS := namespace.NS{FD: int(host.Fd())}
	if tap, err := workload.Device(hostNS, port); err != nil || tap == workload.TapName(port) {
		if err == nil {
			err = workload.DetachTap(ctx, w, hostNS, port)
		}
		return true, err
	}
	err = eachNamespace(func(ns namespace.NS) error {
		device, err := workload.Device(ns, port)
		if err != nil || device == "" {
			return err
		}
		found = true
		return workload.Detach(ctx, w, ns, device)
	})
	return found, err
}

// eachNamespace calls fn once for each network namespace that has a name or a process.
func eachNamespace(fn func(namespace.NS) error) error {
	seen := map[netns.ID]bool{}
	for _, pattern := range []string{filepath.Join(netns.Dir, "*"), "/proc/[0-9]*/ns/net"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			id, err := netns.Identify(path)
			if err != nil || seen[id] {
				continue // a process may have ended
			}
			seen[id] = true
			f, err := netns.Open(path)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, netns.ErrNotNamespace) {
				continue
			}
			if err != nil {
				return err
			}
			err = fn(namespace.NS{FD: int(f.Fd())})
			if err = errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("namespace %s: %w", path, err)
			}
		}
	}
	return nil
}
