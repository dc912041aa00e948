package failure_test

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
)

func TestFailure(t *testing.T) {
	require.NoError(t, failure.Of("write", "ip l3kit", nil))
	require.NoError(t, failure.Lack("nf_tables", nil))
	for err, want := range map[error]error{
		unix.EPERM:           dataplane.ErrPermission,
		unix.EACCES:          dataplane.ErrPermission,
		os.ErrClosed:         dataplane.ErrClosed,
		unix.EAFNOSUPPORT:    dataplane.ErrUnsupported,
		unix.ENOPROTOOPT:     dataplane.ErrUnsupported,
		unix.EOPNOTSUPP:      dataplane.ErrUnsupported,
		unix.EPROTONOSUPPORT: dataplane.ErrUnsupported,
		unix.EEXIST:          unix.EEXIST,
	} {
		got := failure.Of("write", "ip l3kit", failure.Lack("nf_tables", err))
		require.ErrorIs(t, got, want)
		require.ErrorIs(t, got, err)
		var op *dataplane.OpError
		require.True(t, errors.As(got, &op))
		require.Equal(t, got, &dataplane.OpError{Op: "write", Object: "ip l3kit", Err: op.Err})
	}
	twice := failure.Of("apply", "router", failure.Of("write", "ip l3kit", unix.EPERM))
	require.EqualError(t, twice, "apply router: write ip l3kit: needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN): operation not permitted")
}
