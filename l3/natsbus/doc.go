// Package natsbus carries routers to agents and their word back, over NATS JetStream: servers that run in this process, or another cluster.
//
// What follows is all that an agent in another language needs.
//
// # Names
//
// In subjects the name of a host or a router is one token: letters, digits, - and _ stand for themselves, every other byte is = and two upper-case
// hexadecimal digits, so that node1.example is node1=2Eexample; see [Token]. <host> and <router> below are such tokens. Values are JSON objects; a
// reader passes over members that it does not know. Numbers are unsigned integers of 64 bits.
//
// # What there is
//
//	stream      subject                      written by      value
//	KV_routers  $KV.routers.<host>.<router>  control plane   {"host": …, "revision": 7, "epoch": 2, "router": {…} or null}
//	KV_routers  $KV.routers.complete         control plane   any text
//	KV_routers  $KV.routers.<host>.=         control plane   nothing: a mark
//	KV_agents   $KV.agents.<host>            agent           {"host": …, "binary": …, "availability_zone": …, "started_at": …, "configurations": {…}}
//	KV_agents   $KV.agents.control.probe     control plane   nothing: it finds out whether agents could be heard
//	KV_peers    $KV.peers.<host>             control plane   {"host": …, "address": "192.0.2.1"}, or nothing when its time is over
//	KV_peers    $KV.peers.=                  control plane   nothing: a mark
//	reports     reports.<host>               agent           {"host": …, "router_id": …, "epoch": 2, "revision": 7, "error": …, "floating_ips": {…}}
//
// The first three streams are key-value buckets in NATS's sense, of which the last value of each key is kept. "host" is the name as it is, and whoever
// reads a value passes over one whose host or router is not the key's. "router" is a dataplane.Router as that package writes it in JSON.
//
// # Routers
//
// A host has the routers of its keys. Of two values of one router the one with the higher epoch is newer, then the one with the higher revision; one that
// is not newer than what is known changes nothing. A null says that the host does not have the router any more, and carries the last version that it
// had: a value of that version or of an earlier one that comes later is late, a newer one brings the router back. Nulls are kept for [Options.Markers].
//
// An agent reads $KV.routers.complete first, with the request $JS.API.DIRECT.GET.KV_routers.$KV.routers.complete. While there is none the bus was not
// filled, and the agent leaves everything as it is. Then it makes a consumer, always with the same name:
//
//	$JS.API.CONSUMER.DELETE.KV_routers.<host>                             an answer that there is none is fine
//	$JS.API.CONSUMER.CREATE.KV_routers.<host>.$KV.routers.<host>.>        name <host>, that filter, deliver_policy last_per_subject, ack_policy none
//	$JS.API.CONSUMER.MSG.NEXT.KV_routers.<host>                           {"batch": 256, "expires": …, "idle_heartbeat": …}
//
// And it asks with a request to listing.<host> again and again until there is an answer: {"routers": 12, "peers": 9}. These
// are sequence numbers of marks that the control plane has written for it. The listing is complete at a message whose stream sequence number is not less
// than that, and after which none is pending; and only if every value of it could be read, and $KV.routers.complete is still the same. What the
// host has beside it is to be removed then, and not before. Without the mark a server that is just back, and behind the others of its cluster, would
// pass off for everything what it has.
//
// When the connection was lost, when the consumer's sequence numbers have a gap, or when idle heartbeats stay away, the agent reads $KV.routers.complete
// again. If it is the same, it makes the consumer anew with deliver_policy by_start_sequence from the last stream sequence number plus one, and has
// missed nothing. If it differs, if the consumer that was made says that it delivered less than that number, or if the agent was cut off for longer than
// [Resume], it begins with a full listing. It removes nothing because something is silent.
//
// # Word of the agent
//
// A heartbeat and a report are published with a reply subject, and are safe when JetStream has acknowledged them. Heartbeats come at
// most a third of the control plane's agent_down_time apart; among its configurations are the counts routers, interfaces, ex_gw_ports and floating_ips,
// the list physical_networks, and [TunnelAddress]. started_at is as RFC 3339 has it. A report says what became of the version that it names: error is
// empty or missing if it was applied; floating_ips has the same of floating IPs by their IDs. A report that is doubled or late changes nothing.
//
// # Tunnel peers
//
// The control plane derives them from the heartbeats and keeps each for [Options.Lifetime] after its last one: a host that is silent may still forward.
// Agents read $KV.peers.> with a consumer as above, up to the mark as above, and not KV_agents: a thousand hosts would hear a thousand heartbeats each.
//
// # Login
//
// An embedded server knows the user control, and for each host the user agent:<name>, with the name as it is. An agent's password is HMAC-SHA-256, under
// the servers' secret, of "l3kit natsbus", a zero byte and the user name, in base64url without padding; see [Credential]. Its inboxes begin with
// _INBOX.agent-<host> and a dot.
// It may use the subjects of [AgentPermissions] only. The operator of another cluster gives all users one account with JetStream, each agent those
// permissions, and the control plane everything; [Login] takes passwords, credentials files and client certificates.
//
// # Rules for publishers
//
// Any number of control planes may publish. Each reads a key, then what is desired, and writes over exactly what it read, with the header
// Nats-Expected-Last-Subject-Sequence. So what is there was desired after what it replaced.
package natsbus

// maxMessage bounds a message, in bytes: a router with tens of thousands of floating IPs fits.
const maxMessage = 8 << 20
