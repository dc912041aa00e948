package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/child"
)

// process is a program that runs for as long as the caller does, unless it is ended before. What it
// says goes to a file.
type process struct {
	name string
	args []string
	nice int // its niceness
	env  []string
	ns   string // path of the namespace that it runs in
	log  string // path of the file, which begins anew at every start

	child *child.Child // nil when not running
}

// start starts the process and waits until it is ready.
func (p *process) start(ctx context.Context, ready func() bool) error {
	if p.child != nil {
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
		case <-p.child.Ended():
			return fmt.Errorf("%s ended at once: %w", p.name, errors.Join(p.kill(), p.lastWords()))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.name, errors.Join(ctx.Err(), p.kill(), p.lastWords()))
		}
	}
	return nil
}

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
	p.child, err = child.Start(cmd, func(fn func() error) error { return netns.Do(int(ns.Fd()), fn) }, ns, log)
	if err != nil {
		return err
	}
	err = unix.Setpriority(unix.PRIO_PROCESS, p.child.PID(), p.nice) // the threads that it starts inherit that
	if errors.Is(err, unix.ESRCH) {
		return nil // it has ended, which whoever waits for it will tell
	}
	return err
}

// kill ends the process, if it runs, and waits for its end.
func (p *process) kill() error {
	if p.child == nil {
		return nil
	}
	err := p.child.Kill()
	p.child = nil
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
