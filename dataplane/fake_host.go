package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
)

// FakeHost is the machine that a [Fake] works on: it outlives the dataplanes that are opened on it,
// as a kernel outlives processes. The zero value is a host without routers. Its methods may run
// concurrently.
type FakeHost struct {
	mu      sync.Mutex
	routers map[string]*fakeRouter
	foreign map[string]bool
	writes  uint64
	failure *failure
	broken  error // see Disable
	watches map[*fakeWatch]struct{}
	sights  map[*Fake]*fakeSight

	announced map[string]int // by router
}

// fakeRouter is a router as the host has it.
type fakeRouter struct {
	router   Router
	model    *Model
	flows    []*Flow                 // alive, in the order in which they began
	counters map[netip.Addr]Counters // by floating IP
}

type failure struct {
	after int
	err   error
}

// State is everything that the host holds for a router, as text: equal for equal routers. It is
// empty for one that is not there.
func (h *FakeHost) State(router string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routers[router]
	if r == nil {
		return ""
	}
	return inventoryOf(r.router).String()
}

// Router returns a router as the host has it.
func (h *FakeHost) Router(id string) (Router, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routers[id]
	if r == nil {
		return Router{}, false
	}
	return r.router.Clone(), true
}

// Announced is how often a router was to be announced again; see [Dataplane].
func (h *FakeHost) Announced(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.announced[id]
}

// Writes counts the changes that were made to the host by dataplanes so far. One that was taken
// back counts twice.
func (h *FakeHost) Writes() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writes
}

// Fail makes the next Apply that has something to do fail with err after so many steps. It leaves
// the old router as it was; but if it has no more steps than that, it fails after the last one, and
// the new router is in force. With a nil err nothing is going to fail.
func (h *FakeHost) Fail(after int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = nil
	if err != nil {
		h.failure = &failure{after, err}
	}
}

// Disable makes the host unable to realise routers: [Fake.Ready] and all other calls but Close fail
// with err, and routers stay as they are. A nil err ends that.
func (h *FakeHost) Disable(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = err
}

func (h *FakeHost) fault() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken
}

// Tamper changes a router behind the dataplane's back, as another process on the machine might. No
// connection ends by it. It returns false if the router is not there.
func (h *FakeHost) Tamper(id string, change func(*Router)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routers[id]
	if r == nil {
		return false
	}
	changed := r.router.Clone()
	change(&changed)
	changed.ID = id
	r.router, r.model, r.counters = changed, NewModel(changed), counted(changed, r)
	h.touch(id, nil)
	return true
}

// Occupy lets somebody else take the name of a router that is not there: Apply is [ErrForeign] from
// then on, and Delete and List pass over it.
func (h *FakeHost) Occupy(router string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.foreign == nil {
		h.foreign = make(map[string]bool)
	}
	h.foreign[router] = true
}

// change is what has to be done to make the host hold a router.
type change struct {
	router Router
	model  *Model
	steps  []Step
	keep   []*Flow
	end    []*Flow
}

// change compares the host with what is wanted. The host is locked.
func (h *FakeHost) change(want Router) (change, error) {
	if h.foreign[want.ID] {
		return change{}, ErrForeign
	}
	c := change{router: want.Clone(), model: NewModel(want)}
	var now inventory
	if have := h.routers[want.ID]; have != nil {
		c.router.Owner = cmp.Or(want.Owner, have.router.Owner)
		now = inventoryOf(have.router)
		c.sort(have.flows)
	}
	c.steps = now.steps(inventoryOf(c.router))
	for _, f := range c.end {
		c.steps = append(c.steps, Step{Op: Remove, Kind: KindConnections, Object: f.Trace.Packet.String(), Disturbs: true})
	}
	return c, nil
}

// sort divides flows by whether the wanted router would translate and forward them as they are.
func (c *change) sort(flows []*Flow) {
	for _, f := range flows {
		if c.model.keeps(f.Trace) {
			c.keep = append(c.keep, f)
		} else {
			c.end = append(c.end, f)
		}
	}
}

// commit carries a change out, or fails as it was told to, and says which router is in force then.
// The host is locked.
func (h *FakeHost) commit(c *change) (inForce, err error) {
	if h.failure != nil && len(c.steps) > 0 {
		err = h.failure.err
		after := max(0, h.failure.after)
		h.failure = nil
		if after < len(c.steps) {
			c.steps = c.steps[:after]
			h.writes += 2 * uint64(after)
			return ErrOldInForce, err
		}
	}
	if h.routers == nil {
		h.routers = make(map[string]*fakeRouter)
	}
	for _, f := range c.end {
		f.ended.Store(true)
	}
	h.routers[c.router.ID] = &fakeRouter{
		router: c.router, model: c.model, flows: c.keep, counters: counted(c.router, h.routers[c.router.ID]),
	}
	h.writes += uint64(len(c.steps))
	return ErrNewInForce, err
}

// remove takes a router away. The host is locked.
func (h *FakeHost) remove(id string) {
	r := h.routers[id]
	if r == nil {
		return
	}
	for _, f := range r.flows {
		f.ended.Store(true)
	}
	delete(h.routers, id)
	h.writes++
}

// Open sends the first packet of a connection to a router, as the host has it now, and says what
// became of it.
func (h *FakeHost) Open(router string, p Packet) (*Flow, Trace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routers[router]
	f := new(Flow)
	if r != nil {
		f.Trace = r.model.Trace(p)
	} else {
		why := TraceStep{Stage: "ingress", Reason: "there is no router " + quote(router) + " on this host"}
		f.Trace = Trace{Packet: p, Verdict: Dropped, Steps: []TraceStep{why}}
	}
	if f.stands() {
		r.flows = append(slices.Clip(r.flows), f)
	} else {
		f.ended.Store(true)
	}
	return f, f.Trace
}
