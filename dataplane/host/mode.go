package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/ovs"
)

// CheckAnycast returns an error if this host cannot have edges of distributed routers: it is
// [dataplane.ErrUnsupported], and says what the host lacks to keep anycast ports to itself. It
// writes nothing.
func (w *Wiring) CheckAnycast(ctx context.Context) error {
	switch d := w.driver.(type) {
	case *ovs.Driver:
		return ctx.Err() // by flows that every Open vSwitch has
	case interface{ CheckAnycast(context.Context) error }:
		return d.CheckAnycast(ctx)
	}
	return fmt.Errorf("check anycast ports: %w: wiring %s does not keep them to the host", dataplane.ErrUnsupported, w.config.Wiring)
}

// mode is that of Config.Mode, or what the host can do.
func (w *Wiring) mode(ctx context.Context) (string, error) {
	wanted := w.config.Mode
	if wanted == agent.ModeLegacy {
		return wanted, nil
	}
	switch err := w.CheckAnycast(ctx); {
	case err == nil:
	case !errors.Is(err, dataplane.ErrUnsupported):
		return "", fmt.Errorf("open host: %w", err)
	case wanted != "":
		return "", &ConfigError{"Mode", fmt.Errorf("%s is for hosts that can have edges of distributed routers: %w", wanted, err), dataplane.ErrUnsupported}
	default:
		w.config.Logger.Info("this host takes no part in distributed routers", "mode", agent.ModeLegacy, "err", err)
		return agent.ModeLegacy, nil
	}
	able := agent.ModeDVRSNAT
	if len(w.config.Physical) == 0 {
		able = agent.ModeDVRNoExternal
	}
	return cmp.Or(wanted, able), nil
}
