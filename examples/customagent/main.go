// Command customagent keeps the routers of a host equal to a folder of JSON files. It is an agent
// on the SDK's loop and dataplane: copy it, and replace the folder by whatever has your routers.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/host"
)

const description = `Keeps the virtual routers of this host equal to a folder of JSON files, one router each. Add or change FILE.json and its
router follows. Remove it while the agent runs, or rename it to FILE.gone at any time, and the router is removed. Ctrl-C leaves every
router running. Needs root.

Nothing is removed because something is missing: an empty, unmounted or replaced folder, a file with a fault, and a file that was removed
while no agent ran leave their routers running. Such a router is logged; FILE.gone with {"id": "ID"} removes it.`

type command struct {
	Folder string `arg:"" type:"existingdir" help:"Folder of routers: *.json."`
	Plan   bool   `xor:"mode" help:"Print what would change, change nothing, and exit."`
	Once   bool   `xor:"mode" help:"Make the host match once, and exit; not with 0 if anything failed."`

	Dataplane     string            `enum:"nftables,iptables" default:"nftables" help:"What translates and filters packets: ${enum}."`
	Wiring        string            `enum:"bridge,ovs" default:"bridge" help:"What attaches routers to networks: ${enum}."`
	Physical      map[string]string `mapsep:"," placeholder:"NAME=DEVICE,..." help:"Bridge or interface of this host for each physical network."`
	TunnelAddress netip.Addr        `placeholder:"ADDR" help:"This host's address for tunnelled networks."`
	TunnelPeers   []netip.Addr      `placeholder:"ADDR" help:"Tunnel addresses of the other hosts."`
	LogLevel      slog.Level        `default:"info" help:"debug, info, warn or error."`

	netns, names string // of a test's machine
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k := kong.Parse(&command{}, kong.Name("customagent"), kong.Description(description), kong.BindTo(ctx, (*context.Context)(nil)))
	k.FatalIfErrorf(k.Run())
}

// Run is called by kong.
func (c *command) Run(ctx context.Context) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	h, err := host.Open(ctx, host.Config{
		Backend: c.Dataplane, Wiring: c.Wiring, Physical: c.Physical, Logger: log,
		Tunnel: host.Tunnel{Local: c.TunnelAddress, Peers: c.TunnelPeers}, HostNS: c.netns, Dir: c.names,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }() // the routers stay
	source := &agent.Poller{Lister: &folder{dir: c.Folder}, Deployment: "folder", Logger: log}
	// The folder has the routers when the machine boots, so the agent needs no cache.
	a, err := agent.New(agent.Config{Host: "localhost", Source: source, Dataplane: h, Logger: log})
	switch {
	case err != nil:
		return err
	case c.Plan:
		plans, err := a.Plan(ctx)
		for _, p := range plans {
			fmt.Println(p)
		}
		return err
	case c.Once:
		return a.Once(ctx)
	default:
		return a.Run(ctx)
	}
}
