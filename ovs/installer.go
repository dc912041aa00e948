package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

// installer brings flows into bridges: when somebody plugs, and in the background when ovs-vswitchd
// has been started anew, for it forgets them.
type installer struct {
	config Config
	wake   chan struct{} // tells the background that flows may be missing

	// writing is held from working out flows until they are in their bridges, so that older ones
	// never replace newer ones.
	writing sync.Mutex

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
	n := &installer{config: c, wake: make(chan struct{}, 1), bridges: map[string]*openflow.Bridge{}, used: map[string]bool{}}
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
	s, err := db.synced(n.lifetime)
	if err != nil {
		return err
	}
	n.mu.Lock()
	names := slices.Collect(maps.Keys(n.used))
	n.mu.Unlock()
	for physical, name := range n.config.Physical {
		if !slices.Contains(n.config.Direct, physical) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return s.bridge(name) == nil })
	err = n.each(s, names, func(name string, b *openflow.Bridge, want []openflow.Flow) error {
		missing, surplus, err := b.Plan(n.lifetime, want)
		if len(want) == 0 && errors.Is(err, openflow.ErrAway) {
			return nil // nor has it any flows
		}
		if err == nil && (len(missing) > 0 || len(surplus) > 0 && name != n.config.Tunnel.Bridge) {
			err = b.Replace(n.lifetime, want)
		}
		return err
	})
	return errors.Join(err, n.prune(db, s, n.config.Integration), n.prune(db, s, n.config.Tunnel.Bridge, tableKnown, tableARP))
}

// prune removes flows that are too many from a bridge of ours, outside some tables: those of an
// anycast port would stop the frames of an ordinary one with its MAC.
func (n *installer) prune(db *dbClient, s *session, name string, except ...uint8) error {
	if s.bridge(name) == nil {
		return nil
	}
	b, err := n.bridge(name)
	if err != nil {
		return err
	}
	err = b.Prune(n.lifetime, n.flows(s)[name], func() ([]openflow.Flow, error) {
		s, err := db.synced(n.lifetime)
		if err != nil {
			return nil, err
		}
		return n.flows(s)[name], nil
	}, except...)
	if errors.Is(err, openflow.ErrAway) {
		return nil // nor has it any flows
	}
	return err
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

// plan says what write would do to bridges.
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

// write makes the flows of bridges right, of each bridge at once.
func (n *installer) write(ctx context.Context, s *session, names ...string) error {
	return n.each(s, names, func(_ string, b *openflow.Bridge, want []openflow.Flow) error { return b.Replace(ctx, want) })
}

// each calls fn for bridges, with the flows that they shall have; also after one for which it
// failed. Nobody else writes meanwhile.
func (n *installer) each(s *session, names []string, fn func(name string, b *openflow.Bridge, want []openflow.Flow) error) error {
	n.writing.Lock()
	defer n.writing.Unlock()
	if s.over() {
		return errOver
	}
	want := n.flows(s)
	var errs []error
	for _, name := range names {
		b, err := n.use(name)
		if err == nil {
			err = fn(name, b, want[name])
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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
