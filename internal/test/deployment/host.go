package deployment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/internal/dump"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// Host is a machine with an agent on it, and with workloads beside the agent's routers.
type Host struct {
	*Machine
	Number int // from 0
	Agent  *Program
	Tunnel netip.Addr  // the host's address for tunnels
	OVS    *lab.Switch // nil: the host has Linux bridges

	cables   [3]cable
	wiring   *host.Wiring // of workloads
	password string
}

// cable is the far end of one of a host's.
type cable struct {
	ethernet *lab.Underlay
	far      string
}

func (cl *Cluster) addHost(ctx context.Context, i int) error {
	name := fmt.Sprintf("host%d", i+1)
	m, err := cl.machine(name, true)
	if err != nil {
		return err
	}
	h := &Host{Machine: m, Number: i, Tunnel: address(tunnelNet, firstHost+i), password: cl.credential(name)}
	tunnel := []netip.Prefix{netip.PrefixFrom(h.Tunnel, tunnelNet.Bits())}
	if cl.config.Wiring == WiringOVS {
		tunnel = nil // the switch has it
	}
	for i, c := range []struct {
		ethernet *lab.Underlay
		device   string
		addrs    []netip.Prefix
	}{
		{cl.Management, managementDevice, []netip.Prefix{netip.PrefixFrom(address(managementNet, firstHost+i), managementNet.Bits())}},
		{cl.Tunnels, TunnelDevice, tunnel},
		{cl.External, ExternalDevice, nil},
	} {
		h.cables[i].ethernet = c.ethernet
		if h.cables[i].far, err = c.ethernet.Connect(m.Lab, c.device, c.addrs...); err != nil {
			return err
		}
	}
	if cl.config.Wiring == WiringOVS {
		if err := h.addSwitch(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	var peers []netip.Addr
	for i := range cl.config.Hosts {
		peers = append(peers, address(tunnelNet, firstHost+i))
	}
	if h.wiring, err = host.OpenWiring(ctx, h.wiringConfig(peers)); err != nil {
		return err
	}
	args := []string{
		"run", "--host=" + name, "--bus=" + cl.at("nats://%s:%d", busPort), "--bus-password-file=" + credentialFile,
		"--tunnel-address=" + h.Tunnel.String(), "--cache=" + agentCache,
		"--heartbeat=" + cl.config.Heartbeat.String(), fmt.Sprintf("--metrics=127.0.0.1:%d", webPort), "--log-level=debug",
	}
	h.Agent = cl.program(m, name, cl.config.Agent, append(args, h.wiringFlags()...)...)
	if cl.config.AgentFlags != nil {
		h.Agent.Args = append(h.Agent.Args, cl.config.AgentFlags(h)...)
	}
	cl.Hosts = append(cl.Hosts, h)
	return nil
}

// enrol gives the host what its agent needs to be let in.
func (h *Host) enrol() error {
	return h.Do(func() error {
		err := os.MkdirAll(filepath.Dir(credentialFile), 0o700)
		return errors.Join(err, os.WriteFile(credentialFile, []byte(h.password+"\n"), 0o600))
	})
}

// Ready waits until the agent says that it is.
func (h *Host) Ready(ctx context.Context) error { return h.Agent.Ready(ctx, readyz) }

// Metrics are those numbers of the agent that have no labels, by their names.
func (h *Host) Metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, metricsURL, nil)
	if err != nil {
		return nil, err
	}
	answer, err := h.HTTP().Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		var name string
		var value float64
		if n, _ := fmt.Sscan(line, &name, &value); n == 2 {
			values[name] = value
		}
	}
	return values, nil
}

// Isolate cuts the host off the management network, or connects it again.
func (h *Host) Isolate(cut bool) error { return h.cables[0].ethernet.Cut(h.cables[0].far, cut) }

// Unplug cuts all of the host's cables, or mends them.
func (h *Host) Unplug(cut bool) error {
	var errs []error
	for _, c := range h.cables {
		errs = append(errs, c.ethernet.Cut(c.far, cut))
	}
	return errors.Join(errs...)
}

// TunnelPort is the end of the host's cable on [Cluster.Tunnels], to capture from.
func (h *Host) TunnelPort() string { return h.cables[1].far }

// ExternalPort is the external network's end of the host's cable, to capture from.
func (h *Host) ExternalPort() string { return h.cables[2].far }

// Routers are those that have a namespace on the host, by their IDs; the centre of a distributed
// router has one of its own. A namespace that was made anew is another.
func (h *Host) Routers() (namespaces map[string]netns.ID, err error) {
	namespaces = map[string]netns.ID{}
	err = h.Do(func() error {
		var paths []string
		for _, kind := range []string{"*", dataplane.CentreID("*")} {
			found, err := filepath.Glob(filepath.Join(netns.Dir, dataplane.NamespaceName(kind)))
			if err != nil {
				return err
			}
			paths = append(paths, found...)
		}
		for _, path := range paths {
			id, err := netns.Identify(path)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, netns.ErrNotNamespace) {
				continue // it is being taken away
			}
			if err != nil {
				return err
			}
			namespaces[strings.TrimPrefix(filepath.Base(path), dataplane.NamespaceName(""))] = id
		}
		return nil
	})
	return namespaces, err
}

// Ports counts the ports that routers have on the host, by the routers' IDs, as the wiring marks
// them.
func (h *Host) Ports() (ports map[string]int, err error) {
	ports = map[string]int{}
	if h.OVS != nil {
		marks, err := h.OVS.Vsctl("--bare", "--columns=external_ids", "find", "port", "external_ids:l3kit=port")
		for _, word := range strings.Fields(marks) {
			if router, ok := strings.CutPrefix(word, "l3kit-router="); ok {
				ports[router]++
			}
		}
		return ports, err
	}
	err = h.Do(func() error {
		links, err := dump.Complete(netlink.LinkList)
		if err != nil {
			return err
		}
		for _, l := range links {
			for _, word := range strings.Fields(l.Attrs().Alias) {
				if router, ok := strings.CutPrefix(word, "router="); ok {
					ports[router]++
				}
			}
		}
		return nil
	})
	return ports, err
}

// Inside is the namespace of a router on the host, to probe from.
func (h *Host) Inside(router string) (inside *lab.Host, err error) {
	err = h.Do(func() error {
		inside, err = h.Enter(filepath.Join(netns.Dir, dataplane.NamespaceName(router)))
		return err
	})
	return inside, err
}

// Reboot leaves of the host what is left when the power has failed: what is on disk, and its
// cables. The agent, which must not run, is to be started again, and workloads are gone. Open
// vSwitch runs again, with the ports that its database has.
func (h *Host) Reboot(ctx context.Context) error {
	if err := h.powerOff(); err != nil {
		return err
	}
	if err := h.clear(); err != nil {
		return err
	}
	return h.powerOn(ctx)
}

// clear removes all namespaces of routers, and all devices but the cables.
func (h *Host) clear() error {
	return h.Do(func() error {
		names, err := os.ReadDir(netns.Dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, n := range names {
			if err := netns.Remove(netns.Dir, n.Name()); err != nil {
				return err
			}
		}
		links, err := dump.Complete(netlink.LinkList)
		if err != nil {
			return err
		}
		for _, l := range links {
			switch l.Attrs().Name {
			case "lo", managementDevice, TunnelDevice, ExternalDevice:
				continue
			}
			// One end of a pair goes with the other, and both with a namespace, a moment after that
			// has lost its name.
			if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("delete %s: %w", l.Attrs().Name, err)
			}
		}
		return nil
	})
}
