// Command customagent keeps a host equal to a folder of router files. It is an agent in a few
// hundred lines: a source of routers, the loop that applies them, and flags. Copy it, and put your
// own source in the place of the folder. Leave out the command explain, whose package is internal
// to this repository; nothing else is, which is why flags are read here without the package that
// the other binaries share.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

const description = `Keeps the virtual routers of this host equal to a folder of YAML files, one router each. Edit a file and its router follows; add
one, delete one. Ctrl-C leaves every router running. Needs root.

Nothing is deleted because something is missing: while a file has a fault, its router stays as it is, and no router is deleted at all. Write a
file under another name and rename it, and it is never read half-written. Run one agent on a host: a router of ours that no file names
is deleted, whoever made it.

A router's interfaces are attached to Linux bridges, one for each network. Networks of type flat without a physical name, and local ones, get a bridge of
their own; --physical says which bridge or interface of this host a physical network is.`

// commands are what customagent can be told to do. Without a word it keeps the host equal to a
// folder.
type commands struct {
	Version kong.VersionFlag `help:"Print the version."`

	Run     keep `cmd:"" default:"withargs" help:"Keep the routers of this host equal to a folder. The default."`
	Explain ask  `cmd:"" help:"Say what a router does with a packet, and why."`
}

// keep is the command that keeps the host equal to a folder.
type keep struct {
	Folder string `arg:"" type:"existingdir" help:"Folder of router files: *.yaml, *.yml."`

	Plan bool `xor:"mode" help:"Print what would change, change nothing, and exit."`
	JSON bool `help:"With --plan: print JSON."`
	Once bool `xor:"mode" help:"Make the host match once, and exit; not with 0 if any router failed."`

	AllowEmpty bool          `help:"A folder without router files means that no router is wanted. Without this flag such a folder says nothing at the start."`
	Resync     time.Duration `default:"1m" help:"How often all is applied again, in case somebody else changed the host. Nothing is written if nobody did."`

	Dataplane string `enum:"nftables,iptables" default:"nftables" help:"What writes translation and filtering: ${enum}. Rules of the other are taken over."`

	Physical   map[string]string `mapsep:"," placeholder:"NAME=DEVICE,..." help:"Bridge or interface of this host that carries a physical network."`
	VXLANLocal netip.Addr        `name:"vxlan-local" placeholder:"ADDR" help:"This host's address for VXLAN networks."`
	VXLANPort  uint16            `name:"vxlan-port" default:"4789" help:"UDP port of VXLAN (RFC 7348)."`
	VXLANPeers []netip.Addr      `name:"vxlan-peers" placeholder:"ADDR" help:"Other hosts of the VXLAN networks."`

	LogLevel slog.Level `default:"info" help:"debug, info, warn or error. debug prints every step."`
}

// Validate is called by kong.
func (f *keep) Validate() error {
	if f.JSON && !f.Plan {
		return fmt.Errorf("--json prints a plan: it needs --plan")
	}
	if f.Resync <= 0 {
		return fmt.Errorf("--resync must be more than 0")
	}
	if f.VXLANPort == 0 {
		return fmt.Errorf("--vxlan-port: 0 is not a port")
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k := kong.Parse(&commands{}, kong.Name("customagent"), kong.Description(description),
		kong.Vars{"version": "customagent " + version()},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	k.FatalIfErrorf(k.Run())
}

// version is that of the module, as the Go tool recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return fmt.Sprint(info.Main.Path, " ", info.Main.Version, " ", info.GoVersion)
}

// Run is called by kong.
func (f *keep) Run(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: f.LogLevel}))

	wiring, err := bridge.New(bridge.Config{
		Physical: f.Physical,
		VXLAN:    bridge.VXLAN{Local: f.VXLANLocal, Port: f.VXLANPort, Peers: f.VXLANPeers},
		Logger:   log,
	})
	if err != nil {
		return err
	}
	defer wiring.Close()
	config := namespace.Config{Wiring: wiring, Logger: log, Firewall: nftables.Firewall{}, Replaces: []namespace.Firewall{&iptables.Firewall{}}}
	if f.Dataplane == "iptables" {
		config.Firewall, config.Replaces = config.Replaces[0], []namespace.Firewall{config.Firewall}
	}
	host, err := namespace.New(config)
	if err != nil {
		return err
	}
	defer host.Close() // the routers stay

	a := &agent{folder: f.Folder, allowEmpty: f.AllowEmpty, dataplane: host, log: log, pace: pace{
		settle:    200 * time.Millisecond,
		settleMax: 2 * time.Second,
		resync:    f.Resync,
		retry:     time.Second,
		retryMax:  time.Minute,
	}}
	switch {
	case f.Plan:
		plans, err := a.plan(ctx)
		return errors.Join(f.print(plans), err)
	case f.Once:
		return a.once(ctx)
	default:
		return a.run(ctx)
	}
}

func (f *keep) print(plans []dataplane.Plan) error {
	if f.JSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(plans)
	}
	for _, p := range plans {
		fmt.Println(p)
	}
	return nil
}
