package l3

// Query chooses from a list of resources. The zero Query is all of them, in the order of their IDs.
type Query struct {
	Filters []Filter // all of them must hold
	Scope   []Filter // at least one of them must hold, unless there are none
	Sort    []Sort   // the ID decides what is left equal
	Limit   int      // 0: no limit
	Marker  string   // ID of the last resource of the page before, in Scope; empty: from the beginning
	Reverse bool     // the page before Marker, instead of after; the order of what is returned stays
}

// Filter asks for a value of an attribute, which is named as in the resource's JSON: name,
// router:external, fixed_ips.ip_address, tags. For an attribute that is a list, one of its elements
// must fulfil it.
type Filter struct {
	Field  string
	Op     Op
	Values []any // string, bool or int, of the attribute's type; "" also finds what is null or absent

	Of []Filter // of Either and Every, which have no Field and no Values
}

// Op is how a filter compares.
type Op int

// The comparisons.
const (
	In          Op = iota // equal to one of Values
	Contains              // a string that has one of Values within it
	All                   // a list that holds every one of Values
	NotAll                // not that
	NotIn                 // not In
	NotContains           // not Contains
	NotBefore             // a string that is not sorted before the only one of Values; times are such strings
	Before                // a string that is sorted before the only one of Values
	Either                // at least one filter of Of holds
	Every                 // all filters of Of hold
)

// Sort is a key to sort by.
type Sort struct {
	Field string
	Desc  bool
}
