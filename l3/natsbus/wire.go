package natsbus

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// routerValue is the value of a router's key; see the package comment.
type routerValue struct {
	Host     string            `json:"host"`
	Revision uint64            `json:"revision"`
	Epoch    uint64            `json:"epoch"`
	Router   *dataplane.Router `json:"router"` // null: the host does not have it any more
}

func valueOf(a l3.Assignment) routerValue {
	return routerValue{Host: a.Host, Revision: a.Revision, Epoch: a.Epoch, Router: &a.Router}
}

// newer orders the values of one key.
func (v routerValue) newer(than routerValue) bool {
	if v.Epoch != than.Epoch {
		return v.Epoch > than.Epoch
	}
	return v.Revision > than.Revision
}

// decodeRouter reads the value of a key, and refuses one that is another host's or another router's.
func decodeRouter(host, routerID string, text []byte) (v routerValue, err error) {
	if err := json.Unmarshal(text, &v); err != nil {
		return v, err
	}
	switch {
	case v.Host != host:
		return v, fmt.Errorf("it is for host %q", v.Host)
	case v.Epoch == 0:
		return v, errors.New("it has no epoch")
	case v.Router != nil && v.Router.ID != routerID:
		return v, fmt.Errorf("it is of router %q", v.Router.ID)
	}
	return v, nil
}

// report is an [l3.Report] on the wire.
type report struct {
	Host        string            `json:"host"`
	RouterID    string            `json:"router_id"`
	Epoch       uint64            `json:"epoch"`
	Revision    uint64            `json:"revision"`
	Error       string            `json:"error,omitempty"`
	FloatingIPs map[string]string `json:"floating_ips,omitempty"`
}

func encodeReport(r l3.Report) ([]byte, error) {
	return json.Marshal(report{r.Host, r.RouterID, r.Epoch, r.Generation, r.Error, r.FloatingIPs})
}

func decodeReport(host string, text []byte) (l3.Report, error) {
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return l3.Report{}, err
	}
	if r.Host != host || r.RouterID == "" || r.Epoch == 0 {
		return l3.Report{}, fmt.Errorf("it is of host %q, router %q, epoch %d", r.Host, r.RouterID, r.Epoch)
	}
	return l3.Report{Host: r.Host, RouterID: r.RouterID, Epoch: r.Epoch, Generation: r.Revision, Error: r.Error, FloatingIPs: r.FloatingIPs}, nil
}

// heartbeat is an [l3.Heartbeat] on the wire.
type heartbeat struct {
	Host             string         `json:"host"`
	Binary           string         `json:"binary,omitempty"`
	AvailabilityZone string         `json:"availability_zone,omitempty"`
	StartedAt        time.Time      `json:"started_at"`
	Configurations   map[string]any `json:"configurations,omitempty"`
	Instance         string         `json:"instance,omitempty"`
	Machine          string         `json:"machine,omitempty"`
	Deployment       string         `json:"deployment,omitempty"`
	Inventory        *l3.Inventory  `json:"inventory,omitempty"`
}

func encodeHeartbeat(h l3.Heartbeat) ([]byte, error) { return json.Marshal(heartbeat(h)) }

func decodeHeartbeat(host string, text []byte) (l3.Heartbeat, error) {
	var h heartbeat
	if err := json.Unmarshal(text, &h); err != nil {
		return l3.Heartbeat{}, err
	}
	if h.Host != host {
		return l3.Heartbeat{}, fmt.Errorf("it is of host %q", h.Host)
	}
	return l3.Heartbeat(h), nil
}

// TunnelAddress is the configuration of a heartbeat that has the host's address for tunnels, as a string; Neutron's agents call it so too.
const TunnelAddress = "tunneling_ip"

// peer is the value of a host's key among the peers.
type peer struct {
	Host    string     `json:"host"`
	Address netip.Addr `json:"address"`
}

func decodePeer(host string, text []byte) (netip.Addr, error) {
	var p peer
	if err := json.Unmarshal(text, &p); err != nil {
		return netip.Addr{}, err
	}
	if p.Host != host || !p.Address.IsValid() {
		return netip.Addr{}, fmt.Errorf("it is of host %q, address %q", p.Host, p.Address)
	}
	return p.Address, nil
}
