package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/deployment"
)

const spreadStory = `
The router is distributed. host1 has www and the sensor; host2 has app, the appliance, and a standby
of db; host3 has db and archive; each of them routes for its own. host4 and host5 are network nodes,
and either can have what is left: the router's own address, source NAT, and the forwarded port. VXLAN
joins the hosts.
`

// places are where the tiers are at first: indexes of hosts.
var places = map[string]int{"www": 0, "sensor": 0, "app": 1, "appliance": 1, "standby": 1, "db": 2, "archive": 2}

const (
	computeHosts = 3
	networkNodes = 2

	downTime = 3 * time.Second // until a network node that says nothing is given up
)

// startCluster starts a server, and an agent on each host.
func (s *site) startCluster(ctx context.Context) (err error) {
	s.cluster, err = deployment.Start(ctx, deployment.Config{
		Namespaces: s.how.dir, Files: s.how.files(), Server: s.how.server, Agent: s.how.agent,
		Hosts: computeHosts + networkNodes, Wiring: s.how.wiring, AgentDownTime: downTime,
		AgentFlags: func(h *deployment.Host) []string {
			mode := agent.ModeDVR
			if h.Number >= computeHosts {
				mode = agent.ModeDVRSNAT
			}
			return []string{"--mode", mode, "--dataplane", s.how.dataplane, "--metadata-socket", s.how.metadata()}
		},
	})
	if err != nil {
		return err
	}
	s.cloud = newCloud(s.cluster.Servers[0].HTTP())
	s.cloud.distributed = true
	outer, err := s.machines.keep(s.cluster.OutsideWiring())
	if err != nil {
		return err
	}
	s.machines.wiring = func(_ context.Context, host string) (namespace.InterfaceDriver, error) {
		if beyond(host) {
			return outer, nil
		}
		return s.cluster.Hosts[places[host]].Wiring(), nil
	}
	return nil
}

// place is the name of the host that a member's ports are bound to; empty: of none.
func (s *site) place(name string) string {
	if s.cluster == nil {
		return ""
	}
	return s.cluster.Hosts[places[name]].Name
}

// centre is the network node that has the router's centre.
func (s *site) centre() (*deployment.Host, error) {
	for _, h := range s.cluster.Hosts[computeHosts:] {
		names, err := namespaces(h)
		if err != nil || len(names) > 0 {
			return h, err
		}
	}
	return nil, errors.New("no network node has the router")
}

// namespaces are the names of routers' namespaces on a host.
func namespaces(h *deployment.Host) (names []string, err error) {
	err = h.Do(func() error {
		entries, err := os.ReadDir(netns.Dir)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return err
	})
	return names, err
}
