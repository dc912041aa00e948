package host

import (
	"context"
	"errors"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// flagNames says in flags what the packages below say in fields of their configurations.
var flagNames = strings.NewReplacer(
	"set Config.Datapath to ovs.Netdev", "give --ovs-datapath=netdev", "Config.Datapath", "--ovs-datapath",
	"set Config.VXLAN.Local", "give --tunnel-address", "set Config.Tunnel.Local", "give --tunnel-address",
	"Config.Physical", "--physical", "Config.Direct", "--ovs-direct",
)

// flagError is an error whose text names flags.
type flagError struct {
	text string
	err  error
}

func (e *flagError) Error() string { return e.text }
func (e *flagError) Unwrap() error { return e.err }

// inFlags lets an error name flags.
func inFlags(err error) error {
	if err == nil {
		return nil
	}
	if text := flagNames.Replace(err.Error()); text != err.Error() {
		return &flagError{text, err}
	}
	return err
}

// atStart is inFlags for what is found out when a process starts: what is invalid then is a setting.
func atStart(err error) error {
	if errors.Is(err, dataplane.ErrInvalid) {
		return setting.Errorf("%w", inFlags(err))
	}
	return inFlags(err)
}

// Apply is the dataplane's.
func (s *site) Apply(ctx context.Context, r dataplane.Router) (dataplane.Plan, error) {
	plan, err := s.Dataplane.Apply(ctx, r)
	return plan, inFlags(err)
}

// Plan is the dataplane's.
func (s *site) Plan(ctx context.Context, r dataplane.Router) (dataplane.Plan, error) {
	plan, err := s.Dataplane.Plan(ctx, r)
	return plan, inFlags(err)
}
