package l3

import (
	"context"
	"maps"
	"strings"
)

// maxReason bounds what is kept of the reason of a failure, in bytes.
const maxReason = 4096

// Report takes what the host of a router says of it. What an earlier host says, or what is older than what is known, changes nothing; nor does what
// is of a generation that is yet to come.
func (s *Service) Report(ctx context.Context, r Report) error {
	return s.update(ctx, func(w *work) error {
		st, err := stateOf(ctx, w, r.RouterID)
		if err != nil {
			return err
		}
		if st.AgentID == "" || st.Host != r.Host || st.Epoch != r.Epoch || r.Generation < st.Reported || r.Generation > st.Generation {
			return nil
		}
		if r.Generation == st.Reported && !r.At.IsZero() && r.At.Before(st.ReportedAt) {
			return nil
		}
		reason := tidy(r.Error)
		fips := make(map[string]string)
		for id, why := range r.FloatingIPs {
			if why = tidy(why); why != reason {
				fips[id] = why // the others share the router's fate
			}
		}
		if st.Reported == r.Generation && st.Error == reason && maps.Equal(st.FloatingIPs, fips) && st.ReportedAt.Equal(r.At) {
			return nil
		}
		st.Reported, st.Error, st.FloatingIPs, st.ReportedAt = r.Generation, reason, fips, r.At.UTC()
		return w.RouterStates().Update(ctx, &st)
	})
}

// tidy makes text of a reason that every store can keep.
func tidy(reason string) string {
	reason = reason[:min(len(reason), maxReason)]
	return strings.ReplaceAll(strings.ToValidUTF8(reason, "\uFFFD"), "\x00", "\uFFFD")
}
