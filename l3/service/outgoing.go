package service

import (
	"context"

	"github.com/l3kit/l3kit/l3"
)

// Committed implements [l3.Outgoing].
func (s *Service) Committed() <-chan struct{} { return s.committed }

// Unpublished implements [l3.Outgoing].
func (s *Service) Unpublished(ctx context.Context, limit int) (notices []l3.Notice, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) (err error) {
		notices, err = tx.Outbox().Next(ctx, limit)
		return err
	})
	return notices, err
}

// Published implements [l3.Outgoing].
func (s *Service) Published(ctx context.Context, notices []l3.Notice) error {
	if len(notices) == 0 {
		return nil
	}
	last := notices[len(notices)-1].Seq
	return s.config.Store.Update(ctx, func(tx l3.Tx) error { return tx.Outbox().Done(ctx, last) })
}

var _ l3.ControlPlane = (*Service)(nil)
