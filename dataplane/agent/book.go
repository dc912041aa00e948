package agent

import (
	"maps"
	"slices"
	"time"
)

// book is what an agent knows of its routers, and what is to be done next. It has no clock, no
// goroutine and no lock.
type book struct {
	entries  map[string]*entry
	buried   map[string]Version // routers taken away, with their last version: a Put of it or of an earlier one is late
	maxEpoch uint64             // the highest that the deployment has named
	listing  int                // counts the listings that began; see begin
	turn     uint64             // of the entry queued last
	queue    queue
	fenced   bool
	refused  bool // nothing is done while the control plane refuses the agent
}

// entry is one router.
type entry struct {
	id      string
	want    *Assignment // nil: it is to be taken away
	last    Version     // with which it leaves
	request string      // because of which it leaves
	kept    bool        // it is from the cache, and nothing was done about it yet
	orphan  bool        // a complete listing did not name it
	stray   bool        // it is to be taken away, and is shown as an orphan until an inventory lacks it
	applied Version     // that this process has applied and that is on the host
	runs    Version     // that is on the host as far as is known: applied, or by an earlier process; zero: not known
	listed  int         // the last listing that named it
	running bool        // a worker has it
	again   bool        // it changed while a worker had it
	fails   int         // in a row

	due    time.Time // when its turn comes
	urgent bool      // before those that are not
	turn   uint64
	index  int // in the queue; -1: not in it
}

// job is what a worker is to do: bring a router to want, or take it away.
type job struct {
	id      string
	want    *Assignment // nil: take it away
	runs    Version     // on the host; zero: not known
	last    Version     // with which it leaves
	request string      // because of which it leaves
	check   bool        // it was applied already: look whether it still is
	fence   bool        // leave nothing of it but its name
	stray   bool        // it is taken away as an orphan
}

func newBook() *book {
	return &book{entries: map[string]*entry{}, buried: map[string]Version{}}
}

// restore takes a router from the cache, whose turn comes when the source has named it, or else is
// due. Whatever the source says of it later is at least as new.
func (b *book) restore(a Assignment, due time.Time) {
	e := b.entry(a.Router.ID)
	e.want, e.kept, e.runs = &a, true, a.Version()
	b.enqueue(e, due, false)
}

// begin notes that a new listing starts: from the next synced on, what it did not name is an
// orphan.
func (b *book) begin() { b.listing++ }

// put takes a router's version, if it is news. An urgent one overtakes those that are not.
func (b *book) put(a Assignment, urgent bool, now time.Time) {
	id := a.Router.ID
	b.maxEpoch = max(b.maxEpoch, a.Epoch)
	if last, ok := b.buried[id]; ok && !a.Version().Newer(last) {
		return
	}
	delete(b.buried, id)
	e := b.entry(id)
	e.listed, e.orphan, e.stray = b.listing, false, false
	if e.want != nil && !news(a, *e.want) {
		if e.kept {
			e.kept = false
			b.enqueue(e, now, false)
		}
		return
	}
	if e.want != nil && e.want.Deployment != a.Deployment {
		e.applied, e.runs = Version{}, Version{} // the versions of two deployments have nothing in common
	}
	e.want, e.fails = &a, 0
	b.enqueue(e, now, urgent)
}

// news reports whether an assignment replaces another. One of the same version with another content
// does: it comes from a database that was restored, and has counted to the same version again.
func news(a, than Assignment) bool {
	if a.Deployment != than.Deployment {
		return true
	}
	if a.Version() == than.Version() {
		return !a.Router.Equal(than.Router)
	}
	return a.Version().Newer(than.Version())
}

// gone takes a router away as of a version, unless a newer one of the same deployment is wanted
// here. The version of an orphan does not count: its departure is a decision about that very
// router.
func (b *book) gone(g Gone, now time.Time) {
	last := Version{Epoch: g.Epoch, Revision: g.Revision}
	b.maxEpoch = max(b.maxEpoch, last.Epoch)
	e := b.entries[g.RouterID]
	same := g.Deployment == "" || e != nil && e.want != nil && e.want.Deployment == g.Deployment
	if e != nil && e.want != nil && !e.orphan && same && e.want.Version().Newer(last) {
		return
	}
	if last.Newer(b.buried[g.RouterID]) {
		b.buried[g.RouterID] = last
	}
	switch {
	case e == nil:
		e = b.entry(g.RouterID) // it may be on the host all the same, as an orphan
		e.stray = true
	case e.want == nil && e.fails == 0:
		e.last, e.request = last, g.Request // it is on its way out
		e.again = e.running
		return
	}
	e.stray = e.stray || e.orphan
	e.want, e.last, e.request, e.fails, e.orphan = nil, last, g.Request, 0, false
	b.enqueue(e, now, true)
}

// remove takes a router away that no record names.
func (b *book) remove(id string, now time.Time) {
	e := b.entry(id)
	e.want, e.last, e.request, e.fails, e.orphan, e.stray = nil, e.runs, "", 0, false, true
	b.enqueue(e, now, true)
}

// synced ends a listing. Routers that it did not name are orphans: they stay as they are. It
// returns those that were not orphans before. One that this process has not touched, and that is
// not on the host, is not made.
func (b *book) synced(onHost map[string]bool) (orphans []string) {
	for _, id := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[id]
		if e.listed == b.listing || e.want == nil || e.orphan {
			continue
		}
		e.orphan = true
		orphans = append(orphans, id)
		if e.kept && !e.running {
			if onHost[id] {
				b.enqueue(e, e.due, false)
			} else {
				b.queue.remove(e)
			}
		}
	}
	return orphans
}

// serve notes that routers come from another deployment than before.
func (b *book) serve() {
	clear(b.buried)
	b.maxEpoch = 0
	for _, e := range b.entries {
		if e.listed == b.listing && e.want != nil {
			b.maxEpoch = max(b.maxEpoch, e.want.Epoch)
		}
	}
}

// fence takes every router's ports away, or gives them back.
func (b *book) fence(on bool, now time.Time) {
	b.fenced = on
	for _, id := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[id]
		if e.orphan && e.kept {
			continue // it is not on the host, and is not made
		}
		e.applied, e.runs, e.fails = Version{}, Version{}, 0
		b.enqueue(e, now, true)
	}
}

// next hands out the work whose turn has come. wait is when to ask again if there is none, zero if
// nothing is queued.
func (b *book) next(now time.Time) (j *job, wait time.Time) {
	if b.refused {
		return nil, time.Time{}
	}
	e := b.queue.pop(now)
	if e == nil {
		return nil, b.queue.wake()
	}
	e.running, e.urgent, e.kept = true, false, false
	j = &job{id: e.id, want: e.want, runs: e.runs, last: e.last, request: e.request, stray: e.want == nil && e.stray}
	if e.want != nil {
		j.fence = b.fenced
		j.check = !b.fenced && e.applied == e.want.Version()
	}
	return j, time.Time{}
}

// done takes back a job. delay is when to look at the router again; zero: never.
func (b *book) done(j *job, err error, now time.Time, delay func(fails int) time.Duration) {
	e := b.entries[j.id]
	e.running = false
	switch {
	case err != nil:
		e.applied, e.runs = Version{}, Version{}
		e.fails++
	case j.want == nil:
		if e.want == nil && !e.again {
			delete(b.entries, e.id)
			return
		}
	default:
		e.fails = 0
		if !j.fence {
			e.applied = j.want.Version()
			e.runs = e.applied
		}
	}
	if e.again {
		e.again = false
		b.enqueue(e, now, e.urgent)
		return
	}
	if d := delay(e.fails); d > 0 {
		b.enqueue(e, now.Add(d), false)
	}
}

func (b *book) entry(id string) *entry {
	e := b.entries[id]
	if e == nil {
		e = &entry{id: id, index: -1}
		b.entries[id] = e
	}
	return e
}

func (b *book) enqueue(e *entry, due time.Time, urgent bool) {
	e.urgent = e.urgent || urgent
	if e.running {
		e.again = true
		return
	}
	b.turn++
	e.due, e.turn = due, b.turn
	b.queue.put(e)
}
