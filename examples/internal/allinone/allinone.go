// Package allinone is a server and an agent in one process, on embedded defaults.
package allinone

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/host"
)

const description = `Virtual routers with one command: the L3 API (OpenStack Networking v2.0) and the agent that
realises them on this machine.

It needs root, and keeps its files in the directory that it is started in and in --cache. On SIGTERM
it ends within a second and leaves every router running. Whoever calls 127.0.0.1:9696 is
administrator. A first try, with the openstack client, where go build -o bin/ ./examples/... was run:

  sudo bin/allinone &
  export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9696
  until openstack network list; do sleep 1; done
  openstack network create blue
  openstack subnet create --network blue --subnet-range 10.0.1.0/24 blue
  openstack router create r1
  openstack router add subnet r1 blue
  openstack port create --network blue vm1
  sudo ip netns add vm1
  sudo bin/allinone attach vm1 --netns vm1
  sudo ip netns exec vm1 ping -c 1 10.0.1.1

With --physical public=eth1 routers reach an external network on eth1. Every flag can be set in a YAML
file, by its name (listen: 127.0.0.1:9696), and in the environment, as L3KIT_LISTEN.
`

// Commands are what the binary can be told to do.
type Commands struct {
	daemon.Flags

	Run Run `cmd:"" default:"withargs" help:"Serve the API and keep the routers. The default."`
	host.Tools
	Completion daemon.Completion `cmd:"" help:"Print a script that completes command lines in bash, zsh or fish."`
}

// Run has the flags of a server, whose bus nobody but this process reaches, and of an agent.
type Run struct {
	control.Service
	control.Embedded
	host.Agent
}

// Main is the program.
func Main() { daemon.Main("allinone", description, &Commands{}, host.Beside()) }

// Run is called by kong.
func (r *Run) Run(ctx context.Context, flags *daemon.Flags) error {
	if err := r.CheckFlags(r.AgentDownTime); err != nil {
		return err
	}
	if err := daemon.CheckDistinct(daemon.Listener{Flag: "--listen", Address: r.Listen}, daemon.Listener{Flag: "--metrics", Address: flags.Metrics}); err != nil {
		return err
	}
	if err := host.Privileged(); err != nil {
		return err
	}
	return flags.Run(ctx, r.part)
}

func (r *Run) part(ctx context.Context, p *daemon.Process) (err error) {
	name, err := r.Agent.Name()
	if err != nil {
		return err
	}
	claim, err := r.Claim()
	if err != nil {
		return err
	}
	defer claim.Close()
	c, err := r.server().Open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	// The agent ends first: its last words are heard.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.Serve(serving) })
	g.Go(func() error {
		defer stop()
		if !c.Ready(ctx) {
			return nil
		}
		return r.Agent.Part(c.Login(name), r.AgentDownTime)(ctx, p)
	})
	return g.Wait()
}

// server is the one that suits the agent: who calls without saying who he is may do everything, and
// tenants' networks stay on this host unless it has an address for tunnels.
func (r *Run) server() *control.Server {
	s := &control.Server{Service: r.Service, Bus: control.Bus{Embedded: r.Embedded}}
	if s.Service.Auth.AdminProject == "" {
		s.Service.Auth.AdminProject = "demo"
	}
	if len(s.Service.TenantNetworks) == 0 && !r.TunnelAddress.IsValid() {
		s.Service.TenantNetworks = []string{string(dataplane.NetworkLocal)}
	}
	return s
}
