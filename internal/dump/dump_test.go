package dump_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	vnetlink "github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/internal/dump"
)

func TestAnInterruptedListingIsRepeated(t *testing.T) {
	for _, interrupted := range []error{dump.ErrInterrupted, vnetlink.ErrDumpInterrupted, fmt.Errorf("list links: %w", vnetlink.ErrDumpInterrupted)} {
		calls := 0
		list, err := dump.Complete(func() ([]int, error) {
			if calls++; calls < 3 {
				return []int{1}, interrupted
			}
			return []int{1, 2}, nil
		})
		require.NoError(t, err)
		require.Equal(t, []int{1, 2}, list)
		require.Equal(t, 3, calls)
	}
}

func TestItEnds(t *testing.T) {
	calls := 0
	list, err := dump.Complete(func() ([]int, error) { calls++; return []int{1}, dump.ErrInterrupted })
	require.ErrorIs(t, err, dump.ErrInterrupted)
	require.Nil(t, list, "a part is not the whole")
	require.Equal(t, 100, calls)
	boom := errors.New("boom")
	_, err = dump.Complete(func() (int, error) { return 0, boom })
	require.ErrorIs(t, err, boom)
}

func TestCheckLooksAtEveryMessage(t *testing.T) {
	require.NoError(t, dump.Check([]netlink.Message{{}, {}}))
	require.ErrorIs(t, dump.Check([]netlink.Message{{}, {Header: netlink.Header{Flags: netlink.Multi | netlink.DumpInterrupted}}, {}}), dump.ErrInterrupted)
}
