package dataplanetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/l3kit/l3kit/dataplane"
)

// probe is a first packet, and what must become of it.
type probe struct {
	from  string          // a workload, or the ID of a router
	src   netip.Addr      // zero: the host's own
	proto dataplane.Proto // empty: one probe for each of TCP, UDP and ICMP
	to    netip.Addr
	port  uint16 // 0: that of the service, or one that nobody listens on

	at   string     // who must answer, or with oneWay receive it: a workload, or the ID of a router; empty: nobody
	sees netip.Addr // the source that a workload must see
	as   netip.Addr // the destination that it must see; zero: the probe's own

	oneWay  bool // the answer must not get back
	refused bool // the router must say that nobody answers: at once, and not by silence

	near string // whose network must stay silent when nobody answers; empty: it is not looked at
	via  string // the router in the way, to ask its model; empty: r1
}

// check tries all probes at once, and compares each with the reference model too.
func (s *scene) check(probes ...probe) {
	var attempts []attempt
	for _, p := range probes {
		for _, name := range []string{p.from, p.at, p.near} {
			if name != "" {
				s.host(name)
			}
		}
		p.via = cmp.Or(p.via, "r1")
		protos := []dataplane.Proto{p.proto}
		if p.proto == "" {
			protos = []dataplane.Proto{dataplane.TCP, dataplane.UDP, dataplane.ICMP}
		}
		for _, p.proto = range protos {
			a := attempt{probe: p, scene: s}
			switch {
			case p.port != 0:
			case p.at == "":
				s.silent++ // nobody listens there, and nobody else sends there
				a.port = s.silent
			default:
				a.port = servicePort
			}
			attempts = append(attempts, a)
		}
	}
	var wg sync.WaitGroup
	for _, a := range attempts {
		wg.Go(func() {
			if err := a.run(); err != nil {
				s.failf("%s from %s to %s: %w", a.proto, a.from, a.to, err)
			}
		})
	}
	wg.Wait()
}

// attempt is a probe by one protocol.
type attempt struct {
	probe
	scene *scene
}

func (a *attempt) run() error {
	look := cmp.Or(a.near, a.at)
	var watch Watch
	if _, ok := a.scene.workloads[look]; ok {
		var err error
		if watch, err = a.scene.hosts[look].Watch(); err != nil {
			return err
		}
		defer watch.Close()
	}
	switch {
	case a.at == "":
		return a.expectSilence(watch)
	case a.oneWay:
		return a.expectNoAnswer(watch)
	}
	if _, ok := a.scene.routers[a.at]; ok {
		return a.expectRouter()
	}
	return a.expectWorkload(watch)
}

// open begins the conversation and exchanges once.
func (a *attempt) open(ctx context.Context) (local netip.AddrPort, seen Seen, err error) {
	c, err := a.scene.hosts[a.from].Dial(ctx, a.proto, netip.AddrPortFrom(a.src, 0), netip.AddrPortFrom(a.to, a.port))
	if err != nil {
		return netip.AddrPortFrom(a.source(), 0), seen, err
	}
	defer c.Close()
	seen, err = c.Exchange(ctx, 8)
	return c.Local(), seen, err
}

// source is the address that a workload sends from.
func (a *attempt) source() netip.Addr {
	if a.src.IsValid() {
		return a.src
	}
	for _, p := range a.scene.workloads[a.from].Ports {
		for _, addr := range p.Addrs {
			if addr.Addr().Is4() == a.to.Is4() {
				return addr.Addr()
			}
		}
	}
	return netip.Addr{}
}

func (a *attempt) expectWorkload(watch Watch) error {
	ctx, cancel := a.scene.soon()
	defer cancel()
	local, seen, err := a.open(ctx)
	if err != nil {
		return a.explain(err, local)
	}
	if a.proto == dataplane.ICMP {
		seen, err = arrived(watch, a, local)
		if err != nil {
			return a.explain(err, local)
		}
	}
	switch {
	case seen.Host != a.at:
		err = fmt.Errorf("%s answered, not %s", seen.Host, a.at)
	case seen.Src.Addr() != a.sees:
		err = fmt.Errorf("%s saw the source %s, not %s", a.at, seen.Src.Addr(), a.sees)
	case seen.Dst.Addr() != a.target():
		err = fmt.Errorf("%s saw the destination %s, not %s", a.at, seen.Dst.Addr(), a.target())
	}
	if err != nil {
		return a.explain(err, local)
	}
	return a.agree(local, func(t dataplane.Trace) error {
		if t.Verdict != dataplane.Forwarded || t.Src != seen.Src.Addr() || t.Dst != seen.Dst.Addr() {
			return fmt.Errorf("it arrived at %s, as %s → %s", a.at, seen.Src.Addr(), seen.Dst.Addr())
		}
		if out := a.portOn(a.at); out != "" && t.Out != out {
			return fmt.Errorf("it arrived on the network of port %s", out)
		}
		return nil
	})
}

// arrived finds the echo request among what a host received. Where sources are translated others
// may look alike, such as those of a conversation that has ended and goes on asking; so one that
// came to the right place is preferred.
func arrived(watch Watch, a *attempt, local netip.AddrPort) (Seen, error) {
	packets, err := watch.Packets()
	if err != nil {
		return Seen{}, err
	}
	var others []netip.AddrPort
	var likely *Seen
	for _, p := range packets {
		if !isRequest(p) || p.Sent {
			continue
		}
		translated := p.Src.Addr() != local.Addr() // then the identifier may be, too
		if p.Src.Addr() != a.sees || !translated && p.Src != local {
			others = append(others, p.Src)
			continue
		}
		seen := Seen{Host: a.at, Src: p.Src, Dst: p.Dst}
		if p.Dst.Addr() == a.target() {
			return seen, nil
		}
		likely = &seen
	}
	if likely != nil {
		return *likely, nil
	}
	return Seen{}, fmt.Errorf("%s saw no echo request from %s, but from %v", a.at, a.sees, others)
}

// target is the address that the host must see itself addressed by.
func (a *attempt) target() netip.Addr {
	if a.as.IsValid() {
		return a.as
	}
	return a.to
}

func isRequest(p Packet) bool {
	return p.ICMP != nil && (p.ICMP.Type == 8 && p.Dst.Addr().Is4() || p.ICMP.Type == 128 && p.Dst.Addr().Is6())
}

// expectRouter wants an echo answered by the router itself, and everything else refused: nothing
// listens.
func (a *attempt) expectRouter() error {
	ctx, cancel := a.scene.soon()
	defer cancel()
	local, seen, err := a.open(ctx)
	switch {
	case a.proto != dataplane.ICMP && err == nil:
		return fmt.Errorf("%s is served by %s: no service may listen on a router", a.to, seen.Host)
	case a.proto == dataplane.ICMP && err != nil:
		return a.explain(err, local)
	}
	return a.agree(local, func(t dataplane.Trace) error {
		if t.Verdict != dataplane.Local || t.Answered != (a.proto == dataplane.ICMP) {
			return errors.New("the router took it for itself")
		}
		return nil
	})
}

// expectNoAnswer wants the packet to arrive, and nothing to come back. The first may be lost, while
// neighbours are not known.
func (a *attempt) expectNoAnswer(watch Watch) error {
	arrived := func(p Packet) bool {
		return !p.Sent && p.Src.Addr() == a.sees && p.Dst.Addr() == a.target() && (isRequest(p) || p.ICMP == nil && p.Dst.Port() == a.port)
	}
	end, cancel := a.scene.soon()
	defer cancel()
	var local netip.AddrPort
	for received := false; !received; {
		ctx, cancel := a.scene.briefly()
		var seen Seen
		var err error
		local, seen, err = a.open(ctx)
		cancel()
		if err == nil {
			return a.explain(fmt.Errorf("an answer of %s came back, which must be lost", cmp.Or(seen.Host, seen.Dst.Addr().String())), local)
		}
		packets, err := watch.Packets()
		if err != nil {
			return err
		}
		received = slices.ContainsFunc(packets, arrived)
		if !received && end.Err() != nil {
			return a.explain(fmt.Errorf("%s has not received it from %s", a.at, a.sees), local)
		}
	}
	return a.agree(local, func(t dataplane.Trace) error {
		if t.Verdict != dataplane.Forwarded || t.Src != a.sees || t.Dst != a.target() {
			return fmt.Errorf("it arrived at %s, as %s → %s", a.at, a.sees, a.target())
		}
		if !t.OneWay {
			return errors.New("no answer came back")
		}
		return nil
	})
}

// expectSilence wants nothing to arrive, and if the probe is to be refused, the router's word for
// that.
func (a *attempt) expectSilence(watch Watch) error {
	ctx, cancel := a.scene.briefly()
	if a.refused && a.proto != dataplane.ICMP { // an echo may wait for an answer in spite of an error
		ctx, cancel = a.scene.soon()
	}
	defer cancel()
	local, seen, err := a.open(ctx)
	switch {
	case err == nil:
		return a.explain(fmt.Errorf("%s answered, who must not be reached", cmp.Or(seen.Host, seen.Dst.Addr().String())), local)
	case a.refused && a.proto != dataplane.ICMP && !refusal(err):
		return a.explain(errors.New("it was not refused, but: "+err.Error()), local)
	}
	if watch != nil {
		packets, err := watch.Packets()
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(packets, func(p Packet) bool { return a.mine(p, local) }); i >= 0 {
			return a.explain(fmt.Errorf("%s has received %s", a.near, packets[i]), local)
		}
	}
	return a.agree(local, func(t dataplane.Trace) error {
		if t.Verdict == dataplane.Forwarded || t.Answered {
			return errors.New("nothing arrived")
		}
		return nil
	})
}

// refusal says that an error is what a router said, or a host's own kernel that has heard it: by a
// reset, or an ICMP error of any code.
func refusal(err error) bool {
	return slices.ContainsFunc([]error{syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH}, func(e error) bool { return errors.Is(err, e) })
}

// mine says that a packet which a host received is the one that was sent.
func (a *attempt) mine(p Packet, local netip.AddrPort) bool {
	if p.Sent {
		return false
	}
	if a.proto == dataplane.ICMP {
		return isRequest(p) && p.Src.Port() == local.Port()
	}
	return p.ICMP == nil && p.Dst.Port() == a.port
}

// explain adds what the model would have done.
func (a *attempt) explain(err error, local netip.AddrPort) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer")
	}
	t, ok := a.trace(local)
	if !ok {
		return err
	}
	return fmt.Errorf("%w\n    what must happen: %s", err, t)
}

// agree compares with the reference model.
func (a *attempt) agree(local netip.AddrPort, compare func(dataplane.Trace) error) error {
	t, ok := a.trace(local)
	if !ok {
		return nil
	}
	if err := compare(t); err != nil {
		return fmt.Errorf("the clause is kept, but Trace disagrees: %w\n    Trace: %s", err, t)
	}
	if got := t.Reply(); got.Src != a.to.WithZone("") || local.Addr().IsValid() && got.Dst != local.Addr().WithZone("") {
		return fmt.Errorf("the clause is kept, but Trace expects an answer from %s to %s", got.Src, got.Dst)
	}
	return nil
}

// trace asks the model. Packets that do not pass the router on their first hop have none.
func (a *attempt) trace(local netip.AddrPort) (dataplane.Trace, bool) {
	r, ok := a.scene.routers[a.via]
	in := ""
	if _, isRouter := a.scene.routers[a.from]; !isRouter {
		in = a.portOn(a.from)
		if in == "" && ok && r.Gateway != nil { // from beyond the external network
			in = r.Gateway.ID
		}
		ok = ok && in != ""
	}
	if !ok {
		return dataplane.Trace{}, false
	}
	p := dataplane.Packet{In: in, Src: local.Addr(), Dst: a.to, Proto: a.proto, SrcPort: local.Port(), DstPort: a.port}
	if a.proto == dataplane.ICMP {
		p.DstPort = 0
	}
	return r.Trace(p), true
}

// portOn is the router's port on the network that a workload's eth0 is on.
func (a *attempt) portOn(host string) string {
	r := a.scene.routers[a.via]
	w := a.scene.workloads[host]
	if len(w.Ports) == 0 {
		return ""
	}
	network := w.Ports[0].Network.ID
	for _, p := range portsOf(r) {
		if p.Network.ID == network {
			return p.ID
		}
	}
	return ""
}
