package explain

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// request is what a host is asked to do for a check of a packet that crosses hosts.
type request struct {
	Check string    `json:"check"`           // ID, which is random, in hexadecimal digits; the packet carries it
	Watch []string  `json:"watch,omitempty"` // begins the check: instances to watch
	Send  *dispatch `json:"send,omitempty"`
	End   bool      `json:"end,omitempty"`
}

// dispatch is an order to send the packet to an instance by one of its devices.
type dispatch struct {
	Instance string           `json:"instance"`
	Device   string           `json:"device"`
	Packet   dataplane.Packet `json:"packet"` // without a source port: any
	TTL      uint8            `json:"ttl"`
}

// reply is the answer. All of a check's events are in each.
type reply struct {
	Error  string             `json:"error,omitempty"`
	Faults map[string]string  `json:"faults,omitempty"` // instances that cannot be watched, and why
	Sent   dataplane.Packet   `json:"sent,omitzero"`
	Seen   map[string][]event `json:"seen,omitempty"` // by instance
}

const (
	idLen = 16
	// watchTime is how long a host watches that is not told to end.
	watchTime = 15 * time.Second
	// maxWatched is how many checks a host takes part in at a time.
	maxWatched = 16
	maxTTL     = maxHops + 1
)

// Watcher does on a host what checks of packets across hosts need: it watches the router for a
// packet, and sends that. One packet is sent for each check; it carries the check's ID.
type Watcher struct {
	on  Host
	log *slog.Logger

	mu     sync.Mutex
	checks map[string]*watched
}

// watched is a check that a host takes part in.
type watched struct {
	captures map[string]*capture // by instance
	faults   map[string]string
	sent     bool
	expiry   *time.Timer
}

// NewWatcher returns a watcher of the routers of a host.
func NewWatcher(on Host, log *slog.Logger) *Watcher {
	return &Watcher{on: on, log: log, checks: map[string]*watched{}}
}

// Close ends all checks.
func (w *Watcher) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.checks {
		w.end(id)
	}
}

// Answer does what a request of [Question.CheckAcross] asks for, and returns the answer to it.
func (w *Watcher) Answer(_ context.Context, question []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	var r request
	err := json.Unmarshal(question, &r)
	var a reply
	if err == nil {
		a, err = w.answer(r)
	}
	if err != nil {
		a.Error = err.Error()
	}
	text, err := json.Marshal(a)
	if err != nil {
		w.log.Error("cannot write the answer to a check", "err", err)
		return []byte(`{"error": "the answer cannot be written"}`)
	}
	return text
}

func (w *Watcher) answer(r request) (a reply, err error) {
	if len(r.Watch) > 0 {
		if a.Faults, err = w.begin(r); err != nil || len(a.Faults) == len(r.Watch) {
			return a, err
		}
	}
	check := w.checks[r.Check]
	if check == nil {
		return a, errors.New("the host does not take part in the check, or not any more")
	}
	a.Faults = check.faults
	if r.Send != nil {
		if a.Sent, err = w.send(r.Check, check, *r.Send); err != nil {
			return a, err
		}
	}
	a.Seen = map[string][]event{}
	for instance, c := range check.captures {
		if a.Seen[instance], err = c.look(); err != nil {
			return a, err
		}
	}
	if r.End {
		w.end(r.Check)
	}
	return a, nil
}

// begin watches instances. One that cannot be watched does not keep it from the others.
func (w *Watcher) begin(r request) (faults map[string]string, err error) {
	id, err := hex.DecodeString(r.Check)
	switch {
	case err != nil || len(id) != idLen:
		return nil, fmt.Errorf("%q is not the ID of a check", r.Check)
	case w.checks[r.Check] != nil:
		return nil, errors.New("the check has begun already")
	case len(w.checks) >= maxWatched:
		return nil, fmt.Errorf("the host takes part in %d checks already: try again", len(w.checks))
	}
	check := &watched{captures: map[string]*capture{}, faults: map[string]string{}}
	for _, instance := range r.Watch {
		c, err := w.on.openCapture(instance, mark(id))
		if err != nil {
			check.faults[instance] = err.Error()
			continue
		}
		check.captures[instance] = c
	}
	if len(check.captures) == 0 {
		return check.faults, nil
	}
	check.expiry = time.AfterFunc(watchTime, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.checks[r.Check] == check {
			w.end(r.Check)
		}
	})
	w.checks[r.Check] = check
	w.log.Info("watching for the packet of a check", "check", r.Check, "instances", slices.Sorted(maps.Keys(check.captures)))
	return check.faults, nil
}

// mark is the data of a check's packet. The ID comes first, for the filter.
func mark(id []byte) []byte { return append(slices.Clone(id), " l3kit probe"...) }

func (w *Watcher) send(id string, check *watched, d dispatch) (sent dataplane.Packet, err error) {
	c := check.captures[d.Instance]
	switch {
	case c == nil:
		return sent, errors.New("the router is not watched here")
	case check.sent:
		return sent, errors.New("the packet of the check was sent already")
	case d.TTL < 1 || d.TTL > maxTTL:
		return sent, fmt.Errorf("the TTL %d is not between 1 and %d", d.TTL, maxTTL)
	}
	if sent, err = c.send(w.on, d.Device, d.Packet, d.TTL); err != nil {
		return sent, err
	}
	check.sent = true
	w.log.Info("sent the packet of a check", "check", id, "router", d.Instance, "device", d.Device, "packet", sent.String())
	return sent, nil
}

// end ends a check. w.mu must be held.
func (w *Watcher) end(id string) {
	check := w.checks[id]
	delete(w.checks, id)
	check.expiry.Stop()
	for instance, c := range check.captures {
		_, err := c.look() // for the connections that are to be forgotten
		if err := errors.Join(err, c.forget()); err != nil {
			w.log.Warn("cannot remove the connection of a check", "check", id, "router", instance, "err", err)
		}
		c.close()
	}
}
