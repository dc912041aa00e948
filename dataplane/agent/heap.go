package agent

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
