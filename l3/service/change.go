package service

import (
	"context"
	"reflect"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// makeAll makes a resource of each spec in one transaction: all or none.
func makeAll[S, R any](ctx context.Context, s *Service, specs []S, create func(*work, S) (R, error)) ([]R, error) {
	var made []R
	err := s.update(ctx, func(w *work) error {
		made = make([]R, 0, len(specs))
		for _, spec := range specs {
			r, err := create(w, spec)
			if err != nil {
				return err
			}
			made = append(made, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// put stores a resource, m being its Meta, unless it is what it was before.
func put[R any](ctx context.Context, table l3.Table[R], before R, after *R, m *l3.Meta, now time.Time) (changed bool, err error) {
	if reflect.DeepEqual(before, *after) {
		return false, nil
	}
	m.UpdatedAt = now
	return true, table.Update(ctx, after)
}

// fixed refuses to change an attribute that is given at creation alone.
func fixed[T comparable](attribute string, have T, given *T) error {
	if given == nil || *given == have {
		return nil
	}
	return badRequest("HTTPBadRequest", "Cannot update read-only attribute %s", attribute)
}
