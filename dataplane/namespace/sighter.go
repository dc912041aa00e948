package namespace

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/monitor"
)

const (
	// sightAgain is how long an address that stays in use is not told again.
	sightAgain = 10 * time.Second
	// comebackTime is how long ago an address may have announced itself that was taken for a
	// neighbour, and is none any more. Telling hosts of a move takes less.
	comebackTime = time.Minute
	// maxSpotted bounds the addresses that are remembered of a router, and maxUntold the sightings
	// that wait for whoever sights.
	maxSpotted, maxUntold = 4096, 4096
)

var _ dataplane.Sighter = (*Dataplane)(nil)

// sighter is one Sight. A goroutine reads what all routers' sockets have; the one that called Sight
// tells it.
type sighter struct {
	dataplane *Dataplane
	poller    *monitor.Poller
	stop      context.CancelFunc
	ended     chan struct{}
	told      chan struct{} // a wake-up: there is something to tell

	mu     sync.Mutex
	lenses map[int]*lens // by socket
	untold []dataplane.Sighting
}

// Sight implements [dataplane.Sighter].
func (d *Dataplane) Sight(ctx context.Context, fn func(dataplane.Sighting)) error {
	if err := errors.Join(ctx.Err(), d.registry.open()); err != nil {
		return err
	}
	p, err := monitor.NewPoller()
	if err != nil {
		return opError("sight addresses", "", err)
	}
	s := &sighter{
		dataplane: d, poller: p, ended: make(chan struct{}), told: make(chan struct{}, 1), lenses: map[int]*lens{},
	}
	caller := ctx
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	defer close(s.ended)
	if !d.sighter.CompareAndSwap(nil, s) {
		return opError("sight addresses", "", errors.Join(errors.New("somebody sights already"), p.Close()))
	}
	if err := d.registry.open(); err != nil { // Close may have looked for a sighter before there was this one
		d.sighter.Store(nil)
		return errors.Join(err, p.Close())
	}
	var reading sync.WaitGroup
	reading.Go(s.wait)
	for _, id := range d.registry.routers() {
		s.begin(ctx, id)
	}
	s.deliver(ctx, fn)
	d.sighter.Store(nil)
	err = s.close()
	reading.Wait()
	if caller.Err() == nil { // the Dataplane was closed
		err = errors.Join(d.registry.open(), err)
	}
	return err
}

// begin looks at a router that was applied before.
func (s *sighter) begin(ctx context.Context, router string) {
	k, err := s.dataplane.registry.take(ctx, router)
	if err != nil {
		return
	}
	s.dataplane.leave(k)
}

func (s *sighter) close() error {
	s.mu.Lock()
	all := s.lenses
	s.lenses = nil
	s.mu.Unlock()
	errs := []error{s.poller.Close()}
	for _, l := range all {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// wait reads what the sockets have.
func (s *sighter) wait() {
	for {
		fds, err := s.poller.Wait()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				s.dataplane.cfg.Logger.Error("cannot sight addresses any longer", "err", err)
			}
			s.stop()
			return
		}
		for _, fd := range fds {
			s.mu.Lock()
			l := s.lenses[fd]
			s.mu.Unlock()
			if l != nil {
				s.tell(l.read(s.poller)...)
			}
		}
	}
}

// tell has sightings told. When too many wait, the oldest are lost.
func (s *sighter) tell(seen ...dataplane.Sighting) {
	if len(seen) == 0 {
		return
	}
	s.mu.Lock()
	s.untold = append(s.untold, seen...)
	s.untold = s.untold[max(0, len(s.untold)-maxUntold):]
	s.mu.Unlock()
	wake(s.told)
}

func (s *sighter) deliver(ctx context.Context, fn func(dataplane.Sighting)) {
	for {
		select {
		case <-s.told:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		untold := s.untold
		s.untold = nil
		s.mu.Unlock()
		for _, seen := range untold {
			if ctx.Err() != nil {
				return
			}
			fn(seen)
		}
	}
}

// follow looks at the anycast ports of a router, whose turn the caller has.
func (s *sighter) follow(x *site) {
	if x.last == nil {
		return
	}
	legs := legsOf(x.last)
	if x.lens != nil && (len(legs) == 0 || x.lens.of != s) {
		if err := x.lens.close(); err != nil {
			s.warn(x.Router, err)
		}
		x.lens = nil
	}
	if len(legs) == 0 {
		return
	}
	if x.lens == nil {
		l, err := newLens(s, x.NS)
		if err == nil {
			err = s.add(l)
		}
		if err != nil {
			s.warn(x.Router, err)
			return
		}
		x.lens = l
	}
	seen, moved, err := x.lens.change(legs, x.last.router.Transit)
	s.tell(seen...)
	if err == nil {
		err = x.forget(moved)
	}
	if err != nil {
		s.warn(x.Router, err)
	}
}

func (s *sighter) warn(router string, err error) {
	if !errors.Is(err, os.ErrClosed) { // else it is over
		s.dataplane.cfg.Logger.Warn("cannot sight addresses on a router's ports", "router", router, "err", err)
	}
}

func (s *sighter) add(l *lens) error {
	s.mu.Lock()
	over := s.lenses == nil
	if !over {
		s.lenses[l.fd] = l // before it is armed: wait must find what it is of
	}
	s.mu.Unlock()
	if over {
		return errors.Join(os.ErrClosed, l.close())
	}
	return s.poller.Arm(l.fd)
}

type addrSet map[netip.Addr]struct{}

func (s addrSet) has(a netip.Addr) bool {
	_, ok := s[a]
	return ok
}

// spot is an address on a device.
type spot struct {
	index int
	addr  netip.Addr
}

// forget makes the kernel forget the MACs of hosts that are on another host's link now.
func (s *site) forget(moved []spot) error {
	for _, m := range moved {
		h, err := s.reader()
		if err != nil {
			return err
		}
		err = h.NeighDel(&netlink.Neigh{LinkIndex: m.index, IP: m.addr.AsSlice()})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return opError("forget neighbour", m.addr.String(), err)
		}
	}
	return nil
}

// sightedLeg is an anycast port.
type sightedLeg struct {
	port       string
	addrs      []netip.Prefix
	list       []netip.Addr
	neighbours addrSet // of list; nil until needed
}

// legsOf returns the anycast ports of a router by the indexes of their devices.
func legsOf(m *memory) map[int]sightedLeg {
	var legs map[int]sightedLeg
	for _, p := range m.router.Ports {
		if p.Anycast == nil {
			continue
		}
		if legs == nil {
			legs = map[int]sightedLeg{}
		}
		legs[m.links[dataplane.PortDevice(p.ID)].index] = sightedLeg{port: p.ID, addrs: p.Addrs, list: p.Anycast.Neighbours}
	}
	return legs
}

// lens is a socket that receives the ARP and neighbour discovery of all ports of a router.
type lens struct {
	of     *sighter
	router string

	mu      sync.Mutex
	fd      int // -1: closed
	bound   bool
	all     bool // neighbour discovery, too
	legs    map[int]sightedLeg
	spotted map[spot]*spotted
}

// spotted is what is known of an address.
type spotted struct {
	last      time.Time // in use; of a neighbour: announced
	told      time.Time // when what was told last was in use
	moved     bool      // since then: its next use is told, however soon
	neighbour bool
	routed    bool // another instance has it
}

func newLens(s *sighter, ns NS) (*lens, error) {
	fd, err := sightingSocket(ns)
	if err != nil {
		return nil, err
	}
	return &lens{of: s, router: ns.Router, fd: fd, spotted: map[spot]*spotted{}}, nil
}

func (l *lens) close() error {
	l.of.mu.Lock()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.of.mu.Unlock()
	if l.fd < 0 {
		return nil
	}
	delete(l.of.lenses, l.fd)
	fd := l.fd
	l.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// change sets the ports, after the router was applied. It returns sightings that are due by that,
// and addresses that are elsewhere now.
func (l *lens) change(legs map[int]sightedLeg, t *dataplane.Transit) (due []dataplane.Sighting, moved []spot, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return nil, nil, os.ErrClosed
	}
	for i, leg := range legs {
		if before, had := l.legs[i]; had && slices.Equal(before.list, leg.list) {
			leg.list, leg.neighbours = before.list, before.neighbours
		} else {
			leg.list = slices.Clone(leg.list) // the router's is changed in place
			leg.neighbours = make(addrSet, len(leg.list))
			for _, a := range leg.list {
				leg.neighbours[a] = struct{}{}
			}
		}
		leg.addrs = slices.Clone(leg.addrs)
		legs[i] = leg
	}
	l.legs = legs
	if err := l.bind(); err != nil {
		return nil, nil, err
	}
	if len(l.spotted) == 0 {
		return nil, nil, nil
	}
	elsewhere := l.elsewhere(t)
	now := time.Now()
	for at, x := range l.spotted {
		leg, there := legs[at.index]
		if !there {
			delete(l.spotted, at)
			continue
		}
		neighbour, routed := leg.neighbours.has(at.addr), elsewhere.has(at.addr)
		left := x.neighbour && !neighbour || routed && !x.routed
		x.neighbour, x.routed = neighbour, routed
		if !left {
			continue
		}
		moved = append(moved, at)
		fresh := x.last.After(x.told) && now.Sub(x.last) < comebackTime
		x.moved = true
		if fresh {
			x.told = x.last
			due = append(due, dataplane.Sighting{Router: l.router, Port: leg.port, Addr: at.addr, At: x.last})
		}
	}
	return due, moved, nil
}

// elsewhere returns the addresses remembered that other instances have.
func (l *lens) elsewhere(t *dataplane.Transit) addrSet {
	routed := addrSet{}
	if t == nil {
		return routed
	}
	remembered := make(addrSet, len(l.spotted))
	for at := range l.spotted {
		remembered[at.addr] = struct{}{}
	}
	for _, x := range t.Routes {
		if x.Dest.IsSingleIP() && remembered.has(x.Dest.Addr()) {
			routed[x.Dest.Addr()] = struct{}{}
		}
	}
	return routed
}

// bind has the socket receive what the ports speak.
func (l *lens) bind() error {
	all := false
	for _, leg := range l.legs {
		all = all || slices.ContainsFunc(leg.addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	}
	if l.bound && l.all == all {
		return nil
	}
	l.bound, l.all = true, all
	return bindSighting(l.fd, all)
}

// read returns what is to be told of the frames that have come, and waits for the next.
func (l *lens) read(p *monitor.Poller) (seen []dataplane.Sighting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return nil
	}
	var b [sightingLen]byte
	var oob [64]byte
	for range maxUntold { // others have their turn, too
		n, oobn, _, from, err := unix.Recvmsg(l.fd, b[:], oob[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			break
		}
		sa, ok := from.(*unix.SockaddrLinklayer)
		if !ok || sa.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		for _, c := range claimsIn(sa.Protocol, b[:n]) {
			seen = append(seen, l.spot(sa.Ifindex, c, arrival(oob[:oobn]))...)
		}
	}
	if err := p.Arm(l.fd); err != nil {
		l.of.warn(l.router, err)
	}
	return seen
}

// spot notes that an address is in use, and returns it if that is to be told.
func (l *lens) spot(index int, c addressClaim, now time.Time) []dataplane.Sighting {
	leg, ours := l.legs[index]
	own := func(p netip.Prefix) bool { return p.Addr() == c.addr }
	if !ours || slices.ContainsFunc(leg.addrs, own) ||
		!slices.ContainsFunc(leg.addrs, func(p netip.Prefix) bool { return p.Contains(c.addr) }) {
		return nil
	}
	neighbour := leg.neighbours.has(c.addr)
	if neighbour && !c.announced {
		return nil
	}
	at := spot{index, c.addr}
	x := l.spotted[at]
	if x == nil {
		x = l.remember(at)
	}
	x.last, x.neighbour = now, neighbour
	if neighbour || !x.moved && now.Sub(x.told).Abs() < sightAgain {
		return nil
	}
	x.told, x.moved = now, false
	return []dataplane.Sighting{{Router: l.router, Port: leg.port, Addr: c.addr, At: now}}
}

// remember begins to remember an address. When there are too many, those are forgotten that are no
// neighbours', and told again when they are used.
func (l *lens) remember(at spot) *spotted {
	if len(l.spotted) >= maxSpotted {
		for old, x := range l.spotted {
			if !x.neighbour {
				delete(l.spotted, old)
			}
		}
	}
	if len(l.spotted) >= maxSpotted {
		clear(l.spotted)
	}
	x := &spotted{}
	l.spotted[at] = x
	return x
}
