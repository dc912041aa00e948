package service

import (
	"context"
	"reflect"
	"strings"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// maxReason bounds what is kept of the reason of a failure, in bytes.
const maxReason = 4096

// Report takes what the host of a router reports of it. A report of an earlier host, or one that is
// older than what is known, changes nothing; nor does one of a revision that is yet to come,
// which the next inventory of the host explains.
func (s *Service) Report(ctx context.Context, r agent.Report) error {
	return s.update(ctx, func(w *work) error {
		if r.Gone {
			return s.confirm(ctx, w, r)
		}
		st, err := stateAt(ctx, w, r.Host, r.RouterID)
		if err != nil {
			return err
		}
		if st.AgentID == "" || st.Host != r.Host || st.Epoch != r.Epoch || r.Revision < st.Reported || r.Revision > st.Revision {
			return nil
		}
		if r.Revision == st.Reported && laterThan(&st, r) {
			return nil
		}
		reason := tidy(r.Error)
		if reason == "" {
			if reason, err = s.leftOut(ctx, w, st); err != nil {
				return err
			}
		}
		after := st
		after.Reported, after.Error = r.Revision, reason
		switch {
		case reason == "":
			after.Applied = r.Revision
		case st.Applied >= r.Revision:
			after.Applied = 0 // it ran and could not be repaired; the next inventory says what is left
		}
		after.ReportedAt, after.ReportedBy, after.ReportedSeq, after.Lagging = r.At.UTC(), r.Instance, r.Seq, 0
		if reflect.DeepEqual(st, after) {
			return nil
		}
		return save(ctx, w, after)
	})
}

// leftOut says what the host of a router leaves out of it, though it reports no failure; empty:
// nothing.
func (s *Service) leftOut(ctx context.Context, tx l3.Tx, st l3.RouterState) (string, error) {
	a, err := tx.Agents().Get(ctx, st.AgentID)
	if err != nil {
		return "", err
	}
	reasons, err := outdatedFor(ctx, tx, a, []l3.RouterState{st})
	return reasons[st.ID], err
}

// laterThan reports whether what is known was reported after r: by the numbers that one process
// gives, or, of two processes, by the clock of the message queue.
func laterThan(st *l3.RouterState, r agent.Report) bool {
	if r.Instance != "" && r.Instance == st.ReportedBy {
		return st.ReportedSeq > r.Seq
	}
	return !r.At.IsZero() && r.At.Before(st.ReportedAt)
}

// tidy makes text of a reason that every store can keep.
func tidy(reason string) string {
	reason = reason[:min(len(reason), maxReason)]
	return strings.ReplaceAll(strings.ToValidUTF8(reason, "\uFFFD"), "\x00", "\uFFFD")
}
