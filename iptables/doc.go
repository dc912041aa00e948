// Package iptables is the backend that writes a router's translation and filtering with iptables.
//
// [New] makes a dataplane of it. [Firewall] is the part that is particular to it.
//
// # The chains
//
// Each router has chains of its own in three tables of its namespace; iptables-save shows them.
// Their names begin with l3kit-, and rules in built-in chains, the first there, lead to them.
// Everything else in the tables is left as it is. A router that speaks IPv6 has chains in
// two tables of ip6tables as well. IPv6 is never translated, and does not pay for conntrack.
//
// A packet passes them in this order. The nat table sees the first packet of a connection only;
// conntrack treats the rest, and the answers, likewise.
//
//	chain                called by         does                          and why there
//	mangle               PREROUTING        leads to the next two         where packets enter
//	l3kit-PREROUTING
//	mangle l3kit-inside  the one before    drops what comes by the       spoofed
//	                                       gateway from an internal
//	                                       subnet
//	mangle l3kit-dst     l3kit-PREROUTING  counts what goes to floating  before answers to
//	                                       IPs                           connections from inside
//	                                                                     get their fixed address
//	                                                                     back, so that they count
//	                                                                     too
//	nat l3kit-dst        PREROUTING,       floating IP to fixed address  before routing; OUTPUT
//	                     OUTPUT                                          for the router's own
//	                                                                     connections
//	nat l3kit-pf         PREROUTING,       forwarded port to fixed       after l3kit-dst
//	                     OUTPUT            address and port
//	filter               FORWARD           lets through what belongs to  the only place that sees
//	l3kit-FORWARD                          a connection, guards, marks   both devices, and after
//	                                       hairpins                      destination NAT, so it
//	                                                                     knows what a floating IP
//	                                                                     let in
//	filter l3kit-refuse  the one before    what is link-local: drops it
//	                                       from the gateway, resets
//	                                       TCP, answers all else with
//	                                       ICMP's port unreachable
//	mangle               POSTROUTING       looks whether conntrack will  the nat table does not
//	l3kit-POSTROUTING                      give the packet another       see these packets
//	                                       source
//	mangle l3kit-src     the one before    counts what comes from
//	                                       floating IPs
//	nat                  POSTROUTING       by the gateway: by            after routing, when the
//	l3kit-POSTROUTING                      l3kit-src, else to the        outgoing device is known
//	                                       gateway's address
//	filter l3kit-mss     FORWARD           while the router clamps,      before what lets through;
//	                                       lowers the segment size that  both devices are known
//	                                       a SYN announces
//	nat l3kit-hairpin    the one before    the same for hairpins
//	nat l3kit-src        both of these     fixed address to floating
//	                                       IP, and counts the first
//	                                       packets
//
// The filter table of IPv6 has l3kit-mss, too. It has two rules for each device, which leave segments
// alone that announce no size.
//
// Of IPv6, l3kit-PREROUTING of the raw table leads to l3kit-inside as above, and to l3kit-own,
// which drops what comes from an address of the router itself; over IPv4 the kernel does that
// without being told (fib_validate_source). l3kit-refuse of the filter table refuses link-local
// addresses, by ICMP alone. The metadata addresses 169.254.169.254 and fe80::a9fe:a9fe are among
// them, unless the router has a metadata proxy. Then INPUT and OUTPUT lead to l3kit-metadata what
// is for the IPv4 address, or from it, and that drops what comes by the gateway or the transit, or
// leaves by them. Where l3kit-inside and l3kit-own would hold more than eight addresses they lead on to
// chains by prefix, whose names end in numbers.
//
// While SNAT is on, l3kit-FORWARD guards the gateway. It drops a new connection that comes in by it
// and that neither a floating IP nor a port forwarding translated; what would leave by it and
// belongs to a connection that is not translated, which would show private addresses outside; and
// packets in either direction that conntrack does not follow. What the router itself answers is not
// forwarded, and so not guarded.
//
// A hairpin is a connection from inside to a floating IP or a forwarded port: destination NAT
// turned it back to the inside. The server must see another address than the client's, or it would
// answer past the router; so the source becomes the client's floating IP, or else the gateway's
// address. In POSTROUTING option -i does not mean the same in both variants, so l3kit-FORWARD marks
// it: bit 0x10000 of the packet mark, which nothing else here uses.
//
// Shared addresses get fully random ports, so that two clients that connect at once do not choose
// the same; a floating IP stands for one host, which keeps its ports.
//
// # Address scopes
//
// Where ports are in different address scopes of a family, l3kit-FORWARD ends in l3kit-scopes, which
// leads from the device that a packet comes by to a chain for its scope, such as l3kit-scope-0; that
// drops what leaves by a device of another. Of IPv4 only packets that no connection was accepted for
// come so far, and not what a floating IP or a forwarded port let in. l3kit-scopes lets out what SNAT
// will translate, or without SNAT what is from fixed addresses, which l3kit-fix marks. l3kit-routed
// marks what passes between the gateway and internal devices in its scope with
// [namespace.MarkRouted]: it passes before the guard, and keeps its address, unless it has a floating
// IP.
//
// # Instances of distributed routers
//
// An instance has more chains and rules. What comes by the transit is never spoofed, and hairpins
// treat the transit as inside. l3kit-inside also has what other instances have, as far as no other
// prefix in it covers that; so a remote workload more in a known subnet changes nothing. At an edge
// what comes by the transit does not leave by it. At the centre nothing leaves by the gateway that
// is from an address in l3kit-els; and while SNAT is off, what leaves to a floating IP of an edge
// gets the gateway's address, unless a floating IP here is its source's. An edge has no other way
// back to such a client.
//
//	chain               called by             does                                    and why there
//	mangle l3kit-steer  l3kit-PREROUTING      at an edge, leads what comes by         before routing, which goes by the marks; after conntrack,
//	                                          internal ports to the next ones         which knows what is an answer
//	mangle l3kit-els    l3kit-steer           goes on to the next one with what is from fixed addresses that another instance translates
//	mangle l3kit-fip    l3kit-els             marks what goes to a floating IP of any edge with [namespace.MarkToCentre]; the nat table
//	                                          leaves that as it is
//	mangle l3kit-fix    l3kit-steer           marks what is from fixed addresses with [namespace.MarkFloatingIP]; not answers to what no
//	                                          floating IP let in here
//	filter l3kit-els    l3kit-FORWARD         at the centre, drops what is from fixed addresses that another instance translates
//	nat l3kit-fip       l3kit-POSTROUTING     at the centre, while SNAT is off, goes on to the next one with what leaves to floating IPs
//	                                          of edges
//	nat l3kit-shown     nat l3kit-fip         to the gateway's address
//
// A gateway for floating IPs only is always guarded. What comes by it is marked with
// [namespace.MarkFloatingIP]. Nothing leaves by it without the mark; nothing comes by it that is
// not translated, neither to others nor to the router itself, for which INPUT leads to
// l3kit-refuse; and nothing of IPv6 passes. l3kit-els, l3kit-fip and l3kit-fix are trees, as the
// following are.
//
// # Trees
//
// l3kit-dst and l3kit-src are the roots of trees, two in each of the two tables: from chain to
// chain by prefixes of the address, each longer by four bits or more than the one before, to the
// rule for the address in the chain of its /28. So no list is longer than 16 rules, and ten
// thousand floating IPs cost a packet a few dozen comparisons. Chains are there for as long as
// floating IPs need them. One floating IP more is one rule more at the end of each tree, and now
// and then a chain or two.
//
// l3kit-pf is the root of such a tree too, by addresses of which ports are forwarded. It leads to a
// chain that is named for the address, such as l3kit-203.0.113.7. That has a rule for each port and
// each range, up to 16. More are in chains by protocol, and by one hexadecimal digit of the port
// after the other: l3kit-203.0.113.7-t1f for the ports of TCP from 0x1f00 to 0x1fff. A range that
// such a digit does not take whole stays in the chain that is divided, and no list is longer than
// 32 rules.
//
// # Limits
//
// While any address is limited, PREROUTING of the mangle table leads what comes by the gateway to the
// tree l3kit-lin, by destination, and POSTROUTING leads what leaves by it to l3kit-limit. The mangle
// table sees what leaves before its source is translated, so the trees go by what conntrack knows:
// l3kit-lor by the address that answers will be sent to, l3kit-lre by the one that a packet is the
// answer of. At the ends of the trees hashlimit drops what exceeds the rate. Counters count it, too.
//
// hashlimit differs from the package nftables in four ways. The first packet of a connection that
// leaves is not counted, as conntrack does not know its new source yet. It counts in steps of 16
// bytes, which takes a small packet for a few bytes more. A packet larger than what the rate lets pass
// in a second counts as just that; so a rate below half a megabit is exceeded by hosts that leave
// segmentation to the router's host. And a burst of more than a second is rounded up to whole seconds
// of the rate, given once, and again after a minute without a packet.
//
// # Counters
//
// They count what the package nftables counts, with two exceptions on the way out: ICMP errors that
// the router, or a host behind the fixed address, sends in the name of a floating IP; and
// connections that the router itself opens from a floating IP's address.
//
// # Writing
//
// A change is one run of iptables-restore --noflush, and one of ip6tables-restore if IPv6 is
// concerned, with those lines alone in which the tables differ. Each table changes at one instant,
// or not at all; their order is such that a tool which dies in between leaves no state that leaks a
// private address, and what it had written is taken back. A change to several tables is tried with
// --test first; one that a [namespace.Delta] tells is not, as lines like its own have passed
// before. A tool that takes longer than [Firewall].Timeout is killed, with all its children.
//
// What was applied last is trusted for as long as nobody else wrote. With iptables-nft that is
// known by the generation id of the namespace's nf_tables, at the cost of a short question. With
// iptables-legacy the kernel has nothing like it: the tables are read, without any process, and a
// fingerprint of them, less the counters, is compared; that takes some 50 µs, with 1,000 floating
// IPs half a millisecond, with 10,000 five. Otherwise iptables-save tells all rules, and they are
// compared with those wanted, one by one. Rules that are right keep their place and counters.
//
// The lock of iptables-legacy is one file for all namespaces (/run/xtables.lock, or
// XTABLES_LOCKFILE). We hold it shared: several routers change at the same time, while other
// programs wait as they should, and we for them. iptables-nft has no lock; there a change is
// followed by a second look if anybody else wrote meanwhile.
//
// # Variants
//
// iptables-nft and iptables-legacy write into different parts of the kernel, and packets pass both.
// If the one that is not used holds rules of ours, they are taken away by its own tool as soon as
// the new ones are in force; so both must be installed then. Whatever a program is called, it is
// taken for what it says about its version.
//
// # Needs
//
// iptables 1.8 or later: iptables-restore and iptables-save in PATH; for routers with IPv6
// ip6tables-restore and ip6tables-save too. CAP_NET_ADMIN in the namespace. For iptables-nft Linux
// with CONFIG_NF_TABLES_IPV4 and CONFIG_NFT_COMPAT, for iptables-legacy CONFIG_IP_NF_FILTER,
// CONFIG_IP_NF_MANGLE and CONFIG_IP_NF_NAT; for both the matches conntrack and mark, and the targets
// MARK, SNAT, DNAT and REJECT. For IPv6 CONFIG_NF_TABLES_IPV6, or CONFIG_IP6_NF_FILTER and
// CONFIG_IP6_NF_RAW, and CONFIG_IP6_NF_TARGET_REJECT. For limits the match hashlimit; for routers that
// clamp the match tcpmss and the target TCPMSS.
//
// # Promises
//
// A Firewall may be used concurrently, for different namespaces; calls for one namespace are made
// one at a time, which the dataplane sees to. A call returns soon after its context ends, and then
// the old rules are in force, unless the error says otherwise. What the kernel or a tool lacks is
// [dataplane.ErrUnsupported], and what belongs to somebody else [dataplane.ErrForeign]. The zero
// Firewall is usable.
package iptables
