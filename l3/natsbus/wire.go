package natsbus

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// routerValue is the value of a router's key; see the package comment.
type routerValue struct {
	Host       string            `json:"host"`
	Deployment string            `json:"deployment,omitempty"`
	Revision   uint64            `json:"revision"`
	Epoch      uint64            `json:"epoch"`
	Request    string            `json:"request,omitempty"`  // that caused it; see [l3.WithRequest]
	Router     *dataplane.Router `json:"router"`             // null: the router has left the host
	Orphan     bool              `json:"orphan,omitempty"`   // see [l3.Departure]
	Announce   uint64            `json:"announce,omitempty"` // see [agent.Assignment]
}

func valueOf(p l3.Placement) routerValue {
	v := routerValue{Host: p.Host, Deployment: p.Deployment, Revision: p.Revision, Epoch: p.Epoch, Request: p.Request, Orphan: p.Orphan}
	if p.Assignment != nil {
		v.Router, v.Announce = &p.Assignment.Router, p.Assignment.Announce
	}
	return v
}

// placement is the inverse of valueOf.
func (v routerValue) placement(routerID string) l3.Placement {
	p := l3.Placement{Host: v.Host, RouterID: routerID, Deployment: v.Deployment, Epoch: v.Epoch, Revision: v.Revision, Request: v.Request, Orphan: v.Orphan}
	if v.Router != nil {
		a := v.assignment()
		p.Assignment = &a
	}
	return p
}

func (v routerValue) assignment() agent.Assignment {
	return agent.Assignment{
		Host: v.Host, Deployment: v.Deployment, Revision: v.Revision, Epoch: v.Epoch, Request: v.Request, Announce: v.Announce, Router: *v.Router,
	}
}

func (v routerValue) version() agent.Version {
	return agent.Version{Epoch: v.Epoch, Revision: v.Revision}
}

// routerVersion is a [routerValue] with the router unread.
type routerVersion struct {
	Host       string          `json:"host"`
	Deployment string          `json:"deployment"`
	Revision   uint64          `json:"revision"`
	Epoch      uint64          `json:"epoch"`
	Router     json.RawMessage `json:"router"`
}

func (v routerVersion) version() agent.Version {
	return agent.Version{Epoch: v.Epoch, Revision: v.Revision}
}

func (v routerVersion) present() bool { return len(v.Router) > 0 && string(v.Router) != "null" }

// decodeVersion reads the value of a key as far as publishers compare it. That costs a fraction of
// what decodeRouter does.
func decodeVersion(host string, text []byte) (v routerVersion, err error) {
	if err := json.Unmarshal(text, &v); err != nil {
		return v, err
	}
	return v, checkValue(host, v.Host, v.Epoch)
}

func checkValue(host, its string, epoch uint64) error {
	switch {
	case its != host:
		return fmt.Errorf("it is for host %q", its)
	case epoch == 0:
		return errors.New("it has no epoch")
	}
	return nil
}

// decodeRouter reads the value of a key. It refuses the value of another host or another router.
func decodeRouter(host, routerID string, text []byte) (v routerValue, err error) {
	if err := json.Unmarshal(text, &v); err != nil {
		return v, err
	}
	if err := checkValue(host, v.Host, v.Epoch); err != nil {
		return v, err
	}
	if v.Router != nil && v.Router.ID != routerID {
		return v, fmt.Errorf("it is of router %q", v.Router.ID)
	}
	return v, nil
}

// sessionRequest is an agent's request to be served.
type sessionRequest struct {
	agent.Session
	// After and Filling ask to go on after the message with that stream sequence number, in that
	// filling of the bucket. 0: from the beginning.
	After   uint64 `json:"after,omitempty"`
	Filling string `json:"filling,omitempty"`
}

// sessionAnswer is the control plane's answer. Refused and Error exclude everything else.
type sessionAnswer struct {
	Refused string `json:"refused,omitempty"` // why the agent may not serve the host
	Error   string `json:"error,omitempty"`   // why the control plane cannot serve it now

	ID         string `json:"session,omitempty"` // random
	Deployment string `json:"deployment,omitempty"`
	Filling    string `json:"filling,omitempty"`
	After      uint64 `json:"after,omitempty"`   // as asked, or 0: everything is read from the beginning
	Routers    uint64 `json:"routers,omitempty"` // sequence number of the mark among the routers
	Peers      uint64 `json:"peers,omitempty"`   // sequence number of the mark among the peers
}

// markValue is the value of a mark; see [sessions].
type markValue struct {
	Session string `json:"session,omitempty"`
}

// report is an [agent.Report] on the wire, or [agent.Sightings], which are sent to the same
// subject.
type report struct {
	Host     string `json:"host"`
	RouterID string `json:"router_id,omitempty"` // empty: it has sightings
	Epoch    uint64 `json:"epoch,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	Error    string `json:"error,omitempty"`
	Gone     bool   `json:"gone,omitempty"`
	Instance string `json:"instance,omitempty"`
	Seq      uint64 `json:"seq,omitempty"`

	Sightings []sighting `json:"sightings,omitempty"`
}

// sighting is an [agent.Sighting] on the wire.
type sighting struct {
	RouterID string     `json:"router_id"`
	PortID   string     `json:"port_id"`
	Addr     netip.Addr `json:"address"`
	Age      int64      `json:"age_ms"`
}

// maxReason bounds the reason in a report, in bytes.
const maxReason = 1024

func encodeReport(r agent.Report) ([]byte, error) {
	return json.Marshal(report{
		Host: r.Host, RouterID: r.RouterID, Epoch: r.Epoch, Revision: r.Revision, Error: shorten(r.Error),
		Gone: r.Gone, Instance: r.Instance, Seq: r.Seq,
	})
}

func shorten(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	end := maxReason
	for end > 0 && !utf8.RuneStart(reason[end]) {
		end--
	}
	return strings.Clone(reason[:end])
}

func encodeSightings(s agent.Sightings) ([]byte, error) {
	r := report{Host: s.Host}
	for _, a := range s.Addrs {
		r.Sightings = append(r.Sightings, sighting{a.RouterID, a.PortID, a.Addr, a.Age.Milliseconds()})
	}
	return json.Marshal(r)
}

// sightings is the inverse of encodeSightings.
func (r report) sightings() agent.Sightings {
	s := agent.Sightings{Host: r.Host}
	for _, a := range r.Sightings {
		s.Addrs = append(s.Addrs, agent.Sighting{
			RouterID: a.RouterID, PortID: a.PortID, Addr: a.Addr, Age: time.Duration(min(max(0, a.Age), maxAge.Milliseconds())) * time.Millisecond,
		})
	}
	return s
}

// maxAge bounds the age of a sighting. Nothing is older.
const maxAge = 365 * 24 * time.Hour

// decodeReport reads a report, or sightings.
func decodeReport(host string, text []byte) (r report, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	if r.Host != host || (r.RouterID == "") == (len(r.Sightings) == 0) || r.RouterID != "" && r.Epoch == 0 && !r.Gone {
		return r, fmt.Errorf("it is of host %q, router %q, epoch %d", r.Host, r.RouterID, r.Epoch)
	}
	return r, nil
}

func (r report) report() agent.Report {
	return agent.Report{
		Host: r.Host, RouterID: r.RouterID, Epoch: r.Epoch, Revision: r.Revision, Error: r.Error,
		Gone: r.Gone, Instance: r.Instance, Seq: r.Seq,
	}
}

// heartbeat is an [agent.Heartbeat] on the wire.
type heartbeat struct {
	Host             string             `json:"host"`
	Binary           string             `json:"binary,omitempty"`
	AvailabilityZone string             `json:"availability_zone,omitempty"`
	StartedAt        time.Time          `json:"started_at"`
	Capabilities     agent.Capabilities `json:"configurations,omitzero"`
	Instance         string             `json:"instance,omitempty"`
	Machine          string             `json:"machine,omitempty"`
	Deployment       string             `json:"deployment,omitempty"`
	Inventory        *agent.Inventory   `json:"inventory,omitempty"`
}

func encodeHeartbeat(h agent.Heartbeat) ([]byte, error) { return json.Marshal(heartbeat(h)) }

func decodeHeartbeat(host string, text []byte) (agent.Heartbeat, error) {
	var h heartbeat
	if err := json.Unmarshal(text, &h); err != nil {
		return agent.Heartbeat{}, err
	}
	if h.Host != host {
		return agent.Heartbeat{}, fmt.Errorf("it is of host %q", h.Host)
	}
	return agent.Heartbeat(h), nil
}
