// Command threetier shows a router at work. It builds a three-tier application on three subnets behind a router, with an outside world
// before it; checks with real requests that each packet goes where it should; then breaks things, and shows what became of the
// connections. All of it lives in network namespaces of its own: the machine's own network is not touched.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

const description = `Builds a three-tier application (www, app, db) and an outside world around a router, checks it with real requests, breaks things
and mends them. Everything is in network namespaces of its own, and is taken away at the end. Needs root.`

// patience is how long the whole demonstration may take before something is taken to hang.
const patience = 2 * time.Minute

// lookAround is for whoever kept the site.
const lookAround = `
  ip netns exec l3kit-demo-provider ping -I 198.51.100.7 203.0.113.10   the client reaches www by its floating IP
  ip netns exec l3kit-demo-www ping 10.0.4.10                           the extra route
  ip netns exec qrouter-l3kit-demo nft list ruleset                     translation and filtering
  ip netns exec qrouter-l3kit-demo ip route                             and conntrack -L, tcpdump -i qg-outside
  ip netns exec l3kit-demo-host bridge link                             the host's side
  make demo ARGS=--down                                                 take it away

The web servers ended with this program.
`

type flags struct {
	Dataplane string `enum:"nftables,iptables" default:"nftables" help:"What writes the router's translation and filtering: ${enum}."`
	Wiring    string `enum:"bridge,ovs" default:"bridge" help:"What attaches devices to networks: ${enum}. With ovs there are two machines and a tunnel."`
	Keep      bool   `xor:"mode" help:"Leave everything standing, and say how to look around. Not with ovs."`
	Down      bool   `xor:"mode" help:"Take away what --keep, or a demonstration that was killed, left standing; build nothing."`
}

func main() {
	var f flags
	k := kong.Parse(&f, kong.Name("threetier"), kong.Description(description))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it hangs: not done after %s", patience))
	defer cancel()
	k.FatalIfErrorf(f.run(ctx))
}

func (f *flags) run(ctx context.Context) error {
	if f.Keep && f.Wiring == "ovs" {
		return errors.New("--keep is for bridges: the daemons of Open vSwitch end with the demonstration, and with them the network")
	}
	unlock, err := lock(lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	backend := backend{dataplane: f.Dataplane, wiring: f.Wiring}
	// Another run may have been killed, or told to keep what it built.
	if err := sweep(ctx, machine, backend); err != nil || f.Down {
		return err
	}
	out := newReport(os.Stdout)
	if err := demonstrate(ctx, machine, backend, out, f.Keep); err != nil {
		return err
	}
	err = out.verdict()
	if f.Keep {
		out.section("Everything stands")
		out.text(lookAround)
	}
	return err
}

// demonstrate builds the site, shows it, and takes it away unless it is to be kept. The error says that it could not be built, shown to the
// end, or taken away; what was found is in the report.
func demonstrate(ctx context.Context, n names, b backend, out *report, keep bool) (err error) {
	s, err := build(ctx, n, b)
	if err != nil {
		return err
	}
	defer func() {
		if !keep {
			err = errors.Join(err, s.down(context.WithoutCancel(ctx)))
		}
	}()

	out.text(picture)
	out.text(fmt.Sprintf("%s\nThe router was applied in %s, by %s and %s.", s.machines.story, s.took.Round(10*time.Microsecond), b.dataplane, b.wiring))
	for _, part := range []struct {
		title string
		show  func(context.Context, *site, *report)
	}{
		{"What each server saw", requests},
		{"The floating IP is unbound, amid downloads", unbind},
		{"It is bound again; and amid downloads the dataplane is closed, and opened anew as by another process", restart},
		{"Somebody deletes the router's rules", flush},
	} {
		out.section(part.title)
		part.show(ctx, s, out)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
