package agent

import (
	"container/heap"
	"time"
)

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

// heapOf keeps each entry's place, so that an entry can be taken out of the middle.
type heapOf []*entry

func (h heapOf) Len() int { return len(h) }

func (h heapOf) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *heapOf) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *heapOf) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	e.index = -1
	return e
}

// byTurn has the urgent first, and otherwise those that came first.
type byTurn struct{ heapOf }

func (h byTurn) Less(i, j int) bool {
	a, b := h.heapOf[i], h.heapOf[j]
	if a.urgent != b.urgent {
		return a.urgent
	}
	return a.turn < b.turn
}

// byTime has those first that are due first.
type byTime struct{ heapOf }

func (h byTime) Less(i, j int) bool {
	a, b := h.heapOf[i], h.heapOf[j]
	if !a.due.Equal(b.due) {
		return a.due.Before(b.due)
	}
	return a.turn < b.turn
}
