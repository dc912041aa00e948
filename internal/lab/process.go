package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/l3kit/l3kit/internal/netns"
)

// process is a program that runs for as long as the caller does, unless it is ended before. What it says goes to a file.
type process struct {
	name string
	args []string
	env  []string
	ns   string // path of the namespace that it runs in
	log  string // path of the file, which begins anew at every start

	cmd   *exec.Cmd     // nil when not running
	ended chan struct{} // closed when cmd has ended
}

// start starts the process and waits until it is ready.
func (p *process) start(ctx context.Context, ready func() bool) error {
	if p.cmd != nil {
		return fmt.Errorf("%s runs already", p.name)
	}
	if err := p.run(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended at once: %w", p.name, errors.Join(p.kill(), p.lastWords()))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.name, errors.Join(ctx.Err(), p.kill(), p.lastWords()))
		}
	}
	return nil
}

// run gives the process a thread for its whole life: Linux kills it when the thread ends that started it, which is sooner than when the program
// ends (PR_SET_PDEATHSIG(2const)).
func (p *process) run() error {
	ns, err := netns.Open(p.ns)
	if err != nil {
		return err
	}
	log, err := os.Create(p.log)
	if err != nil {
		return errors.Join(err, ns.Close())
	}
	cmd := exec.Command(p.name, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // Ctrl-C is for us, who end it in order
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		defer log.Close()
		defer ns.Close()
		entered := netns.Do(int(ns.Fd()), func() error {
			err := cmd.Start()
			started <- err
			if err == nil {
				_ = cmd.Wait() // how it ended, the log says
			}
			return nil
		})
		if entered != nil {
			started <- entered
		}
	}()
	if err := <-started; err != nil {
		<-ended
		return err
	}
	p.cmd, p.ended = cmd, ended
	return nil
}

// kill ends the process, if it runs, and waits for its end.
func (p *process) kill() error {
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.ended
	p.cmd = nil
	return err
}

// said is everything that the process has said since it started.
func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// lastWords is the end of that, as an error.
func (p *process) lastWords() error {
	const most = 10
	lines := strings.Split(strings.TrimSpace(p.said()), "\n")
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return errors.New(strings.Join(lines, "\n"))
}
