package service_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// A distributed router has an edge on each host with workloads of its networks, and one centre. To
// see what the hosts must realise, no agent is needed: their heartbeats say what they can do.
func Example_distributed() {
	ctx := context.Background()
	store := must(sqlstore.Open(ctx, "sqlite::memory:"))
	defer store.Close()
	svc := must(service.New(service.Config{Store: store}))
	for host, mode := range map[string]string{"node": agent.ModeDVRSNAT, "compute1": agent.ModeDVR, "compute2": agent.ModeDVR} {
		must(svc.Heartbeat(ctx, agent.Heartbeat{Host: host, Capabilities: agent.Capabilities{Mode: mode}}))
	}

	admin := l3.Caller{Project: "demo", Admin: true}
	router := must(svc.CreateRouters(ctx, admin, l3.RouterSpec{Distributed: new(true)}))[0]
	for i, host := range []string{"compute1", "compute2"} {
		network := must(svc.CreateNetworks(ctx, admin, l3.NetworkSpec{}))[0]
		cidr := netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i))
		subnet := must(svc.CreateSubnets(ctx, admin, l3.SubnetSpec{NetworkID: &network.ID, CIDR: &cidr}))[0]
		must(svc.AddRouterInterface(ctx, admin, router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}))
		must(svc.CreatePorts(ctx, admin, l3.PortSpec{NetworkID: &network.ID, HostID: &host}))
	}

	for _, host := range []string{"node", "compute1", "compute2"} {
		for _, a := range must(svc.DesiredOn(ctx, host)) {
			fmt.Println(host, "has", len(a.Router.Ports), "ports")
			for _, p := range a.Router.Ports {
				if p.Anycast != nil {
					fmt.Println("  neighbours:", p.Anycast.Neighbours)
				}
			}
		}
	}
	// Output:
	// node has 2 ports
	// compute1 has 1 ports
	//   neighbours: [10.0.0.2]
	// compute2 has 1 ports
	//   neighbours: [10.0.1.2]
}

func must[V any](v V, err error) V {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
