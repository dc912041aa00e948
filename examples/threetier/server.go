package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/l3kit/l3kit/internal/lab"
)

// server is allinone, running on a machine. It dies with the demonstration.
type server struct {
	machine *lab.Host
	command []string
	log     string // file that it writes to
	process *exec.Cmd
	ended   chan struct{}
}

// metricsAddr is where it says whether it is ready.
const metricsAddr = "127.0.0.1:9697"

// start returns when it is ready.
func (s *server) start(ctx context.Context) error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	// The thread that starts a process must live as long as it: PR_SET_PDEATHSIG(2const) looks at the thread.
	go func() {
		defer close(ended)
		defer log.Close()
		err := s.machine.Do(func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			started <- nil
			_ = cmd.Wait() // its log says why it ended
			return nil
		})
		if err != nil {
			started <- err
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start allinone: %w", err)
	}
	s.process, s.ended = cmd, ended
	return s.ready(ctx)
}

func (s *server) ready(ctx context.Context) error {
	for {
		r, err := request(ctx, s.machine, "", "http://"+metricsAddr+"/readyz")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.ended:
			s.process = nil
			return fmt.Errorf("allinone ended: %s", s.lastWords())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("allinone is not ready: %w: %s", context.Cause(ctx), s.lastWords()), s.stop(syscall.SIGKILL))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop sends a signal, and waits for the end.
func (s *server) stop(signal os.Signal) error {
	if s.process == nil {
		return nil
	}
	err := s.process.Process.Signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-s.ended
	s.process = nil
	return err
}

// lastWords is the end of its log, in one line.
func (s *server) lastWords() string {
	const most = 3
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], " | ")
}
