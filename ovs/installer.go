package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/filelock"
	"github.com/l3kit/l3kit/internal/wiring"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

// installer brings flows into bridges: when somebody plugs, and in the background when ovs-vswitchd
// has been started anew, for it forgets them.
type installer struct {
	config Config
	wake   chan struct{} // tells the background that flows may be missing

	turn chan struct{} // holds one token: whoever took it may write flows, as far as other processes let it

	mu      sync.Mutex
	session *session // latest
	bridges map[string]*openflow.Bridge
	used    map[string]bool // bridges that this process has installed flows in, or has planned to
	entries []Entry
	latest  flowSet
	closed  bool

	lifetime   context.Context
	stop       context.CancelFunc
	background sync.WaitGroup
}

// flowSet is all flows as of one version of a view.
type flowSet struct {
	session *session
	version int
	flows   map[string][]openflow.Flow // by bridge
}

func newInstaller(c Config) *installer {
	n := &installer{
		config: c, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), bridges: map[string]*openflow.Bridge{}, used: map[string]bool{},
	}
	n.turn <- struct{}{}
	n.lifetime, n.stop = context.WithCancel(context.Background())
	return n
}

// start begins to look after flows in the background, with a look at what an earlier process may
// have left.
func (n *installer) start(db *dbClient) {
	n.poke()
	n.background.Go(func() { n.attend(db) })
}

func (n *installer) close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.stop()
	n.background.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, b := range n.bridges {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// follow takes notice of a session. What happened since the one before may need other flows, and so
// do ports that get other numbers.
func (n *installer) follow(s *session) {
	s.view.read(func() { s.view.renumbered = n.poke })
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session != nil {
		n.poke()
	}
	n.session = s
}

func (n *installer) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// attend mends flows whenever there is a reason to believe that they are not right, until they are.
func (n *installer) attend(db *dbClient) {
	for {
		select {
		case <-n.wake:
		case <-n.lifetime.Done():
			return
		}
		for pause := firstPauses(); ; {
			err := n.mend(db)
			if err == nil || n.lifetime.Err() != nil {
				break
			}
			if pause.Pause == longestPause/2 { // longer than a restart takes; and once is enough
				n.config.Logger.Warn("flows cannot be installed, trying on", "err", err)
			}
			if pause.Wait(n.lifetime) != nil {
				return
			}
		}
	}
}

// mend makes the flows right of the bridges of physical networks, and of all others that this
// process has to do with.
//
// On a physical bridge no flow may outlive its network, even if nothing here ever uses that bridge
// again: the local VLAN that the flow lets out is free for another network. On the tunnel bridge
// those that follow from entries are left to whoever plugs: another process may have been told
// entries, and would bring them back. Flows that are missing from the integration bridge and the
// tunnel bridge are left to whoever plugs, too, until this process has: the bridges may be somebody
// else's.
func (n *installer) mend(db *dbClient) error {
	s, err := db.received(n.lifetime)
	if err != nil {
		return err
	}
	return n.write(n.lifetime, s, func(w writer) error {
		n.mu.Lock()
		names := slices.Collect(maps.Keys(n.used))
		n.mu.Unlock()
		for physical, name := range n.config.Physical {
			if !slices.Contains(n.config.Direct, physical) {
				names = append(names, name)
			}
		}
		for _, name := range w.joined() {
			if name != n.config.Tunnel.Bridge {
				names = append(names, name)
			}
		}
		names = slices.DeleteFunc(names, func(name string) bool { return s.bridge(name) == nil })
		slices.Sort(names)
		err := w.inOrder(slices.Compact(names), func(name string) error { return w.mend(n.lifetime, name) })
		return errors.Join(err, w.prune(n.lifetime, n.config.Integration), w.pruneTunnel(n.lifetime))
	})
}

// use returns the OpenFlow side of a bridge whose flows are this process's business from now on.
func (n *installer) use(name string) (*openflow.Bridge, error) {
	n.mu.Lock()
	n.used[name] = true
	n.mu.Unlock()
	return n.bridge(name)
}

// bridge returns a bridge's OpenFlow side.
func (n *installer) bridge(name string) (*openflow.Bridge, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.bridges[name]
	if b != nil || n.closed {
		if n.closed {
			return nil, dataplane.ErrClosed
		}
		return b, nil
	}
	b, err := openflow.Open(filepath.Join(n.config.RunDir, name+".mgmt"), n.config.Integration)
	if err != nil {
		return nil, err
	}
	n.bridges[name] = b
	n.background.Go(func() {
		for {
			select {
			case <-b.Changed():
				n.poke()
			case <-n.lifetime.Done():
				return
			}
		}
	})
	return b, nil
}

// plan says what replace would do to bridges.
func (n *installer) plan(ctx context.Context, s *session, names ...string) (steps []dataplane.Step, err error) {
	want := n.flows(s)
	for _, name := range names {
		b, err := n.use(name)
		if err != nil {
			return nil, err
		}
		add, remove, err := b.Plan(ctx, want[name])
		if err != nil {
			return nil, err
		}
		if len(add)+len(remove) > 0 {
			steps = append(steps, wiring.Step(dataplane.Change, name, fmt.Sprintf("%d flows missing, %d too many", len(add), len(remove))))
		}
	}
	return steps, nil
}

// replace makes the flows of bridges right, of each bridge at once. Before those of the integration
// bridge come those of every bridge that is joined to it: one may have lost its flows with
// ovs-vswitchd, or have flows of a network whose local VLAN is another's now. What it cannot do is
// tried on in the background.
func (n *installer) replace(ctx context.Context, s *session, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	err := n.write(ctx, s, func(w writer) error {
		all := names
		if slices.Contains(names, n.config.Integration) {
			all = unique(slices.Concat(names, w.joined()), func(name string) string { return name })
		}
		return w.inOrder(all, func(name string) error {
			if !slices.Contains(names, name) {
				err := w.mend(ctx, name)
				if err == nil && name == n.config.Tunnel.Bridge {
					err = w.pruneTunnel(ctx)
				}
				return err
			}
			b, err := n.use(name)
			if err == nil {
				err = b.Replace(ctx, w.flows[name], w.lock)
			}
			return err
		})
	})
	if err != nil {
		n.poke()
	}
	return err
}

// writer is whoever has the turn to write flows on this host.
type writer struct {
	*installer
	s     *session
	lock  *os.File
	flows map[string][]openflow.Flow // as they shall be, by bridge
}

// write calls fn while nobody else writes flows, in this process or in another one. The flows that
// fn is given follow from the database as it is then, so that older ones never replace newer ones.
// The lock is on the directory of the bridges' sockets: it ends with a process that is killed, and
// leaves no file.
func (n *installer) write(ctx context.Context, s *session, fn func(writer) error) error {
	lock, err := n.lock(ctx)
	if err != nil {
		return failure.Of("lock flows of the bridges in", n.config.RunDir, err)
	}
	defer n.unlock(lock)
	if err := s.sync(ctx); err != nil {
		return err
	}
	return fn(writer{n, s, lock, n.flows(s)})
}

func (n *installer) lock(ctx context.Context) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-n.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	lock, err := filelock.Take(ctx, n.config.RunDir, 0, unix.LOCK_EX)
	if err != nil {
		n.turn <- struct{}{}
	}
	return lock, err
}

func (n *installer) unlock(lock *os.File) {
	_ = lock.Close() // of a directory that was only read
	n.turn <- struct{}{}
}

// inOrder calls fn for bridges. The integration bridge comes last, and not at all while fn fails for
// another one: it has fail_mode secure, so that without flows it sends nothing to the others. With
// them it floods, and a bridge that has lost its own flows may let everything out.
func (w writer) inOrder(names []string, fn func(name string) error) error {
	var errs []error
	for _, name := range names {
		if name != w.config.Integration {
			errs = append(errs, fn(name))
		}
	}
	if err := errors.Join(errs...); err != nil || !slices.Contains(names, w.config.Integration) {
		return err
	}
	return fn(w.config.Integration)
}

// pruneTunnel is prune for the tunnel bridge, except for flows that follow from entries.
func (w writer) pruneTunnel(ctx context.Context) error {
	return w.prune(ctx, w.config.Tunnel.Bridge, tableKnown, tableARP)
}

// joined are the bridges that are joined to the integration bridge.
func (w writer) joined() (names []string) {
	for name := range w.flows {
		if name != w.config.Integration && w.s.bridge(name) != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// mend writes the flows of a bridge if any are missing, or, except on the tunnel bridge, too many.
func (w writer) mend(ctx context.Context, name string) error {
	b, err := w.use(name)
	if err != nil {
		return err
	}
	want := w.flows[name]
	missing, surplus, err := b.Plan(ctx, want)
	if len(want) == 0 && errors.Is(err, openflow.ErrAway) {
		return nil // nor has it any flows
	}
	if err == nil && (len(missing) > 0 || len(surplus) > 0 && name != w.config.Tunnel.Bridge) {
		err = b.Replace(ctx, want, w.lock)
	}
	return err
}

// prune removes flows that are too many from a bridge of ours, outside some tables: those of an
// anycast port would stop the frames of an ordinary one with its MAC.
func (w writer) prune(ctx context.Context, name string, except ...uint8) error {
	if w.s.bridge(name) == nil {
		return nil
	}
	b, err := w.bridge(name)
	if err == nil {
		err = b.Prune(ctx, w.flows[name], except, w.lock)
	}
	if errors.Is(err, openflow.ErrAway) {
		return nil // nor has it any flows
	}
	return err
}

// flows returns all flows. They are worked out anew only when something has changed that they
// follow from.
func (n *installer) flows(s *session) map[string][]openflow.Flow {
	n.mu.Lock()
	defer n.mu.Unlock()
	var l layout
	fresh := true
	s.view.read(func() {
		if n.latest.session == s && n.latest.version == s.view.version && n.latest.flows != nil {
			fresh = false
			return
		}
		n.latest = flowSet{session: s, version: s.view.version}
		l = s.view.layout(n.config)
	})
	if fresh {
		l.Entries = n.entries
		n.latest.flows = l.flows()
	}
	return n.latest.flows
}

func (n *installer) setEntries(entries []Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.entries, n.latest = entries, flowSet{}
}

// layout describes the bridges as they are now. The view is locked. It is made of marks, not of the
// configuration, so that all processes on a host come to the same.
func (v *view) layout(c Config) layout {
	l := layout{Integration: c.Integration}
	number := func(name string) uint32 {
		if i := v.interfaces[name]; i != nil {
			return uint32(max(value(i.OFPort), 0))
		}
		return 0
	}
	l.Contained = v.containedPorts(number)
	for _, use := range v.networks {
		l.Networks = append(l.Networks, localNetwork{Network: use.network, VLAN: use.vlan})
	}
	for name, p := range v.roles[patchRole] {
		i := v.interfaces[name]
		switch {
		case p.mark.bridge != c.Integration || p.mark.to == "" || i == nil || v.bridges[p.mark.to] == nil:
		case p.mark.physical != "":
			l.Physical = append(l.Physical, physicalBridge{
				Name: p.mark.physical, Bridge: p.mark.to, Int: number(name), Phy: number(i.Options["peer"]),
			})
		case p.mark.to == c.Tunnel.Bridge:
			l.Tunnel, l.PatchInt, l.PatchTun = p.mark.to, number(name), number(i.Options["peer"])
		}
	}
	for name, p := range v.roles[tunnelRole] {
		i := v.interfaces[name]
		if i == nil || p.mark.bridge != c.Tunnel.Bridge {
			continue
		}
		if peer, err := netip.ParseAddr(i.Options["remote_ip"]); err == nil {
			l.Tunnels = append(l.Tunnels, tunnelPort{Peer: peer, Type: p.mark.network.Type, Port: number(name)})
		}
	}
	if b := v.bridges[c.Integration]; b != nil {
		for name, p := range v.dead {
			if slices.Contains(b.Ports, p.UUID) {
				l.Dead = append(l.Dead, number(name))
			}
		}
	}
	return l
}
