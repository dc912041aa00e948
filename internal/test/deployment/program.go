package deployment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/l3kit/l3kit/internal/test/child"
)

// Command is what a program is started with: a file, which need not be there on the machine that it
// runs on, and additions to its environment.
type Command struct {
	File string
	Env  []string
}

// program is the environment variable that makes a process which calls [Main] another program.
const program = "L3KIT_DEPLOYMENT_PROGRAM"

// Self is this process's own executable as one of the programs that it hands to [Main].
func Self(name string) Command {
	return Command{File: "/proc/self/exe", Env: []string{program + "=" + name}}
}

// Main runs one of the programs and ends the process, if that is what the process was started for
// by way of [Self]; else it returns at once. It is to be called before anything else. The program
// finds its arguments in os.Args, and fails by ending the process itself.
func Main(programs map[string]func()) {
	name, ok := os.LookupEnv(program)
	if !ok {
		return
	}
	run := programs[name]
	if name == busNode {
		run = runNode
	}
	if run == nil {
		fmt.Fprintf(os.Stderr, "no program %q\n", name)
		os.Exit(2)
	}
	run()
	os.Exit(0)
}

// Program is a program on a machine. It can be started again and again. Its methods are not to be
// called concurrently.
type Program struct {
	Name string
	Args []string // may be changed for the next start

	machine *Machine
	command Command
	log     string

	child *child.Child // nil when not running
}

// NewProgram does not start it. What it says is appended to a file in the directory logs.
func (m *Machine) NewProgram(logs, name string, c Command, args ...string) *Program {
	return &Program{Name: name, Args: args, machine: m, command: c, log: filepath.Join(logs, name+".log")}
}

// Start starts the program and returns as soon as it runs. It is killed when this process ends.
func (p *Program) Start() error {
	if p.child != nil {
		return fmt.Errorf("%s runs already", p.Name)
	}
	file, err := os.Open(p.command.File)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	cmd := &exec.Cmd{
		// By way of our open file, because the machine may have something else at that path.
		Path:   fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()),
		Args:   append([]string{p.Name}, p.Args...),
		Env:    append(environment(), p.command.Env...),
		Dir:    "/",
		Stdout: log,
		Stderr: log,
	}
	if p.child, err = child.Start(cmd, p.machine.Do, file, log); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	return nil
}

// environment is ours without what would be flags for the programs. The race detector, if there is
// one, is not to hold up the end of a program by a second.
func environment() []string {
	env := []string{"GORACE=atexit_sleep_ms=0"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "L3KIT_") {
			env = append(env, e)
		}
	}
	return env
}

// Run runs the program to its end. It returns what it wrote meanwhile, and its exit status.
func (p *Program) Run(ctx context.Context) (said string, status int, err error) {
	before := p.Said()
	if err := p.Start(); err != nil {
		return "", 0, err
	}
	status, err = p.Wait(ctx)
	return strings.TrimPrefix(p.Said(), before), status, err
}

// Wait waits until the program has ended by itself. If ctx ends first, it goes on.
func (p *Program) Wait(ctx context.Context) (status int, err error) {
	if p.child == nil {
		return 0, fmt.Errorf("%s does not run", p.Name)
	}
	select {
	case <-p.child.Ended():
	case <-ctx.Done():
		return 0, fmt.Errorf("%s does not end: %w", p.Name, ctx.Err())
	}
	status = p.child.Status()
	p.child = nil
	return status, nil
}

// Terminate tells the program to end and waits until it has. A program that does not say that all
// is well fails.
func (p *Program) Terminate(ctx context.Context) error {
	if p.child == nil {
		return fmt.Errorf("%s does not run", p.Name)
	}
	if err := p.child.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("terminate %s: %w: %w", p.Name, err, p.LastWords())
	}
	status, err := p.Wait(ctx)
	if err == nil && status != 0 {
		err = fmt.Errorf("%s ended with status %d: %w", p.Name, status, p.LastWords())
	}
	return err
}

// Kill ends the program at once, if it runs, and waits for its end.
func (p *Program) Kill() error {
	if p.child == nil {
		return nil
	}
	err := p.child.Kill()
	p.child = nil
	return err
}

// Running says whether the program was started and has not ended.
func (p *Program) Running() bool {
	if p.child == nil {
		return false
	}
	select {
	case <-p.child.Ended():
		return false
	default:
		return true
	}
}

// PID is that of the running program; 0: it does not run.
func (p *Program) PID() int {
	if !p.Running() {
		return 0
	}
	return p.child.PID()
}

// Said is everything that the program has said, from its first start on.
func (p *Program) Said() string {
	text, err := os.ReadFile(p.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

// LastWords is the end of that, as an error.
func (p *Program) LastWords() error {
	const most = 25
	lines := strings.Split(strings.TrimSpace(p.Said()), "\n")
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return fmt.Errorf("%s said last:\n%s", p.Name, strings.Join(lines, "\n"))
}

// Ready waits until the program answers with 200 at a URL on its machine.
func (p *Program) Ready(ctx context.Context, url string) error {
	client := p.machine.HTTP()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for p.Running() {
		answer, why := client.Do(request)
		if why == nil {
			text := make([]byte, 1000)
			n, _ := answer.Body.Read(text)
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			why = errors.New(strings.TrimSpace(string(text[:n])))
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.child.Ended():
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w", p.Name, why, p.LastWords())
		}
	}
	return fmt.Errorf("%s has ended: %w", p.Name, p.LastWords())
}
