// Package claim has what all buses do to claim the database that they serve.
package claim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// RenewEvery is the time between two renewals of a claim.
const RenewEvery = l3.BusClaimTime / 3

// ServerName names this process to people: host name and process ID.
func ServerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}

// First calls try, which claims a database. If another bus has a claim, it waits until that one is
// renewed, which means that the other bus is in use and this one is refused, or has lapsed.
func First(ctx context.Context, log *slog.Logger, try func(context.Context) error) error {
	var seen time.Time
	for {
		err := try(ctx)
		var other *l3.OtherBusError
		if !errors.As(err, &other) {
			return err
		}
		at := other.Deployment.Bus.SeenAt
		if !seen.IsZero() && at.After(seen) {
			return err
		}
		if seen.IsZero() {
			log.Warn("waiting for the claim of another bus on the database to lapse", "err", err)
		}
		seen = at
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
