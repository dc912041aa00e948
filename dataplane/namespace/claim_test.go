package namespace

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What is read late has come when it came.
func TestArrival(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	require.NoError(t, unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	require.NoError(t, unix.Sendto(pair[0], []byte("here"), 0, nil))
	sent := time.Now()
	time.Sleep(20 * time.Millisecond)
	var b, oob [64]byte
	_, n, _, _, err := unix.Recvmsg(pair[1], b[:], oob[:], 0)
	require.NoError(t, err)
	require.NotZero(t, n)
	require.WithinDuration(t, sent, arrival(oob[:n]), 19*time.Millisecond)
}
