// Package natsbus connects the control plane with its agents over NATS JetStream: servers that run
// in this process, or another NATS.
//
// [Open] and [OpenEmbedded] return the control plane's side, an [l3.Bus]. [Client] is an agent's
// side, which waits for its servers and connects again by itself. Both work while their Run does,
// may be used concurrently, and start no goroutine that outlives Run and Close.
//
// What follows is everything that an agent in another language needs, and what the operator of
// another NATS must configure.
//
// # Names
//
// In subjects, the name of a host or a router is one token: letters, digits, - and _ stand for
// themselves, every other byte is = and two upper-case hexadecimal digits, so node1.example is
// node1=2Eexample; see [Token]. <host> and <router> below are such tokens. Values are JSON objects;
// a reader ignores members that it does not know. Numbers are unsigned integers of 64 bits. Times
// are written as in RFC 3339.
//
// # Accounts
//
// The control plane and its streams are in one NATS account. Each host has an account of its own,
// with one user and these imports, and no others; see [AgentImports] and [AgentQuestions]:
//
//	subject in the host's account    subject in the control plane's account           answers
//	session                          session.<host>                                   one
//	heartbeat                        $KV.agents.<host>                                one: JetStream's acknowledgement
//	report                           reports.<host>                                   one: JetStream's acknowledgement
//	routers.next                     $JS.API.CONSUMER.MSG.NEXT.KV_routers.<host>      many
//	peers.next                       $JS.API.CONSUMER.MSG.NEXT.KV_peers.<host>        many
//	answer                           answers.<host>                                   none
//	question                         questions.<host>                                 a stream to the host
//	$JS.API.>                        refused.<host>.>                                 none: nobody listens
//
// Whatever subject an agent names, as target, as reply or in a header, is a subject of its own
// account. It reaches the control plane through one of these imports, or it reaches nobody. An
// agent creates no consumers, because a consumer may deliver anywhere. Its user may publish to the
// first six subjects, and may subscribe to _INBOX.> and question only; see [AgentPermissions].
//
// An embedded server takes sessions, heartbeats and reports at relay.<server>.<kind>.<host>, and
// passes their content on to the subjects in the table: one message of a kind and a host at a time,
// and at most 10 sessions, 20 heartbeats and 200 reports of a host in a second. Of the heartbeats
// that wait, the latest is stored, and its acknowledgement answers all. So a host that sends
// without end does not delay the others: its messages wait, are answered with {"error": …}, or are
// discarded for some seconds, with the status 503. Requests to consumers are bounded to 500 in a
// second, and answers to 200. Another NATS has no such bounds.
//
// # Login
//
// An embedded server knows the user control, and for each host the user agent:<name>, with the name
// as it is. An agent's password is the HMAC-SHA-256, under the servers' secret, of "l3kit natsbus",
// a zero byte and the user name, in base64url without padding; see [Credential]. [AccountsConfig]
// writes the same accounts for another NATS, which must be nats-server 2.11 or later; there [Login]
// takes passwords, credentials files and client certificates. In a NATS that is run by JWT, the
// operator gives the accounts the same exports and imports.
//
// # Streams
//
//	stream      subject                      written by      value
//	KV_routers  $KV.routers.<host>.<router>  control plane   {"host": …, "deployment": …, "epoch": 2, "revision": 7, "router": {…} or null}
//	KV_routers  $KV.routers.<host>.=         control plane   {"session": …}: a mark
//	KV_routers  $KV.routers.complete         control plane   {"filling": …}
//	KV_routers  $KV.routers.identity         control plane   {"bus": …, "deployment": …}
//	KV_agents   $KV.agents.<host>            agent           a heartbeat
//	KV_agents   $KV.agents.control.probe     control plane   {}: it finds out whether heartbeats can be stored
//	KV_peers    $KV.peers.<host>             control plane   {"host": …, "address": "192.0.2.1"}, or nothing when it expires
//	KV_peers    $KV.peers.=                  control plane   {}: a mark
//	reports     reports.<host>               agent           a report
//
// The first three streams are key-value buckets in NATS's sense, which keep the last value of each
// key. "host" is the name as it is, and a reader ignores a value whose host or router is not the
// key's. "router" is a dataplane.Router as that package writes it in JSON.
//
// # Routers
//
// A key says what the database has recorded of a router on a host: that the host must realise it,
// or, with a null, that it has left the host. A key that does not exist says nothing: the host
// keeps what it has. So does a value whose deployment is not that of the session.
//
// Of two values of one router, the one with the higher epoch is newer, then the one with the higher
// revision. A value that is not newer than what the agent knows changes nothing. A null carries the
// last version that the router had on the host: a value of that version or of an earlier one that
// comes later is late, and a newer one brings the router back. A null stays until the agent has
// reported that the router is gone. A null with "orphan": true is meant for whatever router of that
// ID runs on the host, and any other leaves a router alone that belongs to another deployment.
//
// A value may have "announce": 6, the last revision with which another host had let go of the
// router: an agent that runs an earlier one announces the router's addresses.
//
// # Session
//
// An agent begins with a request to session:
//
//	{"host": …, "instance": …, "machine": …, "deployment": …, "after": 0, "filling": …}
//
// instance is random and identifies the process. machine is the same for all processes on the
// machine. deployment is the one that the agent has served before, if any. The last two are for
// resuming. If the answer is {"refused": …}, an agent on another machine uses the host name; this
// one must apply nothing. If it is {"error": …}, or there is none, the agent asks again later.
// Otherwise it is
//
//	{"session": …, "deployment": …, "filling": …, "after": 0, "routers": 12, "peers": 9}
//
// The control plane has then created two consumers for the host, which end those of an earlier
// session: one for its routers, and one for the tunnel peers of all hosts. The agent reads each
// with requests to routers.next and peers.next, as JetStream's pull consumers are read:
//
//	{"batch": 256, "expires": 30000000000, "idle_heartbeat": 2000000000}
//
// A message's reply subject is $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer
// sequence>.<time>.<pending>. Nothing is acknowledged. "routers" and "peers" in the answer are the
// stream sequence numbers of marks, which the control plane has just written. The listing is
// complete at a message whose stream sequence number is not less than the mark's, and after which
// none is pending. Without the mark, a server of a cluster that is just back, and behind the
// others, would pass off what it has for everything. A mark among the routers that names another
// session ends this one: the consumers are those of another request, and the agent asks again. What
// runs on the host without having been named then is an orphan: it keeps running.
//
// Consumer sequence numbers have no gaps, and the header Nats-Last-Consumer of an idle heartbeat is
// the last of them. When a message was lost, when the connection was lost, when the consumer does
// not exist any more (status 503, or 409 Consumer Deleted), or when idle heartbeats stay away, the
// agent asks for its session again, with the filling that it had, and in "after" the last stream
// sequence number up to which it has missed nothing. If the answer has the same filling and the
// same "after", it goes on where it was. If not, the history that it knows is lost, and it reads
// everything from the beginning. While no control plane answers, it may go on reading the consumers
// that it has.
//
// # Heartbeats and reports
//
// Both are requests, and are stored when JetStream has acknowledged them. Heartbeats come at most a
// third of the control plane's agent_down_time apart:
//
//	{"host": …, "binary": …, "availability_zone": …, "started_at": …, "configurations": {…},
//	 "instance": …, "machine": …, "deployment": …, "inventory": {"seq": 5, "max_epoch": 2, "routers": [
//	   {"id": …, "epoch": 2, "revision": 7},
//	   {"id": …, "orphan": true, "deployment": …, "addrs": [{"network": {…}, "addr": "10.0.0.1"}]}],
//	   "ports": [ID of a port by which a workload is attached, …]}}
//
// The configurations have the counts routers, interfaces, ex_gw_ports and floating_ips, the list
// physical_networks, and tunneling_ip; see [agent.Capabilities]. The inventory lists what runs on
// the host, whoever asked for it; see [agent.Inventory]. deployment is the one that the agent
// serves.
//
// A report says what became of a version of a router:
//
//	{"host": …, "router_id": …, "epoch": 2, "revision": 7, "error": …, "gone": false, "instance": …, "seq": 5}
//
// error is empty or missing if the version was applied, with all its floating IPs. gone confirms
// that the router is no longer on the host, with the epoch and revision of the null. seq orders the
// reports and inventories of one instance. A report that is doubled or late changes nothing. A
// message of a host name that another machine uses is dropped.
//
// # Tunnel peers
//
// The control plane takes them from the heartbeats and keeps each for [Options.Lifetime] after its
// last one: a host that is silent may still forward. Agents read them, and not KV_agents: a
// thousand hosts would receive a thousand heartbeats each. An address that cannot be a tunnel's is
// ignored, and the others count.
//
// # Questions
//
// The control plane asks a host {"id": …, "question": …}, and the agent answers with the same id,
// {"id": …, "answer": …}. id is random. Nothing is stored: a question that no agent hears has no
// answer. The bus does not know what questions and answers are about; see [Ask] and
// [Source.Answer].
//
// # Publishers
//
// Any number of control planes may publish. Each reads a key, then what the database has recorded,
// and writes over exactly what it read, with the header Nats-Expected-Last-Subject-Sequence. So a
// value was compiled after the value that it replaced. If what is there is newer than what the
// database has, the database was restored to an earlier state; see [l3.Desired]. Before anything is
// published, and before a session is opened, the whole bus is compared with the database. If the
// bus had lost something, it gets a new filling, and all agents read from the beginning.
//
// A bus belongs to the deployment whose database it mirrors, and a database is served by one bus at
// a time; see [Open].
//
// # Durability
//
// A notice leaves the database's outbox when the bus has acknowledged what it is about. An embedded
// server syncs to disk before it acknowledges. Another NATS does so if its configuration says
// sync_interval: always; its clients cannot see whether it does. What a power loss took back all
// the same is found when a server starts, when an agent opens a session, and once an hour.
package natsbus

// maxMessage bounds a message, in bytes: a router with tens of thousands of floating IPs fits.
const maxMessage = 8 << 20
