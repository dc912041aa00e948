package host

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/ovs"
)

// Config describes a host. The zero Config is a host without physical networks and tunnels, whose
// routers are realised by nftables and Linux bridges.
type Config struct {
	// Backend translates and filters packets: nftables or iptables. Empty: nftables.
	Backend string
	// Wiring attaches routers and workloads to networks: bridge (Linux bridges) or ovs (Open
	// vSwitch). Empty: bridge.
	Wiring string

	// Mode is the part that this host has in distributed routers: [agent.ModeDVRSNAT],
	// [agent.ModeDVR] or [agent.ModeLegacy]. Empty: what the host can do. A host that can keep
	// anycast ports to itself is [agent.ModeDVRSNAT], or [agent.ModeDVRNoExternal] without physical
	// networks; any other is [agent.ModeLegacy].
	Mode string

	// NoTakeOver skips the search for rules of the other backend. Without it, a router that the
	// other backend realised is taken over by the next Apply: its rules are removed once the new
	// ones are in force, and connections continue. Set it only where the other backend never ran:
	// otherwise the rules of both are in force.
	NoTakeOver bool
	// IPTables is the variant that Backend iptables writes with: nft or legacy. Empty: that of the
	// iptables-restore in PATH.
	IPTables iptables.Variant

	// ClampMSS makes every router lower what TCP announces to what fits its ports; see
	// [dataplane.Router.ClampMSS].
	ClampMSS bool

	// Physical maps names of physical networks to devices of the host. With Linux bridges a device
	// is an existing bridge, or an interface without addresses, which becomes a port of a bridge.
	// With Open vSwitch it is an existing bridge of the switch. Flat and VLAN networks need one.
	Physical map[string]string
	Tunnel   Tunnel
	OVS      OVS // for Wiring ovs only

	// HostNS is the path of the network namespace that has bridges, interfaces and tunnels. Empty:
	// that of the thread that calls Open.
	HostNS string
	// Dir is the directory for the names of routers' namespaces. Empty: /run/netns, where
	// ip-netns(8) looks.
	Dir string

	// Metadata answers workloads that ask a router with [dataplane.Router.Metadata] for their
	// metadata; see [namespace.Config]. Nil: such routers are [dataplane.ErrUnsupported].
	Metadata http.Handler

	// Logger is told of faults in the background, and at level debug of each change. Nil: nothing
	// is logged.
	Logger *slog.Logger
}

// Tunnel is the host's end of tunnelled networks: vxlan, and with Open vSwitch also geneve and gre.
type Tunnel struct {
	// Local is this host's address for tunnels. Without one, routers cannot be attached to
	// tunnelled networks.
	Local netip.Addr
	// Peers are the tunnel addresses of hosts that nobody names to [Wiring.SetPeers], such as hosts
	// without an agent. Local among them does no harm.
	Peers     []netip.Addr
	VXLANPort uint16 // UDP; 0: 4789 (RFC 7348)
}

// OVS is the Open vSwitch of a host. The zero OVS is the kernel's datapath, under the names and
// paths of the distributions.
type OVS struct {
	// Endpoints are those of ovsdb-server in the notation of ovsdb(7); the first that answers is
	// used. None: unix:/run/openvswitch/db.sock.
	Endpoints []string
	TLS       *tls.Config  // for endpoints with ssl:
	RunDir    string       // of the sockets of ovs-vswitchd; empty: /run/openvswitch
	Datapath  ovs.Datapath // system or netdev; empty: system
	Device    ovs.Device   // auto, internal or veth; empty: auto
	// Integration and Tunnel are bridges, which are created if they are missing. Empty: br-int and
	// br-tun.
	Integration, Tunnel string
	// Checksum computes the checksums of tunnels' outer headers, which some network cards need.
	Checksum bool
	// Direct names physical networks, out of Config.Physical, whose ports are plugged into their
	// own bridge instead of the integration bridge. They carry flat networks only.
	Direct []string
}

// ConfigError is an error of one field of a [Config]. It is [dataplane.ErrInvalid] if the field is
// wrong on every host, [dataplane.ErrUnsupported] if this host lacks a program for it, and
// [dataplane.ErrHostConfig] if this host lacks the device, address or namespace that it names.
type ConfigError struct {
	Field string // "Backend", "Tunnel.Local"
	Err   error
	kind  error
}

func (e *ConfigError) Error() string { return "host configuration: " + e.Field + ": " + e.Err.Error() }

// Unwrap returns the cause, and the sentinel that it is.
func (e *ConfigError) Unwrap() []error { return []error{e.kind, e.Err} }

func invalid(field, format string, args ...any) error {
	return &ConfigError{field, fmt.Errorf(format, args...), dataplane.ErrInvalid}
}

// known returns an error for a name that does not exist.
func known(field, name string, all ...string) error {
	if name == "" || slices.Contains(all, name) {
		return nil
	}
	return invalid(field, "%q does not exist: choose one of %s", name, strings.Join(all, ", "))
}

// Validate returns what is wrong with the Config on every host, without a look at this one.
func (c Config) Validate() error {
	errs := []error{
		known("Backend", c.Backend, "nftables", "iptables"),
		known("Wiring", c.Wiring, "bridge", "ovs"),
		known("Mode", c.Mode, agent.ModeDVR, agent.ModeDVRSNAT, agent.ModeLegacy),
		known("IPTables", string(c.IPTables), "nft", "legacy"),
		known("OVS.Datapath", string(c.OVS.Datapath), "system", "netdev"),
		known("OVS.Device", string(c.OVS.Device), "auto", "internal", "veth"),
	}
	if t := c.Tunnel.Local; t.IsValid() && (t.IsLoopback() || t.IsMulticast() || t.IsUnspecified()) {
		errs = append(errs, invalid("Tunnel.Local", "%s is not an address that other hosts can reach", t))
	}
	for i, p := range c.Tunnel.Peers {
		if !p.IsValid() || p.IsLoopback() || p.IsMulticast() || p.IsUnspecified() {
			errs = append(errs, invalid("Tunnel.Peers", "element %d, %s, is not an address of another host", i, p))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Physical)) {
		if device := c.Physical[name]; name == "" || device == "" || strings.ContainsRune(device, 0) {
			errs = append(errs, invalid("Physical", "%q=%q is not a network and its device", name, device))
		}
	}
	if c.Mode == agent.ModeDVRSNAT && len(c.Physical) == 0 {
		errs = append(errs, invalid("Mode", "%s is for hosts that reach external networks, and this one has no physical network", c.Mode))
	}
	if c.Wiring == "ovs" {
		for _, name := range c.OVS.Direct {
			if c.Physical[name] == "" {
				errs = append(errs, invalid("OVS.Direct", "%q is not among the physical networks", name))
			}
		}
	}
	return errors.Join(errs...)
}

// withDefaults completes a valid Config, and copies what the caller may change.
func (c Config) withDefaults() Config {
	c.Backend, c.Wiring = cmp.Or(c.Backend, "nftables"), cmp.Or(c.Wiring, "bridge")
	c.Physical, c.Tunnel.Peers, c.OVS.Direct = maps.Clone(c.Physical), slices.Clone(c.Tunnel.Peers), slices.Clone(c.OVS.Direct)
	if c.OVS.Device == "auto" {
		c.OVS.Device = ovs.Auto
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// installed returns an error unless one of the programs is in PATH.
func installed(field, name string, programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			return nil
		}
	}
	return &ConfigError{field, fmt.Errorf("%s needs the program %s in PATH", name, programs[0]), dataplane.ErrUnsupported}
}
