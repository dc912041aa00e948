package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os/exec"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/examples/internal/certificates"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/internal/dump"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
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

	OVS Switch `embed:"" prefix:"ovs-" group:"Open vSwitch (--wiring=ovs)"`

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

// wiring is an [namespace.InterfaceDriver] that is told of the other hosts.
type wiring interface {
	namespace.InterfaceDriver
	SetPeers(context.Context, []netip.Addr) error
}

// site is a host that is open to be worked on.
type site struct {
	*namespace.Dataplane
	wiring wiring
	peers  []netip.Addr // that are known without servers
}

// SetPeers takes the tunnel addresses of all agents.
func (s *site) SetPeers(ctx context.Context, agents []netip.Addr) error {
	return s.wiring.SetPeers(ctx, slices.Concat(s.peers, agents))
}

// workloads lists the IDs of the ports that workloads are attached by, whoever attached them.
func (s *site) workloads(ctx context.Context) ([]string, error) {
	if w, ok := s.wiring.(*ovs.Driver); ok {
		return w.Attached(ctx, workloads)
	}
	ports, err := s.wiring.Networks(ctx, workloads)
	return slices.Sorted(maps.Keys(ports)), err
}

// check refuses what is wrong on every host.
func (m *Machine) check() error {
	if m.VXLANPort == 0 {
		return setting.Errorf("--vxlan-port: 0 is not a port: give one from 1 to 65535")
	}
	return nil
}

// checkPhysical refuses physical networks that no router could use on this host. Somebody may
// change the host later; then the routers concerned are in ERROR and say why.
func (m *Machine) checkPhysical(ctx context.Context, w wiring) error {
	for _, name := range slices.Sorted(maps.Keys(m.Physical)) {
		device := m.Physical[name]
		var err error
		if m.Wiring == "ovs" {
			err = m.checkSwitch(ctx, w, name)
		} else {
			err = m.inHost(func() error { return checkInterface(device) })
		}
		if err != nil {
			return setting.Errorf("--physical: %s=%s: %w", name, device, err)
		}
	}
	return nil
}

// checkSwitch asks Open vSwitch for the bridge of a physical network.
func (m *Machine) checkSwitch(ctx context.Context, w wiring, physical string) error {
	if slices.Contains(m.OVS.Direct, physical) {
		return nil // nothing but a flat network can be planned on it, and its port may exist already
	}
	const someVLAN = 4094
	_, err := w.Plan(ctx, namespace.NS{Router: rehearsal, FD: -1}, namespace.Attachment{Device: rehearsal, Port: dataplane.Port{
		ID: rehearsal, MTU: 1500, Network: dataplane.Network{ID: rehearsal, Type: dataplane.NetworkVLAN, Physical: physical, Segment: someVLAN},
	}})
	if errors.Is(err, dataplane.ErrHostConfig) {
		return err
	}
	return nil // whatever else is wrong is not the fault of this setting
}

// checkTunnel refuses an address for tunnels that this host does not have.
func (m *Machine) checkTunnel() error {
	if !m.TunnelAddress.IsValid() {
		return nil
	}
	return m.inHost(func() error {
		addrs, err := dump.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list the addresses of this host: %w", err)
		}
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(m.TunnelAddress.AsSlice()) }) {
			return setting.Errorf("--tunnel-address: this host does not have the address %s", m.TunnelAddress)
		}
		return nil
	})
}

// checkInterface looks at the calling thread's namespace. An existing bridge may have addresses, an
// interface must not: it becomes a port of a bridge, where they would stop working.
func checkInterface(device string) error {
	l, err := netlink.LinkByName(device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("there is no interface %s on this host", device)
	}
	if err != nil || l.Type() == "bridge" {
		return err
	}
	addrs, err := dump.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() {
			return fmt.Errorf("interface %s has the address %s, which would stop working: name an interface without addresses, or a bridge", device, a.IPNet)
		}
	}
	return nil
}

// rehearsal is the ID of what is planned to find out whether it could be made.
const rehearsal = "l3kit-rehearsal"

// open begins to work on the host, and writes nothing. It fails when no router could be realised
// here.
func (m *Machine) open(ctx context.Context, log *slog.Logger, peers []netip.Addr) (_ *site, err error) {
	if m.Dataplane == "iptables" {
		if err := installed("--dataplane=iptables", "iptables-restore"); err != nil {
			return nil, err
		}
	}
	w, err := m.openWiring(ctx, log, slices.Concat(m.TunnelPeers, peers))
	if err != nil {
		return nil, err
	}
	config := namespace.Config{Wiring: w, HostNS: m.ns, Dir: m.Namespaces, Logger: log}
	config.Firewall, config.Replaces = nftables.Firewall{}, []namespace.Firewall{&iptables.Firewall{}}
	if m.Dataplane == "iptables" {
		config.Firewall, config.Replaces = config.Replaces[0], []namespace.Firewall{config.Firewall}
	}
	d, err := namespace.New(config)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	// Planning takes a namespace of its own, and so the privileges, and the parts of the kernel,
	// that a router takes.
	if _, err := d.Plan(ctx, dataplane.Router{ID: rehearsal}); err != nil {
		return nil, errors.Join(fmt.Errorf("routers cannot be realised here: %w", err), d.Close())
	}
	return &site{d, w, m.TunnelPeers}, nil
}

func (m *Machine) openWiring(ctx context.Context, log *slog.Logger, peers []netip.Addr) (wiring, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Wiring == "bridge" {
		w, err := bridge.New(bridge.Config{
			HostNS: m.ns, Physical: m.Physical, VXLAN: bridge.VXLAN{Local: m.TunnelAddress, Port: m.VXLANPort, Peers: peers}, Logger: log,
		})
		if err != nil {
			return nil, atStart(err)
		}
		return w, nil
	}
	if err := installed("--wiring=ovs", "ovs-ofctl"); err != nil {
		return nil, err
	}
	tls, err := m.OVS.TLS.Config("--ovs-")
	if err != nil {
		return nil, err
	}
	device := ovs.Device(m.OVS.Device)
	if m.OVS.Device == "auto" {
		device = ovs.Auto
	}
	for _, physical := range m.OVS.Direct {
		if m.Physical[physical] == "" {
			return nil, setting.Errorf("--ovs-direct: physical network %q has no bridge: name one in --physical", physical)
		}
	}
	w, err := ovs.New(ctx, ovs.Config{
		HostNS: m.ns, Endpoints: m.OVS.Endpoint, TLS: tls, RunDir: m.OVS.RunDir, Datapath: ovs.Datapath(m.OVS.Datapath), Device: device,
		Integration: m.OVS.Integration, Physical: m.Physical, Direct: m.OVS.Direct, Logger: log,
		Tunnel: ovs.Tunnel{Bridge: m.OVS.Tunnel, Local: m.TunnelAddress, Port: m.VXLANPort, Peers: peers, Checksum: m.OVS.Checksum},
	})
	if err != nil {
		return nil, atStart(err)
	}
	return w, nil
}

// atStart makes a setting of what is invalid when a process starts.
func atStart(err error) error {
	if errors.Is(err, dataplane.ErrInvalid) {
		return setting.Errorf("%w", err)
	}
	return err
}

func installed(flag, program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return setting.Errorf("%s needs the program %s in PATH: %w", flag, program, err)
	}
	return nil
}

// physicalNetworks names them. No name is another word than no list: a host without a list is taken
// to reach all.
func (m *Machine) physicalNetworks() []string {
	return append([]string{}, slices.Sorted(maps.Keys(m.Physical))...)
}

func (m *Machine) tunnelTypes() []dataplane.NetworkType {
	switch {
	case !m.TunnelAddress.IsValid():
		return []dataplane.NetworkType{}
	case m.Wiring == "ovs":
		return []dataplane.NetworkType{dataplane.NetworkVXLAN, dataplane.NetworkGeneve, dataplane.NetworkGRE}
	default:
		return []dataplane.NetworkType{dataplane.NetworkVXLAN}
	}
}
