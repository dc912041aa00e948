package openflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// ofctl is the path of ovs-ofctl(8).
type ofctl string

func findOfctl() (ofctl, error) {
	path, err := exec.LookPath("ovs-ofctl")
	if err != nil {
		return "", fmt.Errorf("%w: ovs-ofctl is missing: install Open vSwitch (%w)", dataplane.ErrUnsupported, err)
	}
	return ofctl(path), nil
}

// lastWords is how long output is waited for once the tool is dead.
const lastWords = time.Second

// run gives the tool its input and returns what it says. It is killed when ctx ends. It inherits
// files, and has all its input from the beginning, so that it finishes what it began, and holds the
// files meanwhile, if this process is killed.
func (o ofctl) run(ctx context.Context, input string, held []*os.File, args ...string) (output string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	in, err := memory(input)
	if err != nil {
		return "", err
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, string(o), append([]string{"-O", "OpenFlow14"}, args...)...)
	cmd.WaitDelay = lastWords
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = in, &out, &complaint, held
	err = cmd.Run()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		err = complain(complaint.String(), input, err)
	}
	return out.String(), err
}

// memory returns a file that holds text, to be read from its beginning.
func memory(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("flows", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "flows")
	if _, err = f.WriteString(text); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// add writes a bundle.
func (o ofctl) add(ctx context.Context, socket, bundle string, held []*os.File) error {
	_, err := o.run(ctx, bundle, held, "--bundle", "add-flows", "unix:"+socket, "-")
	return err
}

// differ returns the cookies of those flows that the bridge does not have just so. Timeouts, if
// somebody set one, count.
func (o ofctl) differ(ctx context.Context, socket, flows string) (map[cookie]bool, error) {
	const differences = 2 // exit status
	output, err := o.run(ctx, flows, nil, "diff-flows", "/dev/stdin", "unix:"+socket)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == differences {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	differ := map[cookie]bool{}
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "-") { // what the bridge has instead, or besides
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if text, ok := strings.CutPrefix(word, "cookie="); ok {
				var c cookie
				if _, err := fmt.Sscanf(text, "%v", (*uint64)(&c)); err != nil {
					return nil, fmt.Errorf("ovs-ofctl diff-flows: %q: %w", strings.TrimSpace(line), err)
				}
				differ[c] = true
			}
		}
	}
	return differ, nil
}
