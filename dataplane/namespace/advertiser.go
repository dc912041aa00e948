package namespace

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// When advertisements are sent, by RFC 4861 §6.2.1 and §10, and how long hosts keep what they say.
// The interval is that of Neutron's routers; a program that is away for less than routerLifetime is
// not missed.
const (
	minInterval, maxInterval = 30 * time.Second, 100 * time.Second
	firstOnes                = 3
	mostDelay                = 500 * time.Millisecond // of an answer
	leastPause               = 3 * time.Second        // between two to all hosts; also that of the first ones, as one may be lost
	sendAgain                = time.Second            // after the kernel refused one

	routerLifetime    = 30 * time.Minute
	validLifetime     = 24 * time.Hour
	preferredLifetime = 4 * time.Hour

	maxAskers = 64 // who wait for an answer of their own, on one link; the others hear that to all hosts
)

var allHosts = netip.MustParseAddr("ff02::1")

// advertiser sends the router advertisements of one router, with one socket for all its ports.
type advertiser struct {
	router string
	log    *slog.Logger
	file   *os.File // the socket
	ended  chan struct{}

	mu     sync.Mutex
	links  map[int]*advertised // by index
	closed bool
}

// advertised is a port that advertises.
type advertised struct {
	port   dataplane.Port
	left   map[netip.Prefix]bool    // what it advertised before: whether autonomous
	routes map[netip.Prefix]bool    // to what hosts reach by the router alone: whether they still do
	sent   int                      // how many since it changed
	last   time.Time                // when one was sent to all hosts
	next   time.Time                // when one is due to all hosts
	askers map[netip.Addr]time.Time // hosts that solicited, and when their answer is due
}

func newAdvertiser(ns NS, log *slog.Logger) (*advertiser, error) {
	fd := -1
	err := netns.Do(ns.FD, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, err
	}
	if err := prepareAdvertising(fd); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	a := &advertiser{
		router: ns.Router, log: log, file: os.NewFile(uintptr(fd), "advertiser"), ended: make(chan struct{}), links: map[int]*advertised{},
	}
	go a.run()
	return a, nil
}

// prepareAdvertising lets a socket receive solicitations, which come to a group that the kernel has
// joined as a router, and send with the hop limit that shows that nobody has forwarded it.
func prepareAdvertising(fd int) error {
	errs := []error{os.NewSyscallError("setsockopt", unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, solicitationsOnly()))}
	for _, o := range []struct{ name, value int }{
		{unix.IPV6_RECVPKTINFO, 1}, {unix.IPV6_RECVHOPLIMIT, 1},
		{unix.IPV6_MULTICAST_HOPS, ndp.HopLimit}, {unix.IPV6_UNICAST_HOPS, ndp.HopLimit}, {unix.IPV6_MULTICAST_LOOP, 0},
	} {
		errs = append(errs, os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, o.name, o.value)))
	}
	return errors.Join(errs...)
}

// solicitationsOnly blocks all types but one: a bit that is set blocks (RFC 3542 §3.2).
func solicitationsOnly() *unix.ICMPv6Filter {
	var f unix.ICMPv6Filter
	for i := range f.Data {
		f.Data[i] = ^uint32(0)
	}
	const kind = uint(ipv6.ICMPTypeRouterSolicitation)
	f.Data[kind/32] &^= 1 << (kind % 32)
	return &f
}

// close ends it; hosts are not told.
func (a *advertiser) close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	err := a.file.Close()
	<-a.ended
	return err
}

// set makes the ports that advertise those of links, by index, and says whether the router answers at
// the metadata address there. A port that is there already and has changed says so at once.
func (a *advertiser) set(links map[int]dataplane.Port, metadata bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.links, func(i int, _ *advertised) bool { _, stays := links[i]; return !stays })
	for i, p := range links {
		before := a.links[i]
		if before != nil && samePort(before.port, p) && before.routes[metadata6] == metadata {
			continue
		}
		now := &advertised{port: p, left: map[netip.Prefix]bool{}, routes: map[netip.Prefix]bool{}, askers: map[netip.Addr]time.Time{}}
		if before != nil {
			now.left, now.routes, now.askers, now.last = before.left, before.routes, before.askers, before.last
			for _, s := range before.port.Advertisement.Prefixes {
				now.left[s.Prefix] = s.Autonomous
			}
		}
		for _, s := range p.Advertisement.Prefixes {
			delete(now.left, s.Prefix)
		}
		if _, known := now.routes[metadata6]; known || metadata {
			now.routes[metadata6] = metadata
		}
		now.next = time.Now()
		a.links[i] = now
	}
	a.wake()
}

// retract tells the hosts on links that the router is no gateway any more, and ceases to advertise
// there.
func (a *advertiser) retract(indexes []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range indexes {
		if x := a.links[i]; x != nil {
			delete(a.links, i)
			a.tell(i, x, allHosts, 0)
		}
	}
}

// run sends what is due and reads who solicits, in turn.
func (a *advertiser) run() {
	defer close(a.ended)
	socket, err := a.file.SyscallConn()
	if err != nil {
		return
	}
	var b, oob [256]byte
	for {
		a.send()
		var n, oobn int
		var from unix.Sockaddr
		var failed error
		err := socket.Read(func(fd uintptr) bool {
			n, oobn, _, from, failed = unix.Recvmsg(int(fd), b[:], oob[:], 0)
			return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return // it was closed
		case failed == nil:
			a.hear(b[:n], oob[:oobn], from)
		}
	}
}

// hear notes who has solicited (RFC 4861 §6.1.1, §6.2.6).
func (a *advertiser) hear(b, oob []byte, from unix.Sockaddr) {
	var c ipv6.ControlMessage
	sender, ok := from.(*unix.SockaddrInet6)
	if !ok || c.Parse(oob) != nil || c.HopLimit != ndp.HopLimit {
		return
	}
	m, err := ndp.ParseMessage(b)
	if _, ok := m.(*ndp.RouterSolicitation); err != nil || !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.links[c.IfIndex]
	if x == nil {
		return
	}
	due := time.Now().Add(rand.N(mostDelay))
	src := netip.AddrFrom16(sender.Addr)
	_, waits := x.askers[src]
	switch {
	case waits:
	case src.IsLinkLocalUnicast() && len(x.askers) < maxAskers:
		x.askers[src] = due
	default: // it has no address yet, or there are too many of them
		if pause := x.last.Add(leastPause); due.Before(pause) {
			due = pause
		}
		if due.Before(x.next) {
			x.next = due
		}
	}
}

// send sends what is due, and has run wake when something is.
func (a *advertiser) send() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for i, x := range a.links {
		if !x.next.After(now) {
			x.sendToAll(now, a.tell(i, x, allHosts, routerLifetime))
		}
		for who, due := range x.askers {
			if !due.After(now) {
				delete(x.askers, who)
				a.tell(i, x, who, routerLifetime)
			}
		}
	}
	a.wake()
}

// sendToAll notes that one was sent to all hosts, or refused.
func (x *advertised) sendToAll(now time.Time, sent bool) {
	if !sent {
		x.next = now.Add(sendAgain)
		return
	}
	x.sent++
	x.last = now
	x.next = now.Add(minInterval + rand.N(maxInterval-minInterval))
	if x.sent < firstOnes {
		x.next = now.Add(leastPause)
	}
}

// wake has run wake when the next is due.
func (a *advertiser) wake() {
	var first time.Time
	for _, x := range a.links {
		for _, due := range append(slices.Collect(maps.Values(x.askers)), x.next) {
			if first.IsZero() || due.Before(first) {
				first = due
			}
		}
	}
	_ = a.file.SetReadDeadline(first) // it fails if it is closed
}

// tell sends one advertisement. The kernel may refuse it: the link is down, or has no address yet.
func (a *advertiser) tell(index int, x *advertised, to netip.Addr, lifetime time.Duration) bool {
	if a.closed {
		return false
	}
	b, err := ndp.MarshalMessage(x.message(lifetime))
	if err != nil {
		a.log.Error("cannot write a router advertisement", "router", a.router, "port", x.port.ID, "err", err)
		return true
	}
	src := linkLocal(x.port.MAC).Addr()
	c := ipv6.ControlMessage{IfIndex: index, Src: src.AsSlice()}
	socket, err := a.file.SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	err = socket.Control(func(fd uintptr) {
		_, failed = unix.SendmsgN(int(fd), b, c.Marshal(), &unix.SockaddrInet6{Addr: to.As16()}, unix.MSG_DONTWAIT)
	})
	return err == nil && failed == nil
}

// message is what a port says. With a lifetime of 0 the router is no gateway; addresses stay, for
// another may be.
func (x *advertised) message(lifetime time.Duration) *ndp.RouterAdvertisement {
	said := x.port.Advertisement
	m := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: said.Managed, OtherConfiguration: said.Other, RouterLifetime: lifetime,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: x.port.MAC[:]},
			ndp.NewMTU(uint32(x.port.MTU)),
		},
	}
	prefix := func(p netip.Prefix, autonomous bool, valid, preferred time.Duration) {
		m.Options = append(m.Options, &ndp.PrefixInformation{
			PrefixLength: uint8(p.Bits()), Prefix: p.Addr(), OnLink: true, AutonomousAddressConfiguration: autonomous,
			ValidLifetime: valid, PreferredLifetime: preferred,
		})
	}
	for _, s := range said.Prefixes {
		prefix(s.Prefix, s.Autonomous, validLifetime, preferredLifetime)
	}
	for p, autonomous := range x.left {
		prefix(p, autonomous, 0, 0)
	}
	for p, leads := range x.routes {
		route := ndp.RouteInformation{PrefixLength: uint8(p.Bits()), Prefix: p.Addr()} // RFC 4191 §2.3
		if leads {
			route.RouteLifetime = lifetime
		}
		m.Options = append(m.Options, &route)
	}
	if len(said.DNS) > 0 {
		m.Options = append(m.Options, &ndp.RecursiveDNSServer{Lifetime: lifetime, Servers: said.DNS})
	}
	return m
}

// advertise has the ports of a router advertise that are to. They are copies of the caller's.
func (s *site) advertise(r dataplane.Router) (err error) {
	links := map[int]dataplane.Port{}
	for _, p := range r.Ports {
		if p.Advertisement != nil {
			links[s.index[dataplane.PortDevice(p.ID)]] = p
		}
	}
	switch {
	case s.advertiser == nil && len(links) == 0:
		return nil
	case s.advertiser == nil:
		if s.advertiser, err = newAdvertiser(s.NS, s.log); err != nil {
			return opError("send router advertisements of", "router "+s.Router, err)
		}
	}
	s.advertiser.set(links, r.Metadata)
	return nil
}

// advertise has the router's ports advertise, once they are up.
func (l *long) advertise(context.Context) error {
	l.add(action{
		steps: l.advertisementSteps(),
		do:    func(context.Context) error { return l.site.advertise(l.router.Clone()) },
	})
	return nil
}

// advertisementSteps are the differences to what this process advertised. One that has just begun
// does not know what was.
func (l *long) advertisementSteps() []dataplane.Step {
	if l.last == nil && !l.fresh {
		return nil
	}
	said := map[string]string{}
	if l.last != nil {
		said = advertisementsOf(l.last.router)
	}
	say := advertisementsOf(l.router)
	var steps []dataplane.Step
	for _, id := range slices.Sorted(maps.Keys(union(said, say))) {
		before, was := said[id]
		now, is := say[id]
		s := dataplane.Step{Op: dataplane.Change, Kind: dataplane.KindAdvertisement, ID: id, Object: dataplane.PortDevice(id), Detail: now + ", was " + before}
		switch {
		case was && is && before == now:
			continue
		case !was:
			s.Op, s.Detail = dataplane.Add, now
		case !is:
			s.Op, s.Detail = dataplane.Remove, ""
		}
		steps = append(steps, s)
	}
	return steps
}

func union(a, b map[string]string) map[string]string {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

// advertisementsOf says what a router advertises, by the port's ID.
func advertisementsOf(r dataplane.Router) map[string]string {
	all := map[string]string{}
	for _, p := range r.Ports {
		if p.Advertisement != nil {
			all[p.ID] = p.Advertisement.String()
		}
	}
	return all
}

// retract tells hosts that a port is no gateway any more while it still can.
func (l *long) retract(context.Context) error {
	if l.advertiser == nil {
		return nil
	}
	stays := map[string]bool{}
	for _, p := range l.router.Ports {
		stays[dataplane.PortDevice(p.ID)] = p.Advertisement != nil
	}
	var gone []int
	for dev, have := range l.have.links {
		if !stays[dev] {
			gone = append(gone, have.index)
		}
	}
	if len(gone) > 0 {
		l.add(action{
			do: func(context.Context) error { l.advertiser.retract(gone); return nil },
			undo: func(context.Context) error {
				if l.last == nil {
					return nil // nobody knows what was advertised
				}
				return l.site.advertise(l.last.router.Clone())
			},
		})
	}
	return nil
}
