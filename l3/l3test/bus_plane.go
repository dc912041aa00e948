package l3test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// planeDeployment is the identity of a plane.
const planeDeployment = "00000000-0000-4000-8000-000000000001"

var (
	errDown    = errors.New("the database does not answer")
	errUnknown = &l3.Error{Name: "RouterNotHosted", Kind: l3.ErrNotFound, Message: "Nothing is recorded."}
	errRefused = &l3.Error{Name: "InvalidInput", Kind: l3.ErrInvalid, Message: "It is refused."}
)

// plane is an [l3.ControlPlane] that is told what to say: which router is where, and what has left.
type plane struct {
	mu        sync.Mutex
	claim     l3.BusClaim
	at        map[string]agent.Assignment
	left      map[string]l3.Placement // by host/router
	hosts     map[string]bool
	epoch     uint64
	outbox    []l3.Notice
	seq       uint64
	committed chan struct{}

	quiet   bool          // nothing is said to Committed
	down    bool          // every call fails
	blind   bool          // PlacementOf fails
	failed  int           // how often that was so
	held    chan struct{} // the next PlacementOf answers when it is closed, with what was true before
	holding chan struct{} // closed when it waits

	machine map[string]string // by host: the machine whose agents are accepted; empty: any
	refused map[string]bool   // by host: what it says is refused
	beats   map[string]agent.Heartbeat
	reports []agent.Report
	sighted []agent.Sightings
}

func newPlane() *plane {
	return &plane{
		at: map[string]agent.Assignment{}, left: map[string]l3.Placement{}, hosts: map[string]bool{}, committed: make(chan struct{}, 1),
		machine: map[string]string{}, refused: map[string]bool{}, beats: map[string]agent.Heartbeat{},
	}
}

// change changes what the plane does.
func (p *plane) change(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

// put has a host realise routers, in a new version. They leave the host that they were on.
func (p *plane) put(host string, ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[host] = true
	for _, id := range ids {
		was, had := p.at[id]
		epoch := was.Epoch
		if !had || was.Host != host {
			p.leave(id)
			p.epoch++
			epoch = p.epoch
			delete(p.left, host+"/"+id)
		}
		p.at[id] = agent.Assignment{
			Host: host, Deployment: planeDeployment, Epoch: epoch, Revision: was.Revision + 1, Request: "req-" + id,
			Router: dataplane.Router{ID: id},
		}
		p.notice(host, id)
	}
	p.commit()
}

// remove has routers leave the host that they are on.
func (p *plane) remove(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		p.leave(id)
	}
	p.commit()
}

// forget drops what is recorded of a router on a host, as when it was confirmed that it is gone.
func (p *plane) forget(host, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, id)
	delete(p.left, host+"/"+id)
	p.notice(host, id)
	p.commit()
}

func (p *plane) leave(id string) {
	was, had := p.at[id]
	if !had {
		return
	}
	delete(p.at, id)
	p.left[was.Host+"/"+id] = l3.Placement{
		Host: was.Host, RouterID: id, Deployment: planeDeployment, Epoch: was.Epoch, Revision: was.Revision, Request: "req-gone",
	}
	p.notice(was.Host, id)
}

func (p *plane) notice(host, id string) {
	p.seq++
	p.outbox = append(p.outbox, l3.Notice{Seq: p.seq, Host: host, RouterID: id})
}

func (p *plane) commit() {
	if p.quiet {
		return
	}
	select {
	case p.committed <- struct{}{}:
	default:
	}
}

func (p *plane) version(id string) agent.Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[id].Version()
}

func (p *plane) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.outbox)
}

// lock returns an error while the database is down, and else locks the plane.
func (p *plane) lock() error {
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return errDown
	}
	return nil
}

func (p *plane) Deployment(context.Context) (l3.Deployment, error) {
	if err := p.lock(); err != nil {
		return l3.Deployment{}, err
	}
	defer p.mu.Unlock()
	return l3.Deployment{ID: planeDeployment, Epoch: p.epoch, Bus: p.claim}, nil
}

func (p *plane) ClaimBus(_ context.Context, bus, server string) error {
	if err := p.lock(); err != nil {
		return err
	}
	defer p.mu.Unlock()
	if p.claim.ID != "" && p.claim.ID != bus && time.Since(p.claim.SeenAt) < l3.BusClaimTime {
		return &l3.OtherBusError{Deployment: l3.Deployment{ID: planeDeployment, Bus: p.claim}, Bus: bus}
	}
	p.claim = l3.BusClaim{ID: bus, Server: server, SeenAt: time.Now()}
	return nil
}

func (p *plane) ReleaseBus(_ context.Context, bus, server string) error {
	if err := p.lock(); err != nil {
		return err
	}
	defer p.mu.Unlock()
	if p.claim.ID == bus && p.claim.Server == server {
		p.claim = l3.BusClaim{}
	}
	return nil
}

func (p *plane) Hosts(context.Context) ([]string, error) {
	if err := p.lock(); err != nil {
		return nil, err
	}
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.hosts)), nil
}

func (p *plane) PlacementOf(_ context.Context, host, id string) (l3.Placement, error) {
	if err := p.lock(); err != nil {
		return l3.Placement{}, err
	}
	defer p.mu.Unlock()
	if p.blind {
		p.failed++
		return l3.Placement{}, errDown
	}
	found, err := p.placement(host, id)
	if held := p.held; held != nil {
		p.held = nil
		close(p.holding)
		p.mu.Unlock()
		<-held
		p.mu.Lock()
	}
	return found, err
}

func (p *plane) placement(host, id string) (l3.Placement, error) {
	if a, ok := p.at[id]; ok && a.Host == host {
		return l3.Placement{
			Host: host, RouterID: id, Deployment: planeDeployment, Epoch: a.Epoch, Revision: a.Revision, Request: a.Request, Assignment: &a,
		}, nil
	}
	if left, ok := p.left[host+"/"+id]; ok {
		return left, nil
	}
	return l3.Placement{}, errUnknown
}

func (p *plane) PlacementsOn(_ context.Context, host string) (all []l3.Placement, err error) {
	if err := p.lock(); err != nil {
		return nil, err
	}
	defer p.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(p.at)) {
		if p.at[id].Host == host {
			found, err := p.placement(host, id)
			if err != nil {
				return nil, err
			}
			all = append(all, found)
		}
	}
	for _, left := range p.left {
		if left.Host == host {
			all = append(all, left)
		}
	}
	return all, nil
}

func (p *plane) Reconcile(context.Context, []l3.Placement) (restored bool, err error) {
	if err := p.lock(); err != nil {
		return false, err
	}
	defer p.mu.Unlock()
	return false, nil
}

func (p *plane) Committed() <-chan struct{} { return p.committed }

func (p *plane) Unpublished(_ context.Context, limit int) ([]l3.Notice, error) {
	if err := p.lock(); err != nil {
		return nil, err
	}
	defer p.mu.Unlock()
	return slices.Clone(p.outbox[:min(limit, len(p.outbox))]), nil
}

func (p *plane) Published(_ context.Context, notices []l3.Notice) error {
	if err := p.lock(); err != nil {
		return err
	}
	defer p.mu.Unlock()
	last := notices[len(notices)-1].Seq
	p.outbox = slices.DeleteFunc(p.outbox, func(n l3.Notice) bool { return n.Seq <= last })
	return nil
}

func (p *plane) Attach(_ context.Context, s agent.Session) error {
	if err := p.lock(); err != nil {
		return err
	}
	defer p.mu.Unlock()
	p.hosts[s.Host] = true
	return p.taken(s.Host, s.Machine)
}

func (p *plane) taken(host, machine string) error {
	if only := p.machine[host]; only != "" && only != machine {
		return &l3.HostTakenError{Host: host, Machine: only}
	}
	return nil
}

func (p *plane) Heartbeat(_ context.Context, h agent.Heartbeat) (l3.Agent, error) {
	if err := p.lock(); err != nil {
		return l3.Agent{}, err
	}
	defer p.mu.Unlock()
	if err := p.taken(h.Host, h.Machine); err != nil {
		return l3.Agent{}, err
	}
	if p.refused[h.Host] {
		return l3.Agent{}, errRefused
	}
	p.beats[h.Host] = h
	return l3.Agent{Host: h.Host}, nil
}

func (p *plane) Report(_ context.Context, r agent.Report) error {
	if err := p.lock(); err != nil {
		return err
	}
	defer p.mu.Unlock()
	if p.refused[r.Host] {
		return errRefused
	}
	p.reports = append(p.reports, r)
	return nil
}

func (p *plane) Sight(_ context.Context, s agent.Sightings) error {
	if err := p.lock(); err != nil {
		return err
	}
	defer p.mu.Unlock()
	if p.refused[s.Host] {
		return errRefused
	}
	p.sighted = append(p.sighted, s)
	return nil
}

// sightings returns what was reported by a host.
func (p *plane) sightings(host string) (found []agent.Sightings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sighted {
		if s.Host == host {
			found = append(found, s)
		}
	}
	return found
}

// beat returns the last heartbeat of a host.
func (p *plane) beat(host string) (agent.Heartbeat, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, ok := p.beats[host]
	return h, ok
}

// reported returns the reports of a router.
func (p *plane) reported(id string) (found []agent.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.reports {
		if r.RouterID == id {
			found = append(found, r)
		}
	}
	return found
}

var _ l3.ControlPlane = (*plane)(nil)
