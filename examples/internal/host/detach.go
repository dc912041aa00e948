package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
)

// Detach is the command that takes a workload off its network.
type Detach struct {
	Port string `arg:"" help:"ID or name of a port that was attached on this host."`

	Host string `placeholder:"NAME" help:"This host's name. Default: that of the agent that runs here, or else the machine's."`
	API
	Machine
}

// answerTime is how long a port that is attached here waits for the API to say what it knows of it.
const answerTime = 10 * time.Second

// Run is called by kong. A port that is found on this host by its ID is detached whether or not the
// API answers, and has it. Of a port whose workload has gone it removes what is left on the host.
func (d *Detach) Run(ctx context.Context, out io.Writer) (err error) {
	if err := Privileged(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	host, err := (&Agent{Host: d.Host}).Name()
	if err != nil {
		return err
	}
	api, err := d.client()
	if err != nil {
		return err
	}
	w, err := d.wire(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	port, untold, err := d.find(ctx, w, api)
	if err != nil {
		return err
	}
	found, err := d.detach(ctx, w, port.ID)
	if err != nil {
		return err
	}
	if !found {
		left, err := w.RemoveWorkloads(ctx, func(id string) bool { return id == port.ID })
		if err != nil {
			return err
		}
		found = len(left) > 0
	}
	if port.HostID == host && !port.service() {
		err := bind(ctx, api, &port, "")
		if !found && err != nil {
			return err
		}
		found, untold = true, err
	}
	if !found {
		return fmt.Errorf("detach port %s: nothing on this host is attached to it", d.Port)
	}
	if untold != nil {
		fmt.Fprintf(os.Stderr, "cannot tell the API, which may show the port bound to host %s until this command is run again: %s\n", host, untold)
	}
	_, err = fmt.Fprintf(out, "detached port %s\n", port.ID)
	return err
}

// find returns the port. If that is known by its ID alone, because the API does not say anything
// about it, untold says why not; nil: the API does not have it.
func (d *Detach) find(ctx context.Context, w wiring, api *gophercloud.ServiceClient) (port apiPort, untold, err error) {
	here, err := d.here(ctx, w)
	if err != nil {
		return port, nil, err
	}
	asking, cancel := ctx, context.CancelFunc(func() {})
	if here {
		asking, cancel = context.WithTimeout(ctx, answerTime)
	}
	defer cancel()
	port, err = portNamed(asking, api, d.Port)
	switch {
	case err == nil:
		return port, nil, nil
	case errors.Is(err, errNoPort):
		return apiPort{ID: d.Port}, nil, nil
	case ctx.Err() != nil:
		return port, nil, ctx.Err()
	case here:
		return apiPort{ID: d.Port}, err, nil
	}
	return port, nil, fmt.Errorf("detach port %s: no port with this ID is attached on this host, and the API does not say which has this name: %w",
		d.Port, err)
}

// here reports whether the host has something of a port with the ID that was given.
func (d *Detach) here(ctx context.Context, w wiring) (bool, error) {
	ports, err := w.Networks(ctx, "") // of workloads, those that have gone too
	if err != nil {
		return false, err
	}
	if _, left := ports[d.Port]; left {
		return true, nil
	}
	places, err := d.places(d.Port)
	return len(places) > 0, err
}

// detach takes a port off every namespace that it is attached in.
func (d *Detach) detach(ctx context.Context, w wiring, port string) (found bool, err error) {
	err = d.eachPlace(port, func(p place, ns namespace.NS) error {
		found = true
		if p.tap {
			return workload.DetachTap(ctx, w, ns, port)
		}
		return workload.Detach(ctx, w, ns, p.device)
	})
	return found, err
}
