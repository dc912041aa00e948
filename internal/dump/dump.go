// Package dump repeats netlink listings that something has interrupted. When what is listed changes
// between two parts of a listing, the kernel says so (NLM_F_DUMP_INTR): something may be missing
// from it, or be there twice.
package dump

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
)

// ErrInterrupted says that a listing may be incomplete.
var ErrInterrupted = errors.New("the listing was interrupted by changes")

// attempts are far more than needed: even on a busy host a listing takes milliseconds.
const attempts = 100

// Complete calls list until it returns something else than [ErrInterrupted], or the error by which
// vishvananda/netlink says the same. It gives up after many attempts.
func Complete[T any](list func() (T, error)) (T, error) {
	var none T
	for range attempts {
		all, err := list()
		if !errors.Is(err, ErrInterrupted) && !errors.Is(err, vnetlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return none, fmt.Errorf("gave up after %d attempts: %w", attempts, ErrInterrupted)
}

// Check returns [ErrInterrupted] if one of the messages of a listing says so.
func Check(messages []netlink.Message) error {
	for _, m := range messages {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return ErrInterrupted
		}
	}
	return nil
}
