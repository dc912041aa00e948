package main

var (
	grey   = style{"#57606a", "#f6f8fa"}
	plain  = style{"#8c959f", "#ffffff"}
	blue   = style{"#0969da", "#ddf4ff"}
	green  = style{"#1a7f37", "#dafbe1"}
	purple = style{"#8250df", "#fbefff"}
	orange = "#bc4c00"
)

// overview draws a deployment of two hosts, and the ways of two connections through a router.
func overview() []byte {
	c := newCanvas(960, 562, "Clients ask the server by its API, and it tells the agent of a host over the message queue. The agent turns its host into "+
		"routers. A workload on another host is reached through a tunnel. One connection leaves with its source translated, another enters by a floating IP.")

	// The service.
	c.box(20, 20, 190, 54, plain, "Clients", "openstack, Terraform, Go")
	c.path(grey.line, 1.5, false, 210, 47, 268, 47)
	c.text(239, 40, "middle", false, grey.line, "REST")
	c.box(270, 20, 230, 54, grey, "Server", "rules, addresses, scheduling")
	c.path(grey.line, 1.5, true, 500, 47, 558, 47)
	c.box(560, 20, 180, 54, plain, "Database", "SQLite or PostgreSQL")
	c.path(grey.line, 1.5, true, 385, 76, 385, 116)
	c.box(270, 118, 230, 34, grey, "Message queue (NATS)")

	// Host 1.
	c.frame(20, 172, 680, 262, grey, "Host 1")
	c.path(grey.line, 1.5, true, 385, 154, 385, 186)
	c.box(270, 188, 230, 34, grey, "Agent")
	c.path(grey.line, 1.5, false, 385, 222, 385, 246)
	c.frame(270, 248, 300, 170, purple, "Router: a network namespace")
	c.box(286, 282, 106, 46, blue, "qr-…", "10.0.1.1/24")
	c.box(286, 358, 106, 46, green, "qr-…", "10.0.2.1/24")
	c.box(448, 282, 106, 122, plain, "qg-…", "203.0.113.2", "translates by", "nftables", "or iptables")
	c.box(150, 288, 84, 34, blue, "bridge")
	c.box(150, 364, 84, 34, green, "bridge")
	c.box(34, 282, 84, 46, blue, "VM", "10.0.1.5")
	c.box(34, 358, 84, 46, green, "Container", "10.0.2.7")
	c.box(600, 282, 84, 122, plain, "eth1")
	c.box(820, 282, 120, 122, plain, "External", "network", "203.0.113.0/24")

	// A connection from outside to a floating IP, and one from inside, hop by hop.
	for _, hop := range [][2]int{{820, 684}, {600, 554}, {448, 392}, {286, 234}, {150, 118}} {
		c.path(orange, 2.5, false, hop[0], 305, hop[1], 305)
		c.path(green.line, 2.5, false, hop[1], 381, hop[0], 381)
	}
	c.text(760, 297, "middle", false, orange, "to 203.0.113.50")
	c.text(760, 324, "middle", true, orange, "floating IP")
	c.text(760, 373, "middle", true, green.line, "source NAT")
	c.text(760, 400, "middle", false, green.line, "from 203.0.113.2")

	// Host 2.
	c.frame(20, 462, 680, 84, grey, "Host 2: a workload without a router")
	c.box(34, 492, 84, 46, green, "Container", "10.0.2.8")
	c.box(150, 498, 84, 34, green, "bridge")
	c.wire(green.line, 2.5, false, 118, 515, 150, 515)
	c.wire(green.line, 2.5, true, 220, 398, 220, 498)
	c.text(232, 452, "start", true, green.line, "tunnel (VXLAN, Geneve, GRE) or VLAN")
	c.text(270, 519, "start", false, "#1f2328", "When host 1 dies, host 2 takes over its routers.")
	return c.done()
}
