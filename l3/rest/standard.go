package rest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// identity is the attributes that every resource with an [l3.Meta] has.
func identity[R, S any]() table[R, S] {
	return table[R, S]{
		field[R, S]("ID", anyUUID, found),
		field[R, S]("ProjectID", label, inPost|found),
		field[R, S]("ProjectID", label, inPost|found).named("tenant_id"),
	}
}

// standard is what Neutron calls standard attributes, but name and description.
func standard[R, S any]() table[R, S] {
	return append(identity[R, S](),
		field[R, S]("Tags", texts, inPost).by(tagged(l3.All)),
		sought[R, S]("tags-any", tagged(l3.In)),
		sought[R, S]("not-tags", tagged(l3.NotAll)),
		sought[R, S]("not-tags-any", tagged(l3.NotIn)),
		field[R, S]("Revision", integer(0, 1<<31-1), found),
		field[R, S]("CreatedAt", stamp, found),
		field[R, S]("UpdatedAt", stamp, found),
		sought[R, S]("changed_since", changedSince),
	)
}

// tagged filters by tags, which a parameter lists between commas. Those of a parameter given twice
// are taken together.
func tagged(op l3.Op) func(values []string) ([]l3.Filter, error) {
	return func(values []string) ([]l3.Filter, error) {
		f := l3.Filter{Field: "tags", Op: op}
		for _, s := range values {
			for tag := range strings.SplitSeq(s, ",") {
				if !slices.Contains(f.Values, any(tag)) {
					f.Values = append(f.Values, tag)
				}
				if err := tooManyTerms(len(f.Values)); err != nil {
					return nil, err
				}
			}
		}
		return []l3.Filter{f}, nil
	}
}

// parseTime reads a time as filters have it, and gives it in the form that is stored.
func parseTime(s string) (string, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format(time.RFC3339), nil
		}
	}
	return "", fmt.Errorf("'%s' is not a time such as 2026-01-31T12:00:00Z", show(s))
}

// changedSince filters by the time of the last change: ISO 8601, in UTC unless it says otherwise.
func changedSince(values []string) ([]l3.Filter, error) {
	var out []l3.Filter
	for _, s := range values {
		t, err := parseTime(s)
		if err != nil {
			return nil, err
		}
		out = append(out, l3.Filter{Field: "updated_at", Op: l3.NotBefore, Values: []any{t}})
	}
	return out, nil
}
