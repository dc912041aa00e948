// Command server serves the L3 API: routers, networks, subnets, ports and floating IPs, as the OpenStack Networking API v2.0 has them, over SQLite or
// PostgreSQL, and has agents realise what was asked for. The openstack client, gophercloud and Terraform speak to it as they are.
package main

import (
	"context"

	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
)

const description = `Serves the L3 API (OpenStack Networking v2.0) over SQLite or PostgreSQL, and has agents realise what was asked for.

Every flag can be set in a YAML file, by its name (listen: 127.0.0.1:9696), and in the environment, as L3KIT_LISTEN. A first try, with
the openstack client and an agent on the same host:

  server --database sqlite:/tmp/l3.db --admin-project demo &
  L3KIT_BUS_PASSWORD=$(server credential $(hostname)) agent &
  openstack --os-auth-type none --os-endpoint http://127.0.0.1:9696 network create private
`

type commands struct {
	Run         run                 `cmd:"" default:"withargs" help:"Serve, until told to end. What is done when no command is named."`
	Credential  control.Credential  `cmd:"" help:"Print the password that a host's agent has for the embedded bus."`
	Permissions control.Permissions `cmd:"" help:"Print what another NATS must grant to a host's agent, as its configuration has it."`
}

type run struct {
	daemon.Flags   `embed:""`
	control.Server `embed:""`
}

// Run is kong's.
func (r *run) Run(ctx context.Context) error { return r.Flags.Run(ctx, r.Part) }

func main() { daemon.Main("server", description, &commands{}) }
