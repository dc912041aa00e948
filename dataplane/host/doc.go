// Package host opens the dataplane of a host from names and options: which backend translates and
// filters, and which wiring attaches routers to networks.
//
//	physical := map[string]string{"public": "br-ex"}
//	h, err := host.Open(ctx, host.Config{Wiring: "ovs", Physical: physical})
//	if err != nil {
//		return err
//	}
//	defer h.Close() // the routers stay
//	plan, err := h.Apply(ctx, router)
//
// The zero [Config] is nftables with Linux bridges. A [Host] is a [dataplane.Watcher], and has what
// [agent.Config] asks for:
//
//	agent.New(agent.Config{
//		Host: "node1", Source: source, Dataplane: h,
//		SetPeers: h.Wiring.SetPeers, Workloads: h.Wiring.Workloads, Capabilities: h.Capabilities(),
//	})
//
// [Wiring] attaches namespaces, containers and virtual machines to the networks of routers. A host
// that has workloads and no routers opens the wiring alone, with [OpenWiring].
//
// All methods may be called concurrently, also by several processes on one host that were given the
// same Config. They need root, or CAP_NET_ADMIN and CAP_SYS_ADMIN.
//
// [agent.Config]: https://pkg.go.dev/github.com/l3kit/l3kit/dataplane/agent#Config
package host
