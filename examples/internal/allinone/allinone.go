// Package allinone is a server and an agent in one process, on embedded defaults.
package allinone

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/host"
)

const description = `Virtual routers with one command: the L3 API (OpenStack Networking v2.0) and the agent that realises what it is asked for on this machine.

Needs root. What it keeps is in the directory that it is started in, and in --cache. It ends within a second on SIGTERM, and leaves every router running.
Whoever calls 127.0.0.1:9696 is administrator. Three things to try, with the openstack client, once it runs:

  alias os='openstack --os-auth-type none --os-endpoint http://127.0.0.1:9696'
  os network create blue && os subnet create --network blue --subnet-range 10.0.1.0/24 blue
  os router create r1 && os router add subnet r1 blue
  os router show r1 -c status; ip netns list

With --physical public=eth1 routers have a way out, by a network that os network create --external --provider-network-type flat
--provider-physical-network public makes. Every flag can be set in a YAML file, by its name (listen: 127.0.0.1:9696), and in the environment, as
L3KIT_LISTEN.
`

// Flags are those of a server, whose bus nobody but this process reaches, and of an agent.
type Flags struct {
	daemon.Flags
	control.Service
	control.Embedded
	host.Agent
}

// Main is the program.
func Main() { daemon.Main("allinone", description, &Flags{}) }

// Run is called by kong.
func (f *Flags) Run(ctx context.Context) error {
	if err := privileged(); err != nil {
		return err
	}
	return f.Flags.Run(ctx, f.part)
}

// privileged fails when routers cannot be realised, whatever else is right.
func privileged() error {
	var have [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0]); err != nil {
		return fmt.Errorf("allinone: capabilities: %w", err)
	}
	for _, c := range []int{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN} {
		if have[0].Effective&(1<<c) == 0 {
			return fmt.Errorf("%w: allinone makes network namespaces and devices: run it as root", dataplane.ErrPermission)
		}
	}
	return nil
}

func (f *Flags) part(ctx context.Context, p *daemon.Process) (err error) {
	name, err := f.Agent.Name()
	if err != nil {
		return err
	}
	c, err := f.server().Open(ctx, p)
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
		return f.Agent.Part(c.Login(name))(ctx, p)
	})
	return g.Wait()
}

// server is the one that suits the agent: who calls without saying who he is may do everything, and tenants' networks stay on this host unless it has
// an address for tunnels.
func (f *Flags) server() *control.Server {
	s := &control.Server{Service: f.Service, Bus: control.Bus{Embedded: f.Embedded}}
	if s.Service.Auth.AdminProject == "" {
		s.Service.Auth.AdminProject = "demo"
	}
	if len(s.Service.TenantNetworks) == 0 && !f.TunnelAddress.IsValid() {
		s.Service.TenantNetworks = []string{string(dataplane.NetworkLocal)}
	}
	return s
}
