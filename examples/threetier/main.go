// Command threetier shows a router at work, the whole way. It starts allinone on a pretended
// machine; asks its API for a three-tier application on three subnets behind a router, with an
// outside world before it; checks with real requests that each packet goes where it should; then
// breaks things, and shows what became of the connections. With --distributed there are a server
// and five hosts with agents instead, and the router is on the hosts where the tiers are. All of it
// lives in network namespaces of its own: the machine's own network is not touched.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"

	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/internal/test/deployment"
)

const description = `Starts allinone, asks its API for a three-tier application (www, app, db) behind a router, checks
it with real requests, breaks things and mends them, and has the API take all away. With --distributed
the router is distributed over five hosts, which have agents of a server. Everything is in network
namespaces of its own. It needs root.
`

// patience is how long the whole demonstration may take before something is taken to hang.
const patience = 2 * time.Minute

type flags struct {
	Version     kong.VersionFlag `help:"Print the version."`
	Allinone    string           `placeholder:"FILE" help:"Program to start. Default: allinone beside this one."`
	Dataplane   string           `enum:"nftables,iptables" default:"nftables" help:"What writes the router's translation and filtering: ${enum}."`
	Wiring      string           `enum:"bridge,ovs" default:"bridge" help:"What attaches devices to networks: ${enum}. With ovs on two machines."`
	Distributed bool             `help:"Show a distributed router: the tiers on three hosts, and two network nodes."`
	Server      string           `placeholder:"FILE" help:"Server to start if the router is distributed. Default: server beside this program."`
	Agent       string           `placeholder:"FILE" help:"Agent to start on each host if the router is distributed. Default: agent beside this program."`
	Keep        bool             `help:"Leave everything standing until Ctrl-C, and say how to look around."`
}

func main() { daemon.Main("threetier", description, &flags{}) }

// Run is called by kong.
func (f *flags) Run(ctx context.Context) error {
	unlock, err := lock(lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	own, err := os.Executable()
	if err != nil {
		return err
	}
	program := func(file, name string) deployment.Command {
		return deployment.Command{File: cmp.Or(file, filepath.Join(filepath.Dir(own), name))}
	}
	how := setting{
		dir: home, dataplane: f.Dataplane, wiring: f.Wiring, distributed: f.Distributed,
		allinone: program(f.Allinone, "allinone"), server: program(f.Server, "server"), agent: program(f.Agent, "agent"),
	}
	if err := how.sweep(); err != nil { // another run may have been killed
		return err
	}
	out := newReport(os.Stdout)
	err = demonstrate(ctx, how, out, f.Keep)
	if err != nil {
		return err
	}
	return out.verdict()
}

// part is one thing that is shown.
type part struct {
	title string
	show  func(context.Context, *site, *report)
}

// parts are what follows when the site stands.
func (s setting) parts() []part {
	if s.distributed {
		return []part{
			{"What each server saw", requests},
			{"The sensor, which has no address, is switched on", switchOn},
			{"Machines ask who they are", whoAmI},
			{"The address whose port is forwarded has a limit", limited},
			{"Who carries a download: frames on each host's tunnel and outside cable", carriers},
			{"The network node that does SNAT is cut off, amid downloads", loseNode},
			{"db and its standby share the address " + virtualAddr, failOver},
			{"db moves to another host, amid a download", migrate},
		}
	}
	return []part{
		{"What each server saw", requests},
		{"The sensor, which has no address, is switched on", switchOn},
		{"Machines ask who they are", whoAmI},
		{"The address whose port is forwarded has a limit", limited},
		{"The floating IP is unbound, amid downloads", unbind},
		{"It is bound again; and amid downloads allinone is killed, and started anew", restart},
		{"Somebody deletes the router's rules", flush},
	}
}

// demonstrate builds the site, shows it, and takes it away. The error says that it could not be
// built, shown to the end, or taken away; what was found is in the report.
func demonstrate(ctx context.Context, how setting, out *report, keep bool) (err error) {
	short, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it hangs: not done after %s", patience))
	defer cancel()
	s, err := build(short, how, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	for _, part := range how.parts() {
		out.section(part.title)
		part.show(short, s, out)
		if short.Err() != nil {
			return context.Cause(short)
		}
	}
	if keep {
		out.section("Everything stands until Ctrl-C")
		out.text(s.lookAround())
		<-ctx.Done()
	}
	out.section("The API takes all away")
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	remove(last, s, out)
	return nil
}
