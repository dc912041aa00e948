package explain

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// Ask asks the [Watcher] of a host, and returns its answer.
type Ask func(ctx context.Context, host string, question []byte) (answer []byte, err error)

// ErrLost is returned when a packet was sent, and did not go where the model says. The answer was
// printed all the same.
var ErrLost = errors.New("the packet did not go where the model says")

// ErrUnwatched is returned when a packet was sent, and a host that could not be watched leaves open
// where it went. The answer was printed all the same.
var ErrUnwatched = errors.New("not every host could be watched")

// How long a check across hosts takes. A router asks for a silent neighbour three times, one second
// apart (arp(7)).
const (
	answerTime = 3 * time.Second         // for a host's answer
	followTime = 3500 * time.Millisecond // for the packet
	quietTime  = 500 * time.Millisecond  // after which a packet that is to be dropped was
	backTime   = time.Second             // for the answer to an echo request
	lookEvery  = 50 * time.Millisecond
)

// outcome is a packet that was sent, and what became of it.
type outcome struct {
	Packet dataplane.Packet `json:"packet"` // as sent
	Host   string           `json:"host"`   // from which
	Agrees bool             `json:"agrees"` // with the model
	Says   []string         `json:"says"`   // what became of the packet, in sentences

	open bool // a host that was not watched leaves open what became of it
}

func (o *outcome) String() string {
	begin := "The hosts agree"
	switch {
	case o.open:
		begin = "The hosts that were watched agree"
	case !o.Agrees:
		begin = "The hosts DO NOT agree"
	}
	return fmt.Sprintf("%s: %s was sent on %s; %s", begin, o.Packet, o.Host, strings.Join(o.Says, "; "))
}

func (o *outcome) say(format string, args ...any) {
	o.Says = append(o.Says, fmt.Sprintf(format, args...))
}

// CheckAcross is [Question.AnswerAcross] with a packet that is sent on the host where the listing
// begins. The hosts of the listing, and that of the centre, watch for it, and the listing says at
// each hop whether the packet was seen there. It fails with [ErrLost] and [ErrUnwatched].
func (q *Question) CheckAcross(ctx context.Context, out io.Writer, instances []Instance, host string, ask Ask) error {
	ways, err := q.ways(instances, host)
	if err != nil {
		return err
	}
	if ways[0][0].Trace.Packet.In == "" {
		return errors.New("--check is for packets that arrive by a port, and this one the router itself sends")
	}
	id := make([]byte, idLen)
	rand.Read(id)
	c := &check{
		id: hex.EncodeToString(id), ask: ask, instances: instances, ways: ways,
		watch: map[string][]string{}, seen: map[place][]event{}, faults: map[place]string{},
	}
	x := explanation{Ways: ways}
	x.Sent, err = c.run(ctx)
	if err := errors.Join(err, x.print(out, q.JSON)); err != nil {
		return err
	}
	switch {
	case x.Sent.open:
		return ErrUnwatched
	case !x.Sent.Agrees:
		return ErrLost
	}
	return nil
}

// place is an instance on a host.
type place struct{ host, instance string }

func (h hop) place() place { return place{h.Host, h.Instance} }

// check is one that is going on.
type check struct {
	id        string
	ask       Ask
	instances []Instance
	ways      [][]hop
	watch     map[string][]string // instances, by host

	mu     sync.Mutex
	seen   map[place][]event
	faults map[place]string // why an instance is not watched
	absent map[string]bool  // hosts that did not begin
}

// run sends the packet, and notes in the hops what was seen of it.
func (c *check) run(ctx context.Context) (*outcome, error) {
	watch := func(p place) {
		if !slices.Contains(c.watch[p.host], p.instance) {
			c.watch[p.host] = append(c.watch[p.host], p.instance)
		}
	}
	most := 0
	for _, way := range c.ways {
		most = max(most, len(way))
		for _, h := range way {
			watch(h.place())
		}
	}
	for _, i := range c.instances {
		if i.centre() { // to which packets go that have lost their way
			watch(place{i.Host, i.Router.ID})
		}
	}
	ended := context.WithoutCancel(ctx)
	end := sync.OnceFunc(func() { c.all(func(host string) { c.tell(ended, host, request{End: true}) }) })
	defer end()
	c.all(func(host string) { c.tell(ctx, host, request{Watch: c.watch[host]}) })
	c.absent = c.failed()

	start := c.ways[0][0]
	if fault := c.faults[start.place()]; fault != "" {
		return nil, fmt.Errorf("nothing was sent: host %s: %s", start.Host, fault)
	}
	p := start.Trace.Packet
	r, err := c.request(ctx, start.Host, request{Send: &dispatch{
		Instance: start.Instance, Device: deviceOf(start.at.Router, p.In), Packet: p, TTL: uint8(most + 1), // whoever is next forwards the packet no further
	}})
	if err != nil {
		return nil, fmt.Errorf("nothing was sent: host %s: %w", start.Host, err)
	}
	c.follow(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	end()
	return c.conclude(r.Sent), nil
}

// failed are the hosts that watch nothing.
func (c *check) failed() map[string]bool {
	hosts := map[string]bool{}
	for host, instances := range c.watch {
		hosts[host] = !slices.ContainsFunc(instances, func(i string) bool { return c.faults[place{host, i}] == "" })
	}
	return hosts
}

// deviceOf is the device of a port.
func deviceOf(r dataplane.Router, id string) string {
	switch {
	case r.Gateway != nil && r.Gateway.ID == id:
		return dataplane.GatewayDevice(id)
	case r.Transit != nil && r.Transit.ID == id:
		return dataplane.TransitDevice(id)
	}
	return dataplane.PortDevice(id)
}

// all does something with each host at the same time, except those that do not take part.
func (c *check) all(do func(host string)) {
	var hosts sync.WaitGroup
	for host := range c.watch {
		if !c.absent[host] {
			hosts.Go(func() { do(host) })
		}
	}
	hosts.Wait()
}

// request asks a host.
func (c *check) request(ctx context.Context, host string, r request) (a reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	r.Check = c.id
	question, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	answer, err := c.ask(ctx, host, question)
	if errors.Is(err, context.DeadlineExceeded) {
		return a, fmt.Errorf("it has not answered for %s", answerTime)
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// tell asks a host, and notes what it has seen, or why it does not say.
func (c *check) tell(ctx context.Context, host string, r request) {
	a, err := c.request(ctx, host, r)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, instance := range c.watch[host] {
		at := place{host, instance}
		switch fault := a.Faults[instance]; {
		case err != nil:
			c.faults[at] = err.Error()
		case fault != "":
			c.faults[at] = fault
		default:
			delete(c.faults, at)
			c.seen[at] = a.Seen[instance]
		}
	}
}

// follow returns when the packet has gone all its way, or time is over.
func (c *check) follow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, followTime)
	var looks sync.WaitGroup
	defer looks.Wait()
	defer cancel()
	looked := make(chan struct{}, 1)
	looks.Go(func() {
		c.all(func(host string) {
			for ctx.Err() == nil {
				c.tell(ctx, host, request{})
				select {
				case looked <- struct{}{}:
				default:
				}
				select {
				case <-time.After(lookEvery):
				case <-ctx.Done():
				}
			}
		})
	})
	var over <-chan time.Time
	for {
		select {
		case <-looked:
		case <-over:
			return
		case <-ctx.Done():
			return
		}
		switch rest, complete := c.complete(); {
		case !complete:
			over = nil
		case rest == 0:
			return
		case over == nil:
			over = time.After(rest)
		}
	}
}

// complete reports whether the packet has gone all of a way, and how long it is to be watched
// further.
func (c *check) complete() (rest time.Duration, complete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	strayed := 0
	for _, way := range c.ways {
		j := c.judge(way)
		if j.strayed {
			strayed++
		}
		last := way[len(way)-1]
		p := j.observations[len(way)-1]
		switch {
		case j.good < len(way):
		case last.Trace.Verdict == dataplane.Forwarded && p.Left == nil:
		case last.Trace.Verdict == dataplane.Forwarded && last.Trace.Packet.Proto == dataplane.ICMP && !last.Trace.OneWay && !j.observations[0].Answered:
			return backTime, true
		case last.Trace.Verdict == dataplane.Forwarded, p.Answered:
			return 0, true
		default:
			return quietTime, true
		}
	}
	return quietTime, strayed == len(c.ways)
}

// conclude compares the way that the packet has come farthest on with what was seen.
func (c *check) conclude(sent dataplane.Packet) *outcome {
	var best judgement
	at := 0
	for i, way := range c.ways {
		if j := c.judge(way); i == 0 || j.good > best.good {
			best, at = j, i
		}
	}
	way := c.ways[at]
	for i := range way {
		way[i].Seen = best.observations[i]
	}
	if !best.Agrees {
		for _, i := range c.instances {
			at := place{i.Host, i.Router.ID}
			passed := slices.ContainsFunc(c.seen[at], func(e event) bool { return e.Kind == arrived })
			if passed && !slices.ContainsFunc(way, func(h hop) bool { return h.place() == at }) {
				best.say("it also arrived at %s, which is not on its way", i)
			}
		}
	}
	best.Packet, best.Host = sent, way[0].Host
	return &best.outcome
}

// judgement is what was seen of a packet on one of its ways.
type judgement struct {
	outcome
	observations []*observation
	good         int  // hops where the packet went as the model says, from the first on
	strayed      bool // and then another way
}

// judge compares a way with what was seen.
func (c *check) judge(way []hop) (j judgement) {
	turns := map[place]int{}
	for _, h := range way {
		at := h.place()
		if fault := c.faults[at]; fault != "" {
			j.observations = append(j.observations, &observation{Unwatched: fault})
			continue
		}
		j.observations = append(j.observations, observe(h, c.seen[at], turns[at]))
		turns[at]++
	}
	unwatched := ""
	for i, h := range way {
		p := j.observations[i]
		if p.Unwatched != "" {
			unwatched = h.Host
			continue
		}
		if p.Arrived == nil {
			j.lostBefore(way, i, unwatched)
			return j
		}
		unwatched = ""
		final := i == len(way)-1
		if fault := p.fault(h); fault != "" && !(final && p.silent() && h.Trace.Verdict == dataplane.Forwarded) {
			j.say("%s", fault)
			j.strayed = p.Left != nil
			return j
		}
		if t := h.at.Router.Transit; p.Left != nil && t != nil && h.Trace.Out == t.ID {
			next, known := c.whose(p.Left.to)
			switch {
			case !final && (!known || next.Host != way[i+1].Host || next.Router.ID != way[i+1].Instance):
				j.say("it left %s by %s to %s, not to %s", h.Host, p.Left.Port, cmp.Or(next.Host, p.Left.to.String()), way[i+1].Host)
				j.strayed = true
				return j
			case final && known: // of ways that share the load, it took another
				j.say("it left %s by %s to %s", h.Host, p.Left.Port, next.Host)
				j.strayed = true
				return j
			}
		}
		j.good = i + 1
	}
	j.Agrees, j.open = unwatched == "", unwatched != ""
	if j.open {
		j.say("%s was not watched: %s", unwatched, j.observations[len(way)-1].Unwatched)
		return j
	}
	last, p := way[len(way)-1], j.observations[len(way)-1]
	switch t := last.Trace; {
	case p.Left != nil:
		j.say("it left %s %s", last.Host, p.Left)
	case t.Verdict == dataplane.Forwarded:
		j.say("%s has it for %s, who was asked for its MAC and does not answer", last.Host, p.Asked)
	case p.Answered:
		j.say("the router on %s answered", last.Host)
	case t.Verdict == dataplane.Local:
		j.say("it was for the router itself on %s", last.Host)
	case t.Verdict == dataplane.Unreachable:
		j.say("the router on %s has no way for it", last.Host)
	default:
		j.say("it was dropped on %s", last.Host)
	}
	if p.Left != nil && j.observations[0].Answered {
		j.say("an answer came back")
	}
	return j
}

// lostBefore says that the packet did not arrive at a hop. unwatched is the host before it, if that
// was not watched.
func (j *judgement) lostBefore(way []hop, i int, unwatched string) {
	switch h := way[i]; {
	case unwatched != "":
		j.say("LOST on %s, which was not watched, or between there and %s, where it did not arrive", unwatched, h.Host)
	case i == 0:
		j.say("LOST on %s: it did not arrive at the router", h.Host)
	default:
		before := way[i-1]
		j.say("LOST between %s, which sent it by %s to %s, and %s, where it did not arrive", before.Host, before.Trace.Out,
			list(before.Trace.NextHops, " or "), h.Host)
	}
}

// whose finds the part of the router that has a MAC on the transit.
func (c *check) whose(mac dataplane.MAC) (i Instance, found bool) {
	at := slices.IndexFunc(c.instances, func(i Instance) bool { return i.Router.Transit != nil && i.Router.Transit.MAC == mac })
	if at < 0 {
		return i, false
	}
	return c.instances[at], true
}

func list(addrs []netip.Addr, sep string) string {
	var words []string
	for _, a := range addrs {
		words = append(words, a.String())
	}
	return strings.Join(words, sep)
}
