package namespace

import (
	"context"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// objects has the IDs of ports, floating IPs and port forwardings by the names that their objects
// have on the host: devices, floating IPs' addresses, those addresses on their device, and what is
// forwarded.
type objects map[string]string

// add learns the names of a router's objects.
func (o objects) add(r dataplane.Router) {
	for _, p := range r.Ports {
		o[dataplane.PortDevice(p.ID)] = p.ID
	}
	if r.Transit != nil {
		o[dataplane.TransitDevice(r.Transit.ID)] = r.Transit.ID
	}
	dev := ""
	if r.Gateway != nil {
		dev = dataplane.GatewayDevice(r.Gateway.ID)
		o[dev] = r.Gateway.ID
	}
	for _, f := range r.FloatingIPs {
		o[f.Addr.String()] = f.ID
		o[dev+" "+host(f.Addr).String()] = f.ID
	}
	for _, f := range r.PortForwardings {
		o[f.Object()] = f.ID
	}
	for _, a := range r.ForwardingAddrs() {
		o[dev+" "+host(a).String()] = "" // shared
	}
}

// id returns the ID that a step's object belongs to; see [dataplane.Step].
func (o objects) id(s dataplane.Step) string {
	switch s.Kind {
	case dataplane.KindForwarding:
		return o[s.Object]
	case dataplane.KindLink, dataplane.KindWiring, dataplane.KindAddress, dataplane.KindSNAT, dataplane.KindFloatingIP:
	default:
		return ""
	}
	if id, ok := o[s.Object]; ok {
		return id
	}
	dev, _, _ := strings.Cut(s.Object, " ") // of an address
	return o[dev]
}

// identify completes the steps of actions by the IDs that objects has, and reports whether those of
// all floating IPs and forwardings are known.
func identify(actions []action, o objects) bool {
	complete := true
	for _, a := range actions {
		for i, s := range a.steps {
			if s.ID == "" {
				a.steps[i].ID = o.id(s)
			}
			complete = complete && (s.Kind != dataplane.KindFloatingIP && s.Kind != dataplane.KindForwarding || a.steps[i].ID != "")
		}
	}
	return complete
}

// identify finds the IDs of the objects that the plan is about. Of a port that leaves, and that
// another process has applied, wiring knows the ID.
func (l *long) identify(ctx context.Context) error {
	if len(steps(l.actions)) == 0 {
		return nil
	}
	o := objects{}
	if l.last != nil {
		o.add(l.last.router)
	} else if len(l.leaving()) > 0 {
		networks, err := l.cfg.Wiring.Networks(ctx, l.Router)
		if err != nil {
			return err
		}
		for port := range networks {
			for _, dev := range devicesOf(port) {
				o[dev] = port
			}
		}
	}
	o.add(l.router)
	identify(l.actions, o)
	return nil
}

// identifyDelta does the same for a change of floating IPs and forwardings, without looking at the
// others unless the rules have to mend one of them.
func identifyDelta(actions []action, want dataplane.Router, d delta) {
	o := objects{}
	o.add(dataplane.Router{Gateway: want.Gateway, FloatingIPs: d.Removed, PortForwardings: d.Forwardings.Removed})
	o.add(dataplane.Router{Gateway: want.Gateway, FloatingIPs: d.Added, PortForwardings: d.Forwardings.Added})
	if !identify(actions, o) {
		o.add(want)
		identify(actions, o)
	}
}
