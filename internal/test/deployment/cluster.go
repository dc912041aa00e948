package deployment

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// Config is what a cluster is made of. Server and Agent must be given.
type Config struct {
	Server, Agent Command

	// Namespaces is the directory where the machines' namespaces have their names, and Files the
	// one for everything else. Empty: temporary ones.
	Namespaces, Files string

	Servers  int    // 0: 1. With more there is a node of the bus beside them, so that the bus goes on without one of them
	Database string // URL; empty: a file of SQLite, which only one server can have
	Hosts    int    // with an agent each
	Wiring   string // of the hosts: WiringBridge or WiringOVS; empty: WiringBridge

	AgentDownTime time.Duration // 0: 75 s
	Heartbeat     time.Duration // 0: a quarter of that

	ServerFlags []string             // further ones
	AgentFlags  func(*Host) []string // further ones; nil: none
}

// What attaches routers and workloads to networks, by the names of the agent's flag --wiring.
const (
	WiringBridge = "bridge" // Linux bridges
	WiringOVS    = "ovs"    // an Open vSwitch of each host's own
)

// Physical is the name of the external network as a physical network, which every host has.
const Physical = "external"

// The devices of hosts on two of the three Ethernets. With Open vSwitch they are ports of bridges.
const (
	TunnelDevice   = "tunnel0"
	ExternalDevice = "ext0"
)

// What the machines have on the three Ethernets, and on which devices.
var (
	managementNet = netip.MustParsePrefix("198.18.0.0/24") // servers from .1 on, the node of the bus .9, hosts from .101 on
	tunnelNet     = netip.MustParsePrefix("198.18.1.0/24") // hosts from .101 on
	ExternalNet   = netip.MustParsePrefix("203.0.113.0/24")
	OutsideAddr   = netip.MustParseAddr("203.0.113.254") // of the host outside, which is the external subnet's gateway
)

const (
	managementDevice                = "mgmt0"
	siteName, outsideName, nodeName = "site", "outside", "node"

	apiPort, webPort        = 9696, 9090 // on the machines' loopback devices
	busPort, busClusterPort = 4222, 6222

	firstServer, nodeNumber, firstHost = 1, 9, 101 // last bytes of addresses

	agentCache     = "/var/lib/l3kit/agent"
	credentialFile = "/var/lib/l3kit/password"

	standardDownTime      = 75 * time.Second
	heartbeatsPerDownTime = 4
)

// Cluster is a reference deployment that runs.
type Cluster struct {
	Servers []*Server
	Node    *Program // of the bus beside the servers; nil: there is none
	Hosts   []*Host
	Outside *lab.Host

	Management, Tunnels, External *lab.Underlay

	config   Config
	dir      string
	secret   []byte
	machines []*Machine
	programs []*Program
}

// Start makes a cluster and returns when all of it is ready. What was made is taken away again when
// it fails.
func Start(ctx context.Context, c Config) (_ *Cluster, err error) {
	c.Servers, c.Wiring = max(c.Servers, 1), cmp.Or(c.Wiring, WiringBridge)
	if c.Wiring != WiringBridge && c.Wiring != WiringOVS {
		return nil, fmt.Errorf("start a cluster: no wiring %q", c.Wiring)
	}
	if c.AgentDownTime == 0 {
		c.AgentDownTime = standardDownTime
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = c.AgentDownTime / heartbeatsPerDownTime
	}
	dir := c.Files
	if dir == "" {
		dir, err = os.MkdirTemp("", "l3kit-deployment-")
	} else {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	cl := &Cluster{config: c, dir: dir, secret: []byte(rand.Text())}
	defer func() {
		if err != nil {
			err = errors.Join(err, cl.Close())
		}
	}()
	if err := cl.raise(ctx); err != nil {
		return nil, err
	}
	return cl, cl.start(ctx)
}

// raise makes the machines, the Ethernets, and the programs that run on them.
func (cl *Cluster) raise(ctx context.Context) error {
	site, err := cl.machine(siteName, false)
	if err != nil {
		return err
	}
	for _, e := range []struct {
		ethernet **lab.Underlay
		name     string
	}{{&cl.Management, "management"}, {&cl.Tunnels, "tunnels"}, {&cl.External, "external"}} {
		if *e.ethernet, err = site.NewEthernet(e.name); err != nil {
			return err
		}
	}
	outside, err := cl.machine(outsideName, false)
	if err != nil {
		return err
	}
	if _, err := cl.External.Connect(outside.Lab, ExternalDevice, netip.PrefixFrom(OutsideAddr, ExternalNet.Bits())); err != nil {
		return err
	}
	if cl.Outside, err = outside.Enter(outside.HostNS); err != nil {
		return err
	}
	cl.Outside.Name = outsideName
	if err := cl.Outside.Do(func() error { return netdev.ChecksumInSoftware(ExternalDevice) }); err != nil {
		return err
	}
	for i := range cl.config.Servers {
		if err := cl.addServer(i); err != nil {
			return err
		}
	}
	if cl.config.Servers > 1 {
		if err := cl.addNode(); err != nil {
			return err
		}
	}
	for i := range cl.config.Hosts {
		if err := cl.addHost(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// start starts all programs, each kind at once.
func (cl *Cluster) start(ctx context.Context) error {
	if cl.Node != nil {
		if err := cl.Node.Start(); err != nil {
			return err
		}
	}
	for _, s := range cl.Servers {
		if err := s.Process.Start(); err != nil {
			return err
		}
	}
	for _, s := range cl.Servers {
		if err := s.Ready(ctx); err != nil {
			return err
		}
	}
	for _, h := range cl.Hosts {
		if err := h.enrol(); err != nil {
			return err
		}
		if err := h.Agent.Start(); err != nil {
			return err
		}
	}
	for _, h := range cl.Hosts {
		if err := h.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (cl *Cluster) machine(name string, host bool) (*Machine, error) {
	l, err := cl.newLab(name)
	if err != nil {
		return nil, err
	}
	m, err := newMachine(l, name, host)
	if err == nil {
		cl.machines = append(cl.machines, m)
	}
	return m, err
}

func (cl *Cluster) newLab(machine string) (*lab.Lab, error) {
	if cl.config.Namespaces == "" {
		return lab.New()
	}
	return lab.NewIn(cl.config.Namespaces, machine+"-")
}

func (cl *Cluster) program(m *Machine, name string, c Command, args ...string) *Program {
	p := m.NewProgram(cl.dir, name, c, args...)
	cl.programs = append(cl.programs, p)
	return p
}

// Program makes one that is not part of the deployment, on one of its machines. It ends with the
// cluster.
func (cl *Cluster) Program(m *Machine, name string, c Command, args ...string) *Program {
	return cl.program(m, name, c, args...)
}

// address is the n-th of a network.
func address(n netip.Prefix, number int) netip.Addr {
	b := n.Addr().As4()
	b[3] = byte(number)
	return netip.AddrFrom4(b)
}

// nodes are the numbers of those who have a node of the bus.
func (cl *Cluster) nodes() (numbers []int) {
	for i := range cl.config.Servers {
		numbers = append(numbers, firstServer+i)
	}
	if cl.config.Servers > 1 {
		numbers = append(numbers, nodeNumber)
	}
	return numbers
}

// at are those nodes' addresses, with a port.
func (cl *Cluster) at(format string, port int) string {
	var all []string
	for _, n := range cl.nodes() {
		all = append(all, fmt.Sprintf(format, address(managementNet, n), port))
	}
	return strings.Join(all, ",")
}

func (cl *Cluster) addNode() error {
	m, err := cl.machine(nodeName, false)
	if err != nil {
		return err
	}
	addr := address(managementNet, nodeNumber)
	if _, err := cl.Management.Connect(m.Lab, managementDevice, netip.PrefixFrom(addr, managementNet.Bits())); err != nil {
		return err
	}
	cl.Node = cl.program(m, nodeName, Self(busNode), node{
		Secret: cl.secret, Dir: filepath.Join(cl.dir, nodeName+".bus"), Listen: netip.AddrPortFrom(addr, busPort), Name: nodeName,
		Cluster: netip.AddrPortFrom(addr, busClusterPort), Peers: strings.Split(cl.at("%s:%d", busClusterPort), ","),
	}.arg())
	return nil
}

// Complaints are what must not be in any program's log: races that the detector found, and panics.
func (cl *Cluster) Complaints() error {
	var errs []error
	for _, p := range cl.programs {
		text := p.Said()
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if at := strings.Index(text, sign); at >= 0 {
				errs = append(errs, fmt.Errorf("%s: %s", p.Name, text[at:min(len(text), at+4000)]))
			}
		}
	}
	return errors.Join(errs...)
}

// LastWords are those of all programs.
func (cl *Cluster) LastWords() error {
	var errs []error
	for _, p := range cl.programs {
		errs = append(errs, p.LastWords())
	}
	return errors.Join(errs...)
}

// Close ends all programs at once and takes everything away.
func (cl *Cluster) Close() error {
	var errs []error
	for _, p := range slices.Backward(cl.programs) {
		errs = append(errs, p.Kill())
	}
	for _, h := range cl.Hosts {
		errs = append(errs, h.wiring.Close())
	}
	for _, m := range slices.Backward(cl.machines) {
		errs = append(errs, m.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(cl.dir))...)
}

// credential is the password of a host's agent.
func (cl *Cluster) credential(host string) string { return natsbus.Credential(cl.secret, host) }
