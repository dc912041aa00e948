package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/l3kit/l3kit/l3/natsbus"
)

// source is the host's source of routers, whose errors name flags.
type source struct {
	*natsbus.Client
	host string
}

func newSource(l natsbus.Login, log *slog.Logger) *source {
	l.Logger = log
	return &source{natsbus.NewClient(l), l.Host}
}

// keep has a connection until ctx ends; see [natsbus.Client.Run].
func (s *source) keep(ctx context.Context) error {
	err := s.Run(ctx)
	if !errors.Is(err, nats.ErrAuthorization) {
		return err
	}
	return fmt.Errorf("%w: the password is not that of host %s: on the server, in its directory or with its "+
		"--bus-secret-file, server credential %s prints it; "+
		"give it with --bus-password-file, or the right name with --host", err, s.host, s.host)
}
