// Package nftables is the backend that writes a router's translation and filtering with nftables.
//
// [New] makes a dataplane of it. [Firewall] is the part that is particular to it.
//
// # The tables
//
// Each router has one table for IPv4, "ip l3kit", in its namespace, and one for IPv6, "ip6 l3kit",
// if it speaks IPv6; nft list ruleset shows them, with a comment beside each set and rule. IPv6 is
// never translated, and does not pay for conntrack. Chains and rules are the same for every router
// that is not distributed. All that varies is in sets and maps, so that the cost of a packet does
// not depend on the number of floating IPs and forwarded ports. A floating IP more is four elements
// more, a forwarded port one:
//
//	set or map    holds                                          while
//	fip_dnat      floating IP → fixed address
//	fip_snat      fixed address → floating IP
//	pf_dnat       forwarded address, protocol and port → fixed
//	              address and port
//	fip_in        floating IP, with a counter
//	fip_out       floating IP, with a counter
//	external      the gateway's device                           there is a gateway
//	inside        each subnet of an internal port
//	guarded       the gateway's device                           its SNAT is on
//	shared_snat   the gateway's device → its IPv4 address        its SNAT is on
//	hairpin       each internal device → that address            the gateway has an IPv4 address
//	own           each IPv6 address of the router, link-local ones too
//	scope_0 …     each device in one address scope               ports are in different ones
//	routed        each internal device in the scope of the       its SNAT is on
//	              gateway
//	leaving       fixed address of each floating IP              IPv4 scopes differ and SNAT is off
//	limit_in      external address, with a limiter               some address is limited
//	limit_out     external address, with a limiter               some address is limited
//	max_mss       each device → the largest TCP segment for it   the router clamps
//
// A packet passes these chains, in this order. The nat chains see the first packet of a connection
// only; conntrack treats the rest, and the answers, likewise.
//
//	chain        hook and priority  does                              and why there
//	ingress      prerouting raw     drops spoofed sources; counts by  where packets enter; and
//	                                destination in fip_in             before answers to
//	                                                                  connections from inside get
//	                                                                  their fixed address back, so
//	                                                                  that they count too
//	prerouting   prerouting dstnat  floating IP, or forwarded port,   before routing
//	                                to fixed address
//	output       output dstnat      the same                          for connections of the
//	                                                                  router's own namespace
//	forward      forward filter     refuses what is link-local,       the only place that sees
//	                                accepts what belongs to a         both devices, and after
//	                                connection, guards, marks         destination NAT, so it knows
//	                                hairpins                          what a floating IP let in
//	refuse       none: from         drops what comes by the gateway,
//	             forward            resets TCP, answers all else
//	                                with ICMP's port unreachable
//	postrouting  postrouting        fixed address to floating IP,     after routing, when the
//	             srcnat             others to the gateway's address   outgoing device is known
//	limit_in     prerouting -290    drops what exceeds the limit of   counters count it, and
//	                                its destination                   conntrack does not see it
//	clamp        forward mangle     while the router clamps, lowers   both devices are known; both
//	                                the segment size that a SYN       directions of a connection
//	                                announces by max_mss              pass it
//	count_out    postrouting 300    counts by source in fip_out       after source NAT
//	limit_out    postrouting 310    drops what exceeds the limit of   the source is the limited
//	                                its source                        address
//	metadata_in  input filter       drops what asks for metadata, and  only what is for the router
//	                                comes by the gateway               itself passes here
//	metadata_out output filter      drops what answers that, and       the same
//	                                would leave by the gateway
//
// The chains for metadata are those of a router that has a metadata proxy; they are about the IPv4
// address. The table for IPv6 has the chains ingress, forward and refuse, and clamp while the router
// clamps; it refuses by ICMP alone.
//
// # Limits
//
// The chains limit_in and limit_out, and their sets, are there while any address is limited, so other
// routers do not pay for them. Each element has a limiter of its own (since Linux 5.7), and what a
// packet costs does not depend on their number. The kernel lets pass a second's worth of the rate, and
// the limiter's burst on top of that, before it drops anything: a smaller burst is not possible.
// Dropping makes TCP keep to the rate: it loses no more than it would in a queue, and nothing waits.
//
// # Address scopes
//
// Where ports are in different address scopes of a family, the forward chain ends in a rule for each
// scope, which drops what would leave it. Of IPv4 only packets that no connection was accepted for
// come so far; what a floating IP or a forwarded port let in passes, and what will be translated on
// the way out. Internal devices in the scope of the gateway are in the set routed while SNAT is on:
// what passes between the two is let through before the guard, marked with [namespace.MarkRouted],
// and keeps its address, unless it has a floating IP.
//
// # Instances of distributed routers
//
// An instance has more sets, and rules that look into them:
//
//	set           holds                                          at
//	transit       the transit's device                           every instance
//	elsewhere     fixed addresses that another instance          every instance
//	              translates
//	legs          each internal device                           an edge
//	floating      floating IPs of this edge and of others        an edge
//	fixed         fixed address of each floating IP              a gateway for floating IPs only
//	remote        floating IPs of edges → the gateway's address  the centre, while SNAT is off
//
// Its set inside also holds what other instances have, as far as no other prefix in it covers that.
// So a remote workload more in a known subnet changes nothing; a floating IP here is two elements
// more than elsewhere. Nothing that comes by the transit is spoofed. At an edge what comes by it
// does not leave by it. At the centre nothing leaves by the gateway that is from an address in
// elsewhere; and while SNAT is off, what leaves to an address in remote gets the gateway's address,
// unless a floating IP here is its source's. An edge has no other way back to such a client.
//
// At an edge the ingress chain marks with [namespace.MarkToCentre] what goes from an address in
// elsewhere to one in floating; the prerouting chain leaves that as it is. Where the gateway is for
// floating IPs only it is always guarded; nothing comes by it that is not for one of them, nothing
// leaves by it that is not from a fixed address, and nothing of IPv6 passes. One chain more chooses
// the way of packets there:
//
//	chain         hook and priority      does                                    and why there
//	steer         prerouting mangle      marks with [namespace.MarkFloatingIP]   after conntrack, which knows what is an answer, and
//	                                     what comes by the gateway, and from     before routing
//	                                     fixed addresses; but not answers to
//	                                     what no floating IP let in here
//
// A source is spoofed if it is in an internal subnet and comes by the gateway, or if it is an
// address of the router itself. Of IPv4 the kernel drops the latter without being told
// (fib_validate_source). The metadata addresses 169.254.169.254 and fe80::a9fe:a9fe are link-local,
// and refused as all others are, unless the router has a metadata proxy: then they are its own. An
// instance answers nobody by the transit either.
//
// While SNAT is on the forward chain guards the gateway. It drops a new connection that comes in by
// it and that no floating IP or port forwarding translated; what would leave by it and belongs to a
// connection that is not translated, which would show private addresses outside; and packets in
// either direction that conntrack does not follow. What the router itself answers is not forwarded,
// and so not guarded.
//
// A hairpin is a connection from inside to a floating IP or a forwarded port: destination NAT
// turned it back to the inside. The server must see another address than the client's, or it would
// answer past the router; so the source becomes the client's floating IP, or else the gateway's
// address. The postrouting chain cannot tell where a packet came in, so the forward chain marks it
// (bit 0x10000 of the packet mark, which nothing else here uses). An instance treats its transit as
// inside.
//
// Shared addresses get fully random ports, so that two clients that connect at once do not choose
// the same; a floating IP stands for one host, which keeps its ports.
//
// # Writing
//
// Every change is one transaction, bound to the generation of the namespace's rules that it was
// made for: the kernel refuses it if anybody wrote since. A transaction writes both tables. So what
// was applied last can be trusted without looking for as long as the generation is the same, and a
// change that a [namespace.Delta] can tell costs as much as what changes. Otherwise everything in
// the tables is read back, rule by rule, and compared. Elements that differ are written one by one;
// a chain that differs is written anew, without touching sets and counters; what is in them and not
// of the program goes. Other tables are not looked at.
//
// # Needs
//
// CAP_NET_ADMIN in the namespace; Linux 5.7 or later (sets that give counters to their elements),
// with CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4, CONFIG_NFT_NAT, CONFIG_NFT_CT and
// CONFIG_NFT_REJECT; for limits, CONFIG_NFT_LIMIT; for routers with IPv6 also CONFIG_NF_TABLES_IPV6.
//
// # Promises
//
// A Firewall may be used concurrently, for different namespaces; calls for one namespace are made
// one at a time, which the dataplane sees to. A call returns soon after its context ends, and then
// the old rules are in force, unless the error says otherwise. What the kernel or a tool lacks is
// [dataplane.ErrUnsupported], and what belongs to somebody else [dataplane.ErrForeign]. The zero
// Firewall is usable.
package nftables
