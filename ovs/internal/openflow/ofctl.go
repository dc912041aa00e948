package openflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

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

// run gives the tool its input and returns what it says. It is killed when ctx ends.
func (o ofctl) run(ctx context.Context, input string, args ...string) (output string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, string(o), append([]string{"-O", "OpenFlow14"}, args...)...)
	cmd.WaitDelay = lastWords
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &complaint
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

// add writes a bundle.
func (o ofctl) add(ctx context.Context, socket, bundle string) error {
	_, err := o.run(ctx, bundle, "--bundle", "add-flows", "unix:"+socket, "-")
	return err
}

// differ returns the cookies of those flows that the bridge does not have just so. Timeouts, if
// somebody set one, count.
func (o ofctl) differ(ctx context.Context, socket, flows string) (map[cookie]bool, error) {
	const differences = 2 // exit status
	output, err := o.run(ctx, flows, "diff-flows", "/dev/stdin", "unix:"+socket)
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
