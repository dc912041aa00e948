package service

import (
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/l3"
)

// newMeta is what a new resource begins with.
func (s *Service) newMeta(project, name, description string) l3.Meta {
	now := s.now()
	return l3.Meta{
		ID: uuid.NewString(), ProjectID: project, Name: name, Description: description,
		Tags: []string{}, Revision: 1, CreatedAt: now, UpdatedAt: now,
	}
}

// checkIf holds a change to the revision that the caller has seen.
func checkIf(cond l3.If, m l3.Meta) error {
	if cond.Revision == nil || *cond.Revision == m.Revision {
		return nil
	}
	return l3.Refuse(l3.ErrRevision, "RevisionNumberConstraintFailed",
		"Constrained to %d, but current revision is %d", *cond.Revision, m.Revision)
}

// maxText is Neutron's limit for names, descriptions, device IDs and the like.
const maxText = 255

// text holds an attribute to what every store can keep: valid UTF-8 without the NUL character
// (which PostgreSQL refuses), of a limited length. Nil is fine.
func text(attribute string, value *string) error {
	switch {
	case value == nil:
		return nil
	case utf8.RuneCountInString(*value) > maxText:
		return invalid("Invalid input for %s. Reason: it exceeds the maximum length of %d.", attribute, maxText)
	case !clean(*value):
		return invalid("Invalid input for %s. Reason: it is not text: it holds a NUL or bytes that are not UTF-8.", attribute)
	}
	return nil
}

func clean(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// texts checks the name and the description, which nearly everything has.
func texts(name, description *string) error {
	if err := text("name", name); err != nil {
		return err
	}
	return text("description", description)
}

// set takes over an attribute that was given.
func set[T any](attribute *T, given *T) {
	if given != nil {
		*attribute = *given
	}
}

// or is an attribute that was given, or its default.
func or[T any](given *T, otherwise T) T {
	if given != nil {
		return *given
	}
	return otherwise
}
