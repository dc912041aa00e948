package ovs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// Config says which Open vSwitch to use, and what the host offers. With the zero Config there are
// local networks on br-int, by the kernel's datapath, in the caller's namespace.
type Config struct {
	// HostNS is the path of the network namespace that ovs-vswitchd runs in. Empty: the one that
	// the thread which calls New is in.
	HostNS string
	// Endpoints are those of ovsdb-server, in the notation of ovsdb(7): unix:/path, tcp:host:port
	// or ssl:host:port. The first that answers is used. None: unix:/run/openvswitch/db.sock. Those
	// of TCP are reached from the caller's namespace.
	Endpoints []string
	TLS       *tls.Config // for endpoints with ssl:
	// RunDir is where ovs-vswitchd keeps the sockets of its bridges for OpenFlow, <bridge>.mgmt.
	// Empty: /run/openvswitch.
	RunDir   string
	Datapath Datapath // of bridges that are made; those that exist must have the same
	Device   Device   // of ports
	// Integration is the bridge that ports are plugged into; it is made if it is missing. Empty:
	// br-int. Processes with the same one must be configured alike.
	Integration string
	// Physical maps names of physical networks to bridges that exist, such as br-ex. Each that a
	// network needs is joined to the integration bridge by a patch pair. The bridges themselves are
	// never made, deleted or marked.
	Physical map[string]string
	// Direct names physical networks whose ports are plugged straight into the bridge that Physical
	// names, as Neutron's external_network_bridge did, without a local VLAN. Such a physical
	// network carries flat networks only.
	Direct []string
	Tunnel Tunnel
	// Logger is told, at level debug, of each change, and at level warn of what goes wrong in the
	// background. Nil: nobody.
	Logger *slog.Logger
}

// Datapath is what moves a bridge's packets: its datapath_type.
type Datapath string

// The datapaths.
const (
	System Datapath = ""       // the kernel's: needs its module openvswitch
	Netdev Datapath = "netdev" // ovs-vswitchd itself: works on any kernel
)

func (d Datapath) String() string {
	if d == System {
		return "system"
	}
	return string(d)
}

// Device is what connects a namespace with a bridge.
type Device string

// The kinds of devices. Only a device that is named after its port, as those of routers are, can be
// an internal port, because the name must be unique on the switch. Others, such as a workload's
// eth0, are veths whatever is asked for.
const (
	// Auto is Internal on the kernel's datapath, and Veth on the userspace one, for what a restart
	// of ovs-vswitchd does to them. In the kernel a port and its flows live on meanwhile. In
	// userspace the restarted ovs-vswitchd makes new internal ports in the host's namespace, so
	// that routers lose addresses, routes and connections; a veth is only opened again.
	Auto Device = ""
	// Internal is a port of type internal, moved into the namespace: one device instead of two, and
	// one hop less for a packet.
	Internal Device = "internal"
	// Veth is a pair, with one end in the namespace and the other a port of the bridge.
	Veth Device = "veth"
)

// Tunnel is how this host carries VXLAN, Geneve and GRE networks to others. Tunnel ports are on a
// bridge of their own, joined to the integration bridge by a patch pair.
type Tunnel struct {
	Bridge string       // made if it is missing; empty: br-tun
	Local  netip.Addr   // this host's tunnel address; needed only for networks of those types
	Port   uint16       // UDP port of VXLAN; 0: 4789
	Peers  []netip.Addr // the other hosts' tunnel addresses; Local among them does no harm
	// Checksum asks for checksums of the outer header (RFC 6936 for VXLAN and Geneve, RFC 2784 for
	// GRE), which some network cards need to offload work.
	Checksum bool
}

// Entry is what the host is told about a workload on another one, so that nothing need be flooded
// to find it.
type Entry struct {
	Network string
	MAC     dataplane.MAC
	Addr    netip.Addr // if valid and IPv4, ARP requests for it are answered here
	Peer    netip.Addr // tunnel address of the host that the workload is on
}

const (
	defaultEndpoint    = "unix:/run/openvswitch/db.sock"
	defaultRunDir      = "/run/openvswitch"
	defaultIntegration = "br-int"
	defaultTunnel      = "br-tun"
	vxlanPort          = 4789 // IANA's, which is also Open vSwitch's default
	maxName            = 15   // IFNAMSIZ - 1
)

// complete fills in what is left out, and refuses what cannot be.
func (c Config) complete() (Config, error) {
	c.Endpoints, c.Physical, c.Direct = slices.Clone(c.Endpoints), maps.Clone(c.Physical), slices.Clone(c.Direct)
	if len(c.Endpoints) == 0 {
		c.Endpoints = []string{defaultEndpoint}
	}
	for i, text := range c.Endpoints {
		var err error
		if c.Endpoints[i], err = endpoint(text); err != nil {
			return c, err
		}
	}
	if c.RunDir == "" {
		c.RunDir = defaultRunDir
	}
	if c.Integration == "" {
		c.Integration = defaultIntegration
	}
	if c.Tunnel.Bridge == "" {
		c.Tunnel.Bridge = defaultTunnel
	}
	if c.Tunnel.Port == 0 {
		c.Tunnel.Port = vxlanPort
	}
	c.Tunnel.Local = c.Tunnel.Local.Unmap()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Datapath == "system":
		c.Datapath = System
	case c.Datapath != System && c.Datapath != Netdev:
		return c, fmt.Errorf("%w: unknown datapath %q", dataplane.ErrInvalid, c.Datapath)
	case c.Device != Auto && c.Device != Internal && c.Device != Veth:
		return c, fmt.Errorf("%w: unknown kind of device %q", dataplane.ErrInvalid, c.Device)
	}
	if c.Device == Auto {
		c.Device = Internal
		if c.Datapath == Netdev {
			c.Device = Veth
		}
	}
	return c, c.checkBridges()
}

// checkBridges makes sure that each bridge has one purpose.
func (c Config) checkBridges() error {
	purposes := map[string]string{}
	add := func(bridge, purpose string) error {
		switch other := purposes[bridge]; {
		case bridge == "" || len(bridge) > maxName || strings.ContainsAny(bridge, " /"):
			return fmt.Errorf("%w: %q cannot be the name of a bridge", dataplane.ErrInvalid, bridge)
		case other != "":
			return fmt.Errorf("%w: bridge %s cannot be both %s and %s", dataplane.ErrInvalid, bridge, other, purpose)
		}
		purposes[bridge] = purpose
		return nil
	}
	if err := errors.Join(add(c.Integration, "the integration bridge"), add(c.Tunnel.Bridge, "the tunnel bridge")); err != nil {
		return err
	}
	for _, physical := range slices.Sorted(maps.Keys(c.Physical)) {
		if err := add(c.Physical[physical], fmt.Sprintf("that of physical network %q", physical)); err != nil {
			return err
		}
	}
	for _, physical := range c.Direct {
		if c.Physical[physical] == "" {
			return fmt.Errorf("%w: physical network %q of Config.Direct has no bridge: name one in Config.Physical", dataplane.ErrInvalid, physical)
		}
	}
	return nil
}
