// Command agent keeps the routers of its host as the servers of the reference deployment want them,
// and shows what is there.
package main

import (
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/host"
)

const description = `Keeps the virtual routers of this host as the servers want them. It needs root, or the capabilities that
l3kit-agent.service names.

The agent learns from the servers' message queue which routers the host must have, applies and checks
them, and reports. On SIGTERM it ends within a second and leaves every router running: to stop, kill or
upgrade it costs no packet. Without servers the routers go on, and after a reboot they come back as they
were applied last.

Every flag can be set in a YAML file, by its name (bus: nats://192.0.2.10:4222), and in the environment,
as L3KIT_BUS. A first try with a server on the same host, where go build -o bin/ ./examples/... was run:

  bin/server --admin-project demo &
  sudo L3KIT_BUS_PASSWORD=$(bin/server credential $(hostname)) bin/agent &
  export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9696
  until openstack network agent list; do sleep 1; done

The other commands take the settings of the agent that runs on the host, or else of /etc/l3kit/agent.yaml:

  agent attach PORT --netns NAME                          attach a namespace, container or VM to a port
  agent inspect                                           the routers, their ports, addresses and counters
  agent plan                                              what somebody else changed
  agent explain ROUTER --from 10.0.0.5 --to 8.8.8.8       what becomes of a packet; --check sends one
`

func main() { daemon.Main("agent", description, &host.Commands{}, host.Beside()) }
