package wiring

// Add puts a member into a group. A group without members is not there.
func Add[G, K comparable, V any, S ~map[K]V](groups map[G]S, group G, key K, member V) {
	if groups[group] == nil {
		groups[group] = S{}
	}
	groups[group][key] = member
}

// Drop takes a member out of a group.
func Drop[G, K comparable, V any, S ~map[K]V](groups map[G]S, group G, key K) {
	if delete(groups[group], key); len(groups[group]) == 0 {
		delete(groups, group)
	}
}
