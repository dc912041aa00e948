package deployment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/ovs"
)

// Bridges of a host's Open vSwitch. Each has one of the host's cables as a port.
const (
	ExternalBridge = "br-ex"
	TunnelBridge   = "br-underlay" // has the host's address for tunnels
)

// switchDir is where a machine's programs find its Open vSwitch, as installed by distributions.
const switchDir = "/run/openvswitch"

// cabled maps the bridges to the devices that are their ports.
var cabled = map[string]string{ExternalBridge: ExternalDevice, TunnelBridge: TunnelDevice}

// addSwitch starts an Open vSwitch on the host and connects it to the host's cables. It has the
// userspace datapath, which needs no module of the kernel and finds other hosts' tunnel addresses
// only through a bridge of its own.
func (h *Host) addSwitch(ctx context.Context) (err error) {
	if h.OVS, err = h.Lab.Switch(ctx); err != nil {
		return err
	}
	if err := h.share(h.OVS.RunDir, switchDir); err != nil {
		return err
	}
	for _, bridge := range slices.Sorted(maps.Keys(cabled)) {
		_, err := h.OVS.Vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type="+string(ovs.Netdev), "--", "add-port", bridge, cabled[bridge])
		if err != nil {
			return err
		}
	}
	return h.addressSwitch()
}

// addressSwitch gives the host its address for tunnels, which is lost when ovs-vswitchd ends.
func (h *Host) addressSwitch() error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(TunnelBridge)
		if err != nil {
			return fmt.Errorf("find device %s: %w", TunnelBridge, err)
		}
		addr, err := netlink.ParseAddr(netip.PrefixFrom(h.Tunnel, tunnelNet.Bits()).String())
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrReplace(link, addr), netlink.LinkSetUp(link))
	})
}

// powerOff ends Open vSwitch at once. Its database stays on disk.
func (h *Host) powerOff() error {
	if h.OVS == nil {
		return nil
	}
	return errors.Join(h.OVS.KillDaemon(), h.OVS.StopDatabase())
}

// powerOn starts Open vSwitch with the database that is on disk.
func (h *Host) powerOn(ctx context.Context) error {
	if h.OVS == nil {
		return nil
	}
	if err := h.OVS.StartDatabase(ctx); err != nil {
		return err
	}
	if err := h.OVS.StartDaemon(ctx); err != nil {
		return err
	}
	return h.addressSwitch()
}

// wiringConfig describes the host for those who attach something on it from outside the machine.
func (h *Host) wiringConfig(peers []netip.Addr) host.Config {
	c := host.Config{
		HostNS: h.HostNS, Physical: map[string]string{Physical: ExternalDevice}, Tunnel: host.Tunnel{Local: h.Tunnel, Peers: peers},
	}
	if h.OVS != nil {
		c.Wiring, c.Physical[Physical] = WiringOVS, ExternalBridge
		c.OVS = host.OVS{Endpoints: []string{h.OVS.Endpoint}, RunDir: h.OVS.RunDir, Datapath: ovs.Netdev}
	}
	return c
}

// wiringFlags are those of the agent.
func (h *Host) wiringFlags() []string {
	if h.OVS != nil {
		return []string{"--physical=" + Physical + "=" + ExternalBridge, "--wiring=" + WiringOVS, "--ovs-datapath=" + string(ovs.Netdev)}
	}
	return []string{"--physical=" + Physical + "=" + ExternalDevice}
}
