package namespace

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// opError says what failed. It turns the kernel's word for a lack of privileges into ours.
func opError(op, object string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("%w (%w)", dataplane.ErrPermission, err)
	}
	return &dataplane.OpError{Op: op, Object: object, Err: err}
}
