// Command agent keeps the routers of its host as the servers of the reference deployment want them, and shows what is there.
package main

import (
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/host"
)

const description = `Keeps the virtual routers of this host as the servers want them. Needs root, or the capabilities that l3kit-agent.service names.

The agent hears by the servers' message queue which routers the host is to have, makes them, looks after them, and reports. It ends within a second on
SIGTERM, and leaves every router running: to stop it, kill it or upgrade it costs no packet. Without servers routers go on as they are, and after a reboot
they come back as they were applied last.

Every flag can be set in a YAML file, by its name (bus: nats://192.0.2.10:4222), and in the environment, as L3KIT_BUS. A first try, beside a server on the
same machine:

  server &
  L3KIT_BUS_PASSWORD=$(server credential $(hostname)) agent --cache /tmp/l3kit-agent --physical physnet1=eth1

What is on the host, beside a running agent or without one:

  agent inspect                                           the routers, their ports, addresses and counters
  agent plan                                              what somebody else changed
  agent explain ROUTER --from 10.0.0.5 --to 8.8.8.8       what becomes of a packet, and why; --check sends one
`

func main() { daemon.Main("agent", description, &host.Commands{}, host.Beside()) }
