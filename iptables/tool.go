package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// Variant is one of the two programs that are called iptables. They write into different parts of
// the kernel.
type Variant string

// The variants of iptables.
const (
	Auto   Variant = ""       // that of iptables-restore on PATH; where there is no such program, the other one that is there
	NFT    Variant = "nft"    // by way of nf_tables: iptables-nft
	Legacy Variant = "legacy" // by way of ip_tables: iptables-legacy
)

// String is the variant's name for people.
func (v Variant) String() string {
	if v == Auto {
		return "iptables"
	}
	return "iptables-" + string(v)
}

func (v Variant) other() Variant {
	if v == NFT {
		return Legacy
	}
	return NFT
}

// DefaultTimeout is how long one run of a tool, or waiting for a lock, may take.
const DefaultTimeout = 10 * time.Second

// tool runs iptables-restore and iptables-save of one variant, or ip6tables-restore and
// ip6tables-save.
type tool struct {
	variant Variant
	path    string // of iptables-restore
	random  string // what asks for fully random ports, in the best way that the tool knows
	limit   time.Duration

	mu  sync.Mutex
	six *tool // the same for IPv6; nil until first used
}

// of is the tool for a family. That for IPv6 is looked for when it is first needed.
func (t *tool) of(ctx context.Context, f family) (*tool, error) {
	if f == ipv4 {
		return t, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.six == nil {
		six, err := t.find6(ctx)
		if err != nil {
			return nil, err
		}
		t.six = six
	}
	return t.six, nil
}

// find6 looks for ip6tables-restore of the same variant, first beside the one for IPv4.
func (t *tool) find6(ctx context.Context) (*tool, error) {
	dir, name := filepath.Split(t.path)
	named := "ip6tables-" + string(t.variant) + "-restore"
	var others []string
	for _, name := range []string{dir + "ip6" + strings.TrimPrefix(name, "ip"), named, "ip6tables-restore"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		six := &tool{path: path, limit: t.limit}
		if six.variant, err = six.variantOf(ctx, path); err != nil {
			return nil, err
		}
		if six.variant == t.variant {
			return six, nil
		}
		others = append(others, fmt.Sprintf("%s is %s", path, six.variant))
	}
	err := fmt.Errorf("%w: %s is not installed, or not in PATH (package iptables)", dataplane.ErrUnsupported, named)
	if others != nil {
		err = fmt.Errorf("%w: %s", err, strings.Join(others, ", "))
	}
	return nil, &dataplane.OpError{Op: "find", Object: named, Err: err}
}

// find looks for a tool of a variant, and asks it what it is.
func find(ctx context.Context, v Variant, limit time.Duration) (*tool, error) {
	names := map[Variant][]string{
		Auto:   {"iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"},
		NFT:    {"iptables-nft-restore", "iptables-restore"},
		Legacy: {"iptables-legacy-restore", "iptables-restore"},
	}[v]
	if names == nil {
		return nil, &dataplane.OpError{Op: "find", Object: "iptables-restore", Err: fmt.Errorf("no such variant of iptables: %q", string(v))}
	}
	var others []string
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		t := &tool{path: path, limit: limit}
		if err := t.probe(ctx); err != nil {
			return nil, err
		}
		if v == Auto || v == t.variant {
			return t, nil
		}
		others = append(others, fmt.Sprintf("%s is %s", path, t.variant))
	}
	err := fmt.Errorf("%w: %s is not installed, or not in PATH (package iptables)", dataplane.ErrUnsupported, names[0])
	if others != nil {
		err = fmt.Errorf("%w: %s", err, strings.Join(others, ", "))
	}
	return nil, &dataplane.OpError{Op: "find", Object: names[0], Err: err}
}

// probe asks both programs for their version, which tells the variant.
func (t *tool) probe(ctx context.Context) (err error) {
	if t.variant, err = t.variantOf(ctx, t.path); err != nil {
		return err
	}
	saver, err := t.variantOf(ctx, t.saver())
	if err != nil {
		return err
	}
	if saver != t.variant {
		err := fmt.Errorf("%w: it is %s, while %s is %s", dataplane.ErrUnsupported, saver, t.path, t.variant)
		return &dataplane.OpError{Op: "use", Object: t.saver(), Err: err}
	}
	features, err := goiptables.New(goiptables.Path(t.path)) // of a program that has just shown that it answers: this waits without limit
	if err != nil {
		return &dataplane.OpError{Op: "ask for features of", Object: t.path, Err: err}
	}
	t.random = " --random"
	if features.HasRandomFully() {
		t.random = " --random-fully"
	}
	return nil
}

func (t *tool) variantOf(ctx context.Context, path string) (Variant, error) {
	out, err := t.run(ctx, process{}, path, "--version")
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: it is not installed (package iptables): %w", dataplane.ErrUnsupported, err)
	}
	if err != nil {
		return "", &dataplane.OpError{Op: "ask for version of", Object: path, Err: err}
	}
	switch version := string(bytes.TrimSpace(out)); {
	case strings.HasSuffix(version, "(nf_tables)"):
		return NFT, nil
	case strings.HasSuffix(version, "(legacy)"):
		return Legacy, nil
	default: // before 1.8.0 there was only one, which did not say
		err := fmt.Errorf("%w: its version is %q, and neither variant of iptables 1.8 or later", dataplane.ErrUnsupported, version)
		return "", &dataplane.OpError{Op: "use", Object: path, Err: err}
	}
}

// saver is the path of iptables-save.
func (t *tool) saver() string {
	dir, name := filepath.Split(t.path)
	return dir + strings.Replace(name, "-restore", "-save", 1)
}

// save returns what iptables-save prints of all tables, with counters.
func (t *tool) save(ctx context.Context, ns namespace.NS) ([]byte, error) {
	out, err := t.run(ctx, process{ns: &ns}, t.saver(), "--counters")
	if err != nil {
		return nil, &dataplane.OpError{Op: "read rules with", Object: t.saver(), Err: err}
	}
	return out, nil
}

// test lets the tool read a script and do nothing.
func (t *tool) test(ctx context.Context, ns namespace.NS, script string) error {
	return t.feed(ctx, ns, script, nil, "--test")
}

// restore lets the tool carry out a script, under a lock.
func (t *tool) restore(ctx context.Context, ns namespace.NS, script string, l lock) error {
	return t.feed(ctx, ns, script, l)
}

func (t *tool) feed(ctx context.Context, ns namespace.NS, script string, l lock, options ...string) error {
	options = append(options, "--noflush", "--counters")
	if _, err := t.run(ctx, process{ns: &ns, input: script, files: l}, t.path, options...); err != nil {
		return &dataplane.OpError{Op: "write rules with", Object: t.path, Err: err}
	}
	return nil
}

// process is what a program is run with.
type process struct {
	ns    *namespace.NS // nil: in the caller's
	input string
	files []*os.File // that it keeps open
}

// run runs a program. One that takes too long is killed, with all that it started.
func (t *tool) run(ctx context.Context, with process, path string, args ...string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(limited, path, args...)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(with.input), &stdout, &stderr
	c.ExtraFiles = with.files
	c.Env = append(os.Environ(), "LC_ALL=C", lockVariable+"="+noLock) // we have the lock, and errors are to be in English
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	start := c.Start
	if with.ns != nil {
		start = func() error { return with.ns.Do(c.Start) } // a child is born into the namespace of the thread that starts it
	}
	err := start()
	if err == nil {
		err = c.Wait()
	}
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, fmt.Errorf("it took longer than %v, and was killed: %w", t.limit, limited.Err())
	}
	return nil, refusal(err, stderr.String(), with.input)
}
