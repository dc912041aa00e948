// Package failure turns errors of the kernel into errors of package dataplane.
package failure

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// Of returns err as a [dataplane.OpError], or nil if err is nil. A lack of privileges becomes
// [dataplane.ErrPermission], and a closed socket or file [dataplane.ErrClosed].
func Of(op, object string, err error) error {
	if err == nil {
		return nil
	}
	return &dataplane.OpError{Op: op, Object: object, Err: known(err)}
}

func known(err error) error {
	for _, sentinel := range []error{dataplane.ErrUnsupported, dataplane.ErrPermission, dataplane.ErrClosed} {
		if errors.Is(err, sentinel) {
			return err // by whoever saw it first, and knew more about it
		}
	}
	switch {
	case errors.Is(err, os.ErrPermission): // EPERM or EACCES
		return fmt.Errorf("%w: %w", dataplane.ErrPermission, err)
	case errors.Is(err, os.ErrClosed):
		return fmt.Errorf("%w: %w", dataplane.ErrClosed, err)
	}
	return err
}

// Lack returns err as [dataplane.ErrUnsupported] if it is the kernel's answer to a request for
// something that it was built without. what names that.
func Lack(what string, err error) error {
	for _, errno := range []error{unix.EAFNOSUPPORT, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: the kernel lacks %s: %w", dataplane.ErrUnsupported, what, err)
		}
	}
	return err
}
