package host

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/examples/internal/certificates"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/ovs"
)

// Machine is a host, and how routers are realised on it, as flags for kong. All commands have them.
type Machine struct {
	Dataplane string `enum:"nftables,iptables" default:"nftables" help:"What translates and filters packets: ${enum}. Routers of the other one are taken over."`
	Wiring    string `enum:"bridge,ovs" default:"bridge" help:"What attaches routers to networks, Linux bridges or Open vSwitch: ${enum}."`

	Physical      map[string]string `mapsep:"," placeholder:"NAME=DEVICE,..." help:"Physical networks, each with a bridge or an interface without addresses."`
	TunnelAddress netip.Addr        `placeholder:"ADDR" help:"This host's address for tunnels. Without it the host has no vxlan, geneve and gre networks."`
	TunnelPeers   []netip.Addr      `placeholder:"ADDR" help:"Tunnel addresses of hosts without an agent; those of agents are known from the servers."`
	VXLANPort     uint16            `name:"vxlan-port" default:"4789" help:"UDP port of VXLAN (RFC 7348)."`

	ClampMSS bool `name:"clamp-mss" help:"Lower the maximum segment size that TCP connections through routers announce to what fits the routers' ports."`

	OVS Switch `embed:"" prefix:"ovs-" group:"Open vSwitch (--wiring=ovs)"`

	Metadata Metadata `embed:"" prefix:"metadata-"`

	Cache      string `default:"/var/lib/l3kit/agent" placeholder:"DIR" help:"Directory for applied routers, which come back after a reboot without servers."`
	Namespaces string `default:"/run/netns" placeholder:"DIR" help:"Directory for the names of routers' namespaces. ip-netns(8) looks in /run/netns only."`

	ns string // path of the network namespace that is the host's; empty: the caller's
}

// Switch is which Open vSwitch to use, as flags for kong.
type Switch struct {
	Endpoint    []string `placeholder:"URL" help:"Address of ovsdb-server (ovsdb(7)); the first that answers is used. Default: unix:/run/openvswitch/db.sock."`
	RunDir      string   `placeholder:"DIR" help:"Directory of the sockets of ovs-vswitchd. Default: /run/openvswitch."`
	Datapath    string   `enum:"system,netdev" default:"system" help:"Datapath of bridges: ${enum}."`
	Device      string   `enum:"auto,internal,veth" default:"auto" help:"Kind of device that connects a router to the switch: ${enum}."`
	Integration string   `default:"br-int" placeholder:"NAME" help:"Integration bridge; created if missing."`
	Tunnel      string   `default:"br-tun" placeholder:"NAME" help:"Tunnel bridge; created if missing."`
	Checksum    bool     `help:"Compute the checksums of tunnels' outer headers, which some network cards need."`
	Direct      []string `placeholder:"NAME" help:"Physical networks whose ports are plugged into their own bridge instead of the integration bridge."`

	TLS certificates.Client `embed:""`
}

// wiring is that of the host.
type wiring = *host.Wiring

// hostConfig is what the flags say; peers are tunnel addresses that are known beside them.
func (m *Machine) hostConfig(log *slog.Logger, peers []netip.Addr) (c host.Config, err error) {
	c = host.Config{
		Backend: m.Dataplane, Wiring: m.Wiring, ClampMSS: m.ClampMSS, Physical: m.Physical,
		Tunnel: host.Tunnel{Local: m.TunnelAddress, Peers: slices.Concat(m.TunnelPeers, peers), VXLANPort: m.VXLANPort},
		HostNS: m.ns, Dir: m.Namespaces, Logger: log,
	}
	if c.Metadata, err = m.Metadata.handler(log); err != nil {
		return c, err
	}
	if m.VXLANPort == 0 {
		return c, setting.Errorf("--vxlan-port: 0 is not a port: give one from 1 to 65535")
	}
	if m.Wiring != "ovs" {
		return c, nil
	}
	c.OVS = host.OVS{
		Endpoints: m.OVS.Endpoint, RunDir: m.OVS.RunDir, Datapath: ovs.Datapath(m.OVS.Datapath), Device: ovs.Device(m.OVS.Device),
		Integration: m.OVS.Integration, Tunnel: m.OVS.Tunnel, Checksum: m.OVS.Checksum, Direct: m.OVS.Direct,
	}
	c.OVS.TLS, err = m.OVS.TLS.Config("--ovs-")
	return c, err
}

// open begins to work on the host, and writes nothing. It fails when no router could be realised
// here.
func (m *Machine) open(ctx context.Context, log *slog.Logger, peers []netip.Addr) (*host.Host, error) {
	c, err := m.hostConfig(log, peers)
	if err != nil {
		return nil, err
	}
	h, err := host.Open(ctx, c)
	return h, atStart(err)
}

func (m *Machine) openWiring(ctx context.Context, log *slog.Logger, peers []netip.Addr) (wiring, error) {
	c, err := m.hostConfig(log, peers)
	if err != nil {
		return nil, err
	}
	w, err := host.OpenWiring(ctx, c)
	return w, atStart(err)
}

// atStart makes a setting of what is invalid, or missing on the host, when a process starts.
func atStart(err error) error {
	var field *host.ConfigError
	switch {
	case errors.As(err, &field):
		flags := map[string]string{
			"Backend": "--dataplane", "Wiring": "--wiring", "Physical": "--physical", "Tunnel.Local": "--tunnel-address", "Tunnel.Peers": "--tunnel-peers",
			"OVS.Direct": "--ovs-direct", "Mode": "--mode",
		}
		flag, has := flags[field.Field]
		if !has {
			return setting.Errorf("%w", err)
		}
		return setting.Errorf("%s: %w", flag, field.Err)
	case errors.Is(err, dataplane.ErrInvalid):
		return setting.Errorf("%w", err)
	}
	return err
}
