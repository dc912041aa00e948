// Package child starts programs that end with this process, however it ends.
package child

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Child is a program that was started.
type Child struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start starts a program on a thread that enter brings to where it is to run, and that lives as
// long as it: Linux kills it when the thread ends that started it, which may be sooner than when
// the process does (PR_SET_PDEATHSIG(2const)). Ctrl-C does not reach it, for whoever started it
// ends it, in order. Held is closed once it has ended, or if it could not be started.
func Start(cmd *exec.Cmd, enter func(func() error) error, held ...io.Closer) (*Child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	c := &Child{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(c.ended)
		for _, h := range held {
			defer h.Close()
		}
		err := enter(func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			started <- nil
			_ = cmd.Wait() // how it ended is in cmd
			return nil
		})
		if cmd.Process == nil {
			started <- err
		}
	}()
	if err := <-started; err != nil {
		<-c.ended
		return nil, err
	}
	return c, nil
}

// PID is the program's, as long as it runs.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ended is closed when the program has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Status waits for the end and returns the exit status; -1 if it was killed.
func (c *Child) Status() int {
	<-c.ended
	return c.cmd.ProcessState.ExitCode()
}

// Signal sends a signal. To a program that has ended it is [os.ErrProcessDone].
func (c *Child) Signal(s os.Signal) error { return c.cmd.Process.Signal(s) }

// Kill ends the program at once, if it runs, and waits for its end.
func (c *Child) Kill() error {
	err := c.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-c.ended
	return err
}
