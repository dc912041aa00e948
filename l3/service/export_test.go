package service

import (
	"context"

	"github.com/l3kit/l3kit/l3"
)

// IntentOf reads the intent of a router, without its floating IPs.
func IntentOf(ctx context.Context, tx l3.Tx, id string) (Intent, error) { return intentOf(ctx, tx, id) }
