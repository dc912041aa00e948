package host

import (
	"context"
	"errors"
	"fmt"
	"io"

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

// Run is called by kong. A port that the API does not have any more is detached by its ID. Of a
// port whose workload has gone it removes what is left on the host.
func (d *Detach) Run(ctx context.Context, out io.Writer) (err error) {
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
	port, err := portNamed(ctx, api, d.Port)
	deleted := errors.Is(err, errNoPort)
	if deleted {
		port.ID = d.Port
	} else if err != nil {
		return err
	}
	w, err := d.wire(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	found, err := d.detach(ctx, w, port.ID)
	if err != nil {
		return err
	}
	if !found {
		left, err := w.RemoveWorkloads(ctx, func(id string) bool { return id == port.ID })
		if err != nil {
			return err
		}
		found = len(left) > 0 || !deleted && port.HostID == host && !port.service()
	}
	if !deleted && port.HostID != "" && found {
		if err := bind(ctx, api, &port, ""); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("detach port %s: nothing on this host is attached to it", d.Port)
	}
	_, err = fmt.Fprintf(out, "detached port %s\n", port.ID)
	return err
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
