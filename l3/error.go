package l3

import (
	"errors"
	"fmt"
)

// Kinds of refusals, to branch on with [errors.Is]. Every error of the service that the caller
// could have avoided is an [Error] of one of these kinds; every other is the store's or the
// context's.
var (
	ErrInvalid   = errors.New("invalid request")
	ErrForbidden = errors.New("not allowed")
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("conflict")
	ErrOverQuota = fmt.Errorf("%w: over quota", ErrConflict) // an ErrConflict too
	ErrRevision  = errors.New("revision does not match")
	ErrExhausted = errors.New("nothing left to allocate")
)

// Error is a refusal, as Neutron words it.
type Error struct {
	Kind    error  // ErrNotFound and its like
	Name    string // Neutron's exception: RouterInUse
	Message string // for people: names the attribute or the object, and what was wrong with it
	Err     error  // cause; may be nil
}

// Refuse returns an [Error] with a formatted message.
func Refuse(kind error, name, format string, args ...any) error {
	return &Error{Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Name + ": " + e.Message
	}
	return e.Name + ": " + e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether the refusal is of a kind.
func (e *Error) Is(kind error) bool { return errors.Is(e.Kind, kind) }
