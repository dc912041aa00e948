package child_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/child"
)

func here(fn func() error) error { return fn() }

// closed notes that it was closed.
type closed bool

func (c *closed) Close() error {
	*c = true
	return nil
}

func TestRunsToItsEnd(t *testing.T) {
	var held closed
	c, err := child.Start(exec.Command("sh", "-c", "exit 3"), here, &held)
	require.NoError(t, err)
	require.Equal(t, 3, c.Status())
	require.True(t, bool(held))
	require.NoError(t, c.Kill(), "it has ended")
	require.ErrorIs(t, c.Signal(syscall.SIGTERM), os.ErrProcessDone)
}

func TestIsKilled(t *testing.T) {
	c, err := child.Start(exec.Command("sleep", "1000"), here)
	require.NoError(t, err)
	select {
	case <-c.Ended():
		t.Fatal("it ends at once")
	default:
	}
	group, err := syscall.Getpgid(c.PID())
	require.NoError(t, err)
	require.Equal(t, c.PID(), group, "Ctrl-C would reach it")
	require.NoError(t, c.Kill())
	require.Equal(t, -1, c.Status())
}

func TestWhatCannotBeStartedHoldsNothing(t *testing.T) {
	var held closed
	_, err := child.Start(exec.Command("/nonexistent"), here, &held)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.True(t, bool(held))

	held = false
	away := errors.New("there is no such place")
	_, err = child.Start(exec.Command("true"), func(func() error) error { return away }, &held)
	require.ErrorIs(t, err, away)
	require.True(t, bool(held))
}
