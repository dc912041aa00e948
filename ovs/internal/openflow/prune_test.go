package openflow_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Prune removes what nobody wants, outside the tables that it is told, and adds nothing. Others'
// flows stay.
func TestPrune(t *testing.T) {
	s := newSwitch(t)
	b, runs := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	_, err := s.Ofctl("add-flow", "br0", "cookie=0x77,priority=7,in_port=7,actions=drop")
	require.NoError(t, err)
	all := len(dump(t, s.Ofctl))

	before := runs()
	require.NoError(t, b.Prune(soon(t), append(some(), flow{0, 9, "in_port=9", "drop"}), nil))
	require.Equal(t, before, runs(), "nothing to remove")
	require.Len(t, dump(t, s.Ofctl), all)

	want := slices.DeleteFunc(some(), func(f flow) bool { return f.Table == 4 || f.Table == 21 })
	require.NoError(t, b.Prune(soon(t), want, []uint8{4}))
	require.Len(t, dump(t, s.Ofctl), all-1, "table 4 was left alone")
	require.NoError(t, b.Prune(soon(t), want, nil))
	require.Len(t, dump(t, s.Ofctl), all-2)
	requireSame(t, b, want)
}
