package natsbus

import (
	"context"
	"log/slog"
	"time"
)

// Publisher and Consumer are the halves of [Bus.Run], for tests that run one without the other.
type (
	Publisher = publisher
	Consumer  = consumer
)

var (
	NewPublisher = newPublisher
	NewConsumer  = newConsumer
)

// SetPoll sets how often a publisher looks without being told.
func (p *publisher) SetPoll(d time.Duration, log *slog.Logger) { p.poll, p.log = d, log }

// Bus returns the bus that the publisher writes to.
func (p *publisher) Bus() *Bus { return p.bus }

// ReconcileNow compares everything at once.
func (p *publisher) ReconcileNow(ctx context.Context) error { return p.reconcileNow(ctx) }

// Release ends the claim on the database.
func (b *Bus) Release(ctx context.Context) error { return b.release(ctx) }

// Identify reads the identity of the bus, or gives it one.
func (b *Bus) Identify(ctx context.Context) error { return b.identify(ctx) }
