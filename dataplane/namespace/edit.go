package namespace

import "slices"

// edit turns one list into another: it replaces the part in which they differ.
type edit[T comparable] struct {
	start, end int // of what is replaced
	old, by    []T
}

// compare finds what two lists have in common at their beginnings and ends.
func compare[T comparable](have, want []T) edit[T] {
	short := min(len(have), len(want))
	start := 0
	for start < short && have[start] == want[start] {
		start++
	}
	tail := 0
	for tail < short-start && have[len(have)-1-tail] == want[len(want)-1-tail] {
		tail++
	}
	end := len(have) - tail
	return edit[T]{start: start, end: end, old: have[start:end], by: want[start : len(want)-tail]}
}

func (e edit[T]) size() int { return len(e.old) + len(e.by) }

// difference leaves out what has only moved.
func (e edit[T]) difference() Difference[T] {
	return Difference[T]{Removed: without(e.old, e.by), Added: without(e.by, e.old)}
}

func (e edit[T]) apply(list []T) []T { return slices.Replace(list, e.start, e.end, e.by...) }

// without lists what is in a and not in b.
func without[T comparable](a, b []T) []T {
	if len(a) == 0 {
		return nil
	}
	in := make(set[T], len(b))
	for _, v := range b {
		in[v] = struct{}{}
	}
	var rest []T
	for _, v := range a {
		if !in.has(v) {
			rest = append(rest, v)
		}
	}
	return rest
}
