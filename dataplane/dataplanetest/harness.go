package dataplanetest

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// Harness is a host under test, empty at first, and what the suite cannot know about it. Its maker
// takes it away when the test ends.
type Harness interface {
	// Dataplane is the one under test.
	Dataplane() dataplane.Dataplane

	// Reopen opens the host once more, as a process does that has just started: it knows only what
	// the host shows. The suite closes it.
	Reopen() (dataplane.Dataplane, error)

	// Attach makes a workload on the host's networks.
	Attach(ctx context.Context, w Workload) (Host, error)

	// Router is the inside of a router that was applied, to probe from.
	Router(ctx context.Context, id string) (Host, error)

	// State is all that the host holds for a router, as text that is equal for equal
	// configurations, however they came about; empty when there is nothing. What traffic makes,
	// such as connections and counters, is not in it.
	State(ctx context.Context, id string) (string, error)

	// HostState is the same for everything outside of routers' insides: their devices on the host's
	// side, networks, names.
	HostState(ctx context.Context) (string, error)

	// Writes lists what fn changed on the host, insides of routers included, whoever did it.
	Writes(ctx context.Context, fn func() error) ([]string, error)
}

// Damager is a [Harness] that can break what a dataplane made, as another process on the machine
// might.
type Damager interface {
	Damages() []Damage
}

// Damage is something that a neighbour may do to a router, whose first port is "web" and whose
// gateway is "ext".
type Damage struct {
	Name     string
	Mentions string // what Plan must contain then; empty for what is none of a dataplane's business, and must be left alone
	Do       func(ctx context.Context, id string) error
}

// InstanceDamager is a [Harness] that can break what a dataplane made of an edge of a distributed
// router.
type InstanceDamager interface {
	// InstanceDamages are for an edge with the anycast ports "web" and "app", the transit "transit"
	// and the gateway "ext".
	InstanceDamages() []Damage
}

// Breaker is a [Harness] that can make operations on its host fail.
type Breaker interface {
	// Break lets so many operations of the next Apply pass, and makes the one after them fail once.
	// heal ends that.
	Break(after int) (heal func())
}

// Trespasser is a [Harness] whose host has names that somebody else may take.
type Trespasser interface {
	// Trespass takes the name of a router that is not there. intact says whether the intruder's
	// possession is untouched.
	Trespass(ctx context.Context, id string) (intact func() error, err error)
}

// HalfMaker is a [Harness] whose host can hold a part of a router.
type HalfMaker interface {
	// HalfMake leaves what a process leaves that is killed soon after it began to apply r.
	HalfMake(ctx context.Context, r dataplane.Router) error
}

// Workload is a host to attach.
type Workload struct {
	Name string // unique

	// Ports become the devices eth0, eth1, and so on. A missing ID or MAC is made from Name, a
	// missing MTU is 1500. A workload with several ports forwards between them.
	Ports []dataplane.Port

	Local    []netip.Addr      // further addresses that it answers for
	NextHops []netip.Addr      // default routes; one outside the ports' subnets is on the link of eth0
	Routes   []dataplane.Route // further routes
}

// Host is something to probe from. Its methods may be called concurrently.
type Host interface {
	// Serve starts an echo service for TCP and UDP on all of the host's addresses.
	Serve(port uint16) error

	// Dial begins a conversation with an echo service, or, by ICMP, with any host. A zero address
	// or port of from is for the host to choose.
	Dial(ctx context.Context, proto dataplane.Proto, from, to netip.AddrPort) (Conn, error)

	// Ask sends one datagram to an echo service, and waits for its answer until ctx ends. It does
	// not send it again.
	Ask(ctx context.Context, to netip.AddrPort) (Seen, error)

	// Stream sends datagrams to an echo service, one every interval, until it is stopped. It
	// returns when the first has come back.
	Stream(ctx context.Context, from, to netip.AddrPort, interval time.Duration) (Stream, error)

	// Watch looks at what passes the host's eth0 from now on.
	Watch() (Watch, error)
}

// Listener is a [Host] that hears ARP.
type Listener interface {
	// Listen hears, from now on, what is asked and announced by ARP on the link of the host's eth0,
	// but for what the host itself sends.
	Listen() (Ear, error)
}

// Ear hears ARP.
type Ear interface {
	// Heard returns the messages since the last call, without waiting.
	Heard() ([]ARP, error)
	Close() error
}

// ARP is a request or an announcement (RFC 826, RFC 5227): Target is who is looked for.
type ARP struct {
	MAC            dataplane.MAC // of the sender
	Sender, Target netip.Addr
}

// Solicitor is a [Host] that hears router advertisements.
type Solicitor interface {
	// HearRouters hears, from now on, what routers advertise on the link of the host's eth0.
	HearRouters() (RouterEar, error)
}

// RouterEar hears router advertisements.
type RouterEar interface {
	// Solicit asks all routers on the link to advertise themselves (RFC 4861 §6.3.7).
	Solicit() error
	// Heard returns what they have said since the last call, without waiting.
	Heard() ([]Advertised, error)
	Close() error
}

// Advertised is a router advertisement as it arrives.
type Advertised struct {
	From    netip.Addr
	Gateway bool // its sender wants to be one: the router lifetime is not 0
	Alone   bool // it was sent to this host, not to all
	MTU     int
	dataplane.Advertisement
	Gone     []netip.Prefix // prefixes with a valid lifetime of 0
	Metadata bool           // it has a route to the metadata address
}

// Conn is a conversation.
type Conn interface {
	// Exchange sends a request with so many bytes of payload, and waits for the answer. An error
	// that is [context.DeadlineExceeded] says that none came; it may come sooner than ctx ends.
	Exchange(ctx context.Context, payload int) (Seen, error)

	Local() netip.AddrPort // of ICMP, the port is the identifier

	// SetTTL sets the time to live, or hop limit, of packets to come.
	SetTTL(hops int) error
	Close() error
}

// Stream is a flow of datagrams and their echoes.
type Stream interface {
	// Pause waits until so many more echoes have come.
	Pause(ctx context.Context, echoes int) error
	Stop(ctx context.Context) Flow
}

// Watch is a look at packets.
type Watch interface {
	// Packets returns those since the last call, without waiting. What the host has received, and
	// maybe answered, is among them.
	Packets() ([]Packet, error)
	Close() error
}

// Seen is what an echo service says about a request.
type Seen struct {
	Host string         // who answered
	Src  netip.AddrPort // where the request came from, as the service saw it
	Dst  netip.AddrPort // which address of the service it was sent to
}

// Flow is what a stream has done.
type Flow struct {
	Sent, Lost int
	Sources    []netip.AddrPort // every source that the service saw it come from
	Unsent     error            // why a datagram could not even be sent, if one could not
}

func (f Flow) String() string { return lab.Flow(f).String() }

// Packet is what a look at an IP packet tells.
type Packet struct {
	Sent     bool           // by the host that looked; else it came in
	Src, Dst netip.AddrPort // without ports where the protocol has none; an echo has its identifier
	Proto    uint8          // IP's number of the protocol
	MSS      uint16         // maximum segment size that TCP announces; 0: none
	ICMP     *ICMP          // nil unless Proto is ICMP or ICMPv6
}

// ICMP is what an ICMP message says.
type ICMP struct {
	Type  uint8
	MTU   uint32  // of fragmentation needed, and packet too big
	About *Packet // what an error is about; nil for other messages
}

func (p Packet) String() string {
	text := fmt.Sprintf("%s → %s protocol %d", p.Src, p.Dst, p.Proto)
	if p.ICMP != nil {
		text += fmt.Sprintf(" type %d", p.ICMP.Type)
		if p.ICMP.About != nil {
			text += fmt.Sprintf(" about (%s)", *p.ICMP.About)
		}
	}
	return text
}
