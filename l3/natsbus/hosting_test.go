package natsbus_test

import (
	"context"
	"slices"
	"sync"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// hosting keeps what the agents say.
type hosting struct {
	l3.Reporting
	mu      sync.Mutex
	fail    int // reports that it cannot store
	broken  bool
	taken   string // host whose name another machine uses
	refused int    // its heartbeats
	reports []agent.Report
	beats   map[string]agent.Heartbeat
}

func (h *hosting) Report(_ context.Context, r agent.Report) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken {
		return errBroken
	}
	if h.fail > 0 {
		h.fail--
		return errBroken
	}
	h.reports = append(h.reports, r)
	return nil
}

func (h *hosting) Heartbeat(_ context.Context, b agent.Heartbeat) (l3.Agent, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken {
		return l3.Agent{}, errBroken
	}
	if b.Host == h.taken {
		h.refused++
		return l3.Agent{}, &l3.HostTakenError{Host: b.Host}
	}
	if h.beats == nil {
		h.beats = map[string]agent.Heartbeat{}
	}
	h.beats[b.Host] = b
	return l3.Agent{Host: b.Host}, nil
}

func (h *hosting) setBroken(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = is
}

// beat returns the last heartbeat of a host.
func (h *hosting) beat(host string) agent.Heartbeat {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.beats[host]
}

// reported reports whether a host has reported a revision.
func (h *hosting) reported(host string, revision uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.reports, func(r agent.Report) bool { return r.Host == host && r.Revision == revision })
}
