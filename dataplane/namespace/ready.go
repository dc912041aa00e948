package namespace

import (
	"context"
	"errors"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// Ready implements [dataplane.Dataplane]. It makes a nameless namespace, and has the firewall plan
// an empty router in it, so that it fails for whatever Apply would fail for.
func (d *Dataplane) Ready(ctx context.Context) error {
	return opError("check", "dataplane", d.ready(ctx))
}

func (d *Dataplane) ready(ctx context.Context) (err error) {
	if err := errors.Join(ctx.Err(), d.registry.open()); err != nil {
		return err
	}
	if w, ok := d.cfg.Wiring.(CheckedWiring); ok {
		err = w.Check(ctx)
	} else {
		_, err = d.cfg.Wiring.Routers(ctx)
	}
	if err != nil {
		return err
	}
	f, err := netns.New(nil)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := d.cfg.Firewall.Open(NS{FD: int(f.Fd())})
	if err != nil {
		return err
	}
	_, err = r.Plan(ctx, Change{Want: dataplane.Router{ID: "ready"}})
	return errors.Join(err, r.Close())
}
