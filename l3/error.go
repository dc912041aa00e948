package l3

import (
	"errors"
	"net/http"
)

// Sentinels to branch on with [errors.Is]. Every error of a [Service] that the caller could have
// avoided is an [Error] and one of these; every other is the store's or the context's.
var (
	ErrInvalid   = errors.New("invalid request")
	ErrForbidden = errors.New("not allowed")
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("conflict")
	ErrRevision  = errors.New("revision does not match")
)

// Error is a refusal, as Neutron words it.
type Error struct {
	Name    string // Neutron's: RouterInUse
	Status  int    // HTTP
	Message string // for people: names the attribute or the object, and what was wrong with it
	Err     error  // cause; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Name + ": " + e.Message
	}
	return e.Name + ": " + e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is says which of the sentinels the refusal is.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrInvalid:
		return e.Status == http.StatusBadRequest
	case ErrForbidden:
		return e.Status == http.StatusForbidden
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrConflict:
		return e.Status == http.StatusConflict
	case ErrRevision:
		return e.Status == http.StatusPreconditionFailed
	}
	return false
}
