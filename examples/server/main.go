// Command server serves the L3 API (routers, networks, subnets, ports and floating IPs, as in the
// OpenStack Networking API v2.0) over SQLite or PostgreSQL, and tells agents which routers their
// hosts must have. The openstack client, gophercloud and Terraform work with it unchanged.
package main

import (
	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
)

const description = `Serves the L3 API (OpenStack Networking v2.0) over SQLite or PostgreSQL, and tells agents which routers
their hosts must have. It keeps its files in the directory that it is started in.

Every flag can be set in a YAML file, by its name (listen: 127.0.0.1:9696), and in the environment, as
L3KIT_LISTEN. A first try with an agent on the same host, where go build -o bin/ ./examples/... was run:

  bin/server --admin-project demo &
  sudo L3KIT_BUS_PASSWORD=$(bin/server credential $(hostname)) bin/agent &
  export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9696
  until openstack network agent list; do sleep 1; done

Beside a server, with its files:

  server explain ROUTER --from 10.0.0.5 --to 8.8.8.8      the way of a packet from host to host;
                                                          --check sends one, and says where it is lost
`

func main() { daemon.Main("server", description, &control.Commands{}) }
