package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/ovs"
)

// Wiring attaches workloads to the networks of a host. It is also the [namespace.InterfaceDriver]
// by which the routers of a [Host] are attached.
type Wiring struct {
	driver
	config Config
	host   *os.File // the host's namespace
}

var _ namespace.WatchedWiring = (*Wiring)(nil)

// driver is what both wirings are.
type driver interface {
	namespace.WatchedWiring
	SetPeers(context.Context, []netip.Addr) error
}

// OpenWiring opens the wiring of a host without a dataplane, for hosts and programs that attach
// workloads and realise no routers. Backend, NoTakeOver, IPTables and Dir are not used. Otherwise
// it is as [Open].
func OpenWiring(ctx context.Context, c Config) (_ *Wiring, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if c.Wiring == "ovs" {
		if err := installed("Wiring", "ovs", "ovs-ofctl"); err != nil {
			return nil, err
		}
	}
	w := &Wiring{config: c}
	if w.host, err = netns.Open(c.HostNS); err != nil {
		return nil, &ConfigError{"HostNS", fmt.Errorf("open the host's namespace: %w", err), dataplane.ErrHostConfig}
	}
	switch c.Wiring {
	case "ovs":
		w.driver, err = ovs.New(ctx, ovs.Config{
			HostNS: c.HostNS, Endpoints: c.OVS.Endpoints, TLS: c.OVS.TLS, RunDir: c.OVS.RunDir, Datapath: c.OVS.Datapath, Device: c.OVS.Device,
			Integration: c.OVS.Integration, Physical: c.Physical, Direct: c.OVS.Direct, Logger: c.Logger,
			Tunnel: ovs.Tunnel{Bridge: c.OVS.Tunnel, Local: c.Tunnel.Local, Port: c.Tunnel.VXLANPort, Peers: c.Tunnel.Peers, Checksum: c.OVS.Checksum},
		})
	default:
		w.driver, err = bridge.New(bridge.Config{
			HostNS: c.HostNS, Physical: c.Physical, Logger: c.Logger,
			VXLAN: bridge.VXLAN{Local: c.Tunnel.Local, Port: c.Tunnel.VXLANPort, Peers: c.Tunnel.Peers},
		})
	}
	if err != nil {
		return nil, errors.Join(err, w.host.Close())
	}
	return w, nil
}

// Close releases what this process holds. Everything stays attached. A second Close is fine.
func (w *Wiring) Close() error {
	err := w.host.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(w.driver.Close(), err)
}

// SetPeers replaces the tunnel addresses of the other hosts; those of Config.Tunnel.Peers stay.
// This host's own among them does no harm. Addresses that cannot be used are skipped, and are an
// error that is [dataplane.ErrInvalid]; after another error the call should be repeated.
func (w *Wiring) SetPeers(ctx context.Context, hosts []netip.Addr) error {
	return w.driver.SetPeers(ctx, slices.Concat(w.config.Tunnel.Peers, hosts))
}

// CheckConfig reports what the Config names and the host does not have: the address for tunnels,
// and for each physical network a device that routers can use. Each is a [ConfigError] that is
// [dataplane.ErrHostConfig]. A router that needs what is missing fails until the host has it, so a
// program may warn and go on. It touches nothing.
func (w *Wiring) CheckConfig(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(w.config.Physical)) {
		device := w.config.Physical[name]
		var err error
		if w.config.Wiring == "ovs" {
			err = w.checkSwitch(ctx, name)
		} else {
			err = netns.Do(int(w.host.Fd()), func() error { return checkInterface(device) })
		}
		if err != nil {
			errs = append(errs, &ConfigError{"Physical", fmt.Errorf("%s=%s: %w", name, device, err), dataplane.ErrHostConfig})
		}
	}
	if err := netns.Do(int(w.host.Fd()), w.checkTunnel); err != nil {
		errs = append(errs, &ConfigError{"Tunnel.Local", err, dataplane.ErrHostConfig})
	}
	return errors.Join(errs...)
}

// checkSwitch asks Open vSwitch for the bridge of a physical network.
func (w *Wiring) checkSwitch(ctx context.Context, physical string) error {
	if slices.Contains(w.config.OVS.Direct, physical) {
		return nil // nothing but a flat network can be planned on it, and its port may exist already
	}
	const someVLAN = 4094
	_, err := w.Plan(ctx, namespace.NS{Router: rehearsal, FD: -1}, namespace.Attachment{Device: rehearsal, Port: dataplane.Port{
		ID: rehearsal, MTU: 1500, Network: dataplane.Network{ID: rehearsal, Type: dataplane.NetworkVLAN, Physical: physical, Segment: someVLAN},
	}})
	if errors.Is(err, dataplane.ErrHostConfig) {
		return err
	}
	return nil // whatever else is wrong is not the fault of this field
}
