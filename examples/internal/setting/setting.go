// Package setting marks errors that are the fault of a binary's settings: starting it again with
// the same ones fails again. The binary then exits with [Status], which the service manager is told
// not to answer by a restart.
package setting

import (
	"errors"
	"fmt"
)

// Status is the exit status of a binary whose settings are invalid.
const Status = 80

// NotPermitted is the exit status of a binary that lacks a permission: EX_NOPERM of sysexits(3).
const NotPermitted = 77

// Error is the refusal of a setting. Its text names the flag.
type Error struct{ err error }

// Error returns the text of the cause.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// ExitCode returns the status that the process ends with.
func (*Error) ExitCode() int { return Status }

// Errorf returns an Error with a formatted text, which may wrap a cause with %w.
func Errorf(format string, args ...any) error { return &Error{fmt.Errorf(format, args...)} }

// Invalid marks an error, whose text must name the flag. Nil stays nil.
func Invalid(err error) error {
	if err == nil || errors.As(err, new(*Error)) {
		return err
	}
	return &Error{err}
}

// For is Invalid with the name of the flag before the text.
func For(flag string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{fmt.Errorf("%s: %w", flag, err)}
}
