package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/l3kit/l3kit/l3"
)

// deployment is [l3.DeploymentRow] in a transaction.
type deployment struct{ tx *tx }

// Get reads the row.
func (s deployment) Get(ctx context.Context) (d l3.Deployment, err error) {
	err = s.tx.query(ctx, func(r row) error {
		var epoch int64
		var bus string
		if err := r.Scan(&d.ID, &epoch, &bus); err != nil {
			return err
		}
		d.Epoch = uint64(epoch)
		return json.Unmarshal([]byte(bus), &d.Bus)
	}, "SELECT id, epoch, bus FROM deployment")
	if err == nil && d.ID == "" {
		err = l3.ErrAbsent
	}
	if err != nil {
		return d, fmt.Errorf("read the identity of the database: %w", err)
	}
	return d, nil
}

// RaiseEpoch makes the highest epoch at least as high as given.
func (s deployment) RaiseEpoch(ctx context.Context, epoch uint64) error {
	if _, err := s.tx.exec(ctx, "UPDATE deployment SET epoch = $1 WHERE epoch < $1", int64(epoch)); err != nil {
		return fmt.Errorf("raise the epoch: %w", err)
	}
	return nil
}

// SetBus records who serves the database.
func (s deployment) SetBus(ctx context.Context, claim l3.BusClaim) error {
	text, err := json.Marshal(claim)
	if err == nil {
		_, err = s.tx.exec(ctx, "UPDATE deployment SET bus = $1", string(text))
	}
	if err != nil {
		return fmt.Errorf("record the message queue: %w", err)
	}
	return nil
}

// NextEpoch is higher than any that was given before.
func (s deployment) NextEpoch(ctx context.Context) (uint64, error) {
	var epoch int64
	err := s.tx.query(ctx, func(r row) error { return r.Scan(&epoch) }, "UPDATE deployment SET epoch = epoch + 1 RETURNING epoch")
	if err != nil {
		return 0, fmt.Errorf("take the next epoch: %w", err)
	}
	return uint64(epoch), nil
}
