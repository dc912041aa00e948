package l3_test

import (
	"fmt"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// frozen is a Policy that lets nobody but administrators change anything.
type frozen struct{ l3.DefaultPolicy }

func (f frozen) Allows(who l3.Caller, rule string, to l3.Relation) bool {
	return strings.HasPrefix(rule, "get_") && f.DefaultPolicy.Allows(who, rule, to)
}

// A Policy replaces, or narrows, what callers may do.
func ExamplePolicy() {
	var policy l3.Policy = frozen{}
	member := l3.Caller{Project: "demo", Roles: []string{l3.RoleMember}}
	fmt.Println(policy.Allows(member, "get_router", l3.RelationOwner))
	fmt.Println(policy.Allows(member, "update_router", l3.RelationOwner))
	// Output:
	// true
	// false
}
