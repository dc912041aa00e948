package agent

import (
	"container/heap"
	"maps"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// book is what an agent knows of its routers, and what is to be done next. It has no clock, no goroutine and no lock.
type book struct {
	entries map[string]*entry
	buried  map[string]version // routers taken away, with the version that was the last: a Put of it or of an earlier one is late
	listing int                // counts the listings that began; see begin
	turn    uint64             // of the entry queued last
	queue   queue
	fenced  bool
}

// entry is one router.
type entry struct {
	id      string
	want    *l3.Assignment // nil: it is to be taken away
	kept    bool           // it is from the cache, and nothing was done about it yet
	applied version        // that is on the host, as far as this process knows
	listed  int            // the last listing that named it
	running bool           // a worker has it
	again   bool           // it changed while a worker had it
	fails   int            // in a row

	due    time.Time // when its turn comes
	urgent bool      // before those that are not
	turn   uint64
	index  int // in the queue; -1: not in it
}

// job is what a worker is to do: bring a router to want, or take it away.
type job struct {
	id    string
	want  *l3.Assignment // nil: take it away
	check bool           // it was applied already: look whether it still is
	fence bool           // leave nothing of it but its name
}

func newBook() *book {
	return &book{entries: map[string]*entry{}, buried: map[string]version{}}
}

// restore takes a router from the cache, whose turn comes when the source has named it, or else is due. Whatever the source says of it later is at
// least as new.
func (b *book) restore(a l3.Assignment, due time.Time) {
	e := b.entry(a.Router.ID)
	e.want, e.kept = &a, true
	b.enqueue(e, due, false)
}

// begin notes that a new listing starts: from the next synced on, what it did not name is gone.
func (b *book) begin() { b.listing++ }

// put takes a router's version, if it is news. An urgent one overtakes those that are not.
func (b *book) put(a l3.Assignment, urgent bool, now time.Time) {
	id := a.Router.ID
	if last, ok := b.buried[id]; ok && !versionOf(a).newer(last) {
		return
	}
	delete(b.buried, id)
	e := b.entry(id)
	e.listed = b.listing
	if e.want != nil && !versionOf(a).newer(versionOf(*e.want)) {
		if e.kept {
			e.kept = false
			b.enqueue(e, now, false)
		}
		return
	}
	e.want, e.fails = &a, 0
	b.enqueue(e, now, urgent)
}

// gone takes a router away as of a version, unless a newer one is known.
func (b *book) gone(id string, last version, now time.Time) {
	e := b.entries[id]
	if e != nil && e.want != nil && versionOf(*e.want).newer(last) {
		return
	}
	if last.newer(b.buried[id]) {
		b.buried[id] = last
	}
	if e == nil {
		e = b.entry(id) // it may be on the host all the same
	} else if e.want == nil {
		return
	}
	e.want, e.fails = nil, 0
	b.enqueue(e, now, true)
}

// synced ends a listing. Routers that it did not name go, and so do those on the host that nobody knows.
func (b *book) synced(onHost []string, now time.Time) {
	for _, id := range onHost {
		b.entry(id)
	}
	for _, id := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[id]
		if e.listed == b.listing {
			continue
		}
		if e.want != nil {
			b.buried[id] = versionOf(*e.want)
			e.want, e.fails = nil, 0
		}
		b.enqueue(e, now, false)
	}
}

// fence takes every router's ports away, or gives them back.
func (b *book) fence(on bool, now time.Time) {
	b.fenced = on
	for _, id := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[id]
		e.applied, e.fails = version{}, 0
		b.enqueue(e, now, true)
	}
}

// next hands out the work whose turn has come. wait is when to ask again if there is none, zero if nothing is queued.
func (b *book) next(now time.Time) (j *job, wait time.Time) {
	e := b.queue.pop(now)
	if e == nil {
		return nil, b.queue.wake()
	}
	e.running, e.urgent, e.kept = true, false, false
	j = &job{id: e.id, want: e.want}
	if e.want != nil {
		j.fence = b.fenced
		j.check = !b.fenced && e.applied == versionOf(*e.want)
	}
	return j, time.Time{}
}

// done takes back a job. delay is when to look at the router again; zero: never.
func (b *book) done(j *job, err error, now time.Time, delay func(fails int) time.Duration) {
	e := b.entries[j.id]
	e.running = false
	switch {
	case err != nil:
		e.applied = version{}
		e.fails++
	case j.want == nil:
		if e.want == nil && !e.again {
			delete(b.entries, e.id)
			return
		}
	default:
		e.fails = 0
		if !j.fence {
			e.applied = versionOf(*j.want)
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

// queue is two heaps: what is due, the urgent first, and what is due later, the soonest first.
type queue struct {
	ready byTurn
	later byTime
}

func (q *queue) put(e *entry) {
	q.remove(e)
	heap.Push(&q.later, e)
}

func (q *queue) remove(e *entry) {
	if e.index < 0 {
		return
	}
	if e.index < q.ready.Len() && q.ready.heapOf[e.index] == e {
		heap.Remove(&q.ready, e.index)
	} else {
		heap.Remove(&q.later, e.index)
	}
}

func (q *queue) pop(now time.Time) *entry {
	for q.later.Len() > 0 && !q.later.heapOf[0].due.After(now) {
		heap.Push(&q.ready, heap.Pop(&q.later))
	}
	if q.ready.Len() == 0 {
		return nil
	}
	return heap.Pop(&q.ready).(*entry)
}

// wake is when the first of those that are due later is due.
func (q *queue) wake() time.Time {
	if q.later.Len() == 0 {
		return time.Time{}
	}
	return q.later.heapOf[0].due
}
