package nlmsg_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/nlmsg"
)

func TestAttributesAreReadAsWritten(t *testing.T) {
	b := nlmsg.Append(nil, 1, "text\x00")
	b = nlmsg.AppendNested(b, 2, func(b []byte) []byte { return nlmsg.Append(b, 3, []byte{10, 0, 0, 1}) })
	got := map[uint16]string{}
	for kind, v := range nlmsg.Attributes(b) {
		got[kind] = string(v)
		if kind == 2 {
			for kind, v := range nlmsg.Attributes(v) {
				require.EqualValues(t, 3, kind)
				require.Equal(t, netip.MustParseAddr("10.0.0.1"), nlmsg.Addr(v))
			}
		}
	}
	require.Len(t, got, 2)
	require.Equal(t, "text", nlmsg.Text([]byte(got[1])))
	for cut := range b { // a length that leads beyond the end ends the list
		for _, v := range nlmsg.Attributes(b[:cut]) {
			require.LessOrEqual(t, len(v), cut)
		}
	}
}

// A value of another length than its type has is zero, and does not panic.
func TestValuesOfOtherLengths(t *testing.T) {
	for n := range 9 {
		v := make([]byte, n)
		for i := range v {
			v[i] = 0xff
		}
		require.Equal(t, n == 1, nlmsg.Uint8(v) != 0, n)
		require.Equal(t, n == 2, nlmsg.Uint16(v) != 0, n)
		require.Equal(t, n == 2, nlmsg.Port(v) != 0, n)
		require.Equal(t, n == 4, nlmsg.Uint32(v) != 0, n)
		require.Equal(t, n == 4, nlmsg.Int(v) == -1, n)
		require.Equal(t, n == 4, nlmsg.Addr(v).IsValid(), n)
	}
}

func TestErrno(t *testing.T) {
	refusal := -int32(unix.ENODEV)
	answer := binary.NativeEndian.AppendUint32(nil, uint32(refusal))
	require.Equal(t, unix.ENODEV, nlmsg.Errno(append(answer, "the request"...)))
	require.Zero(t, nlmsg.Errno(make([]byte, 4)))
	require.Zero(t, nlmsg.Errno(nil), "the end of a listing may say nothing")
}

func TestWalkRefusesWhatMakesNoSense(t *testing.T) {
	message := func(length uint32) []byte {
		return append(binary.NativeEndian.AppendUint32(nil, length), make([]byte, 16)...)
	}
	seen := 0
	count := func(unix.NlMsghdr, []byte) { seen++ }
	require.NoError(t, nlmsg.Walk(append(message(20), message(17)...), count))
	require.Equal(t, 2, seen)
	require.Error(t, nlmsg.Walk(message(15), count))
	require.Error(t, nlmsg.Walk(message(21), count))
	require.Equal(t, 2, seen)
}
