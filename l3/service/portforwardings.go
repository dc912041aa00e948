package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// forwardingKind is the port forwardings of a floating IP: who may not see that is told that there
// is no such floating IP.
func forwardingKind(floatingIP string) kind[l3.PortForwarding, *l3.PortForwarding] {
	k := kind[l3.PortForwarding, *l3.PortForwarding]{
		name: "floatingip_port_forwarding", absent: "PortForwardingNotFound", saying: "Port Forwarding %s could not be found.", table: l3.Tx.PortForwardings,
	}
	k.relation = func(_ context.Context, _ l3.Tx, who l3.Caller, f l3.PortForwarding) (l3.Relation, error) {
		if f.FloatingIPID != floatingIP {
			return 0, notFound(k.absent, k.saying, f.ID)
		}
		return relationToProject(who, f.ProjectID), nil
	}
	k.scope = func(s *Service, ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error) {
		_, to, err := floatingIPKind().find(ctx, s, tx, who, floatingIP)
		if err == nil && !s.Allows(who, rule, to) {
			return []l3.Filter{nothing()}, nil
		}
		return []l3.Filter{oneOf("floatingip_id", floatingIP)}, err
	}
	return k
}

// CreatePortForwardings leads ports of a floating IP, which is bound to no port, to ports of
// internal addresses.
func (s *Service) CreatePortForwardings(
	ctx context.Context, who l3.Caller, floatingIP string, specs ...l3.PortForwardingSpec,
) ([]l3.PortForwarding, error) {
	return create(ctx, s, who, forwardingKind(floatingIP), specs, func(w *work, spec l3.PortForwardingSpec) (l3.PortForwarding, error) {
		return s.createPortForwarding(ctx, w, who, floatingIP, spec)
	})
}

func (s *Service) createPortForwarding(
	ctx context.Context, w *work, who l3.Caller, floatingIP string, spec l3.PortForwardingSpec,
) (l3.PortForwarding, error) {
	f, to, err := floatingIPKind().find(ctx, s, w, who, floatingIP)
	if err != nil {
		return l3.PortForwarding{}, err
	}
	if err := s.may(who, "create_floatingip_port_forwarding", to); err != nil {
		return l3.PortForwarding{}, err
	}
	if or(spec.ProjectID, f.ProjectID) != f.ProjectID {
		return l3.PortForwarding{}, badForwarding("The project of a port forwarding is that of floating IP %s", f.ID)
	}
	pf := l3.PortForwarding{Meta: s.newMeta(f.ProjectID, "", or(spec.Description, "")), FloatingIPID: f.ID}
	if err := s.forward(ctx, w, who, f, &pf, spec); err != nil {
		return pf, err
	}
	if err := s.checkQuota(ctx, w, f.ProjectID, "port_forwarding"); err != nil {
		return pf, err
	}
	if err := w.PortForwardings().Insert(ctx, pf); err != nil {
		return pf, collided(err, pf)
	}
	return pf, s.reforward(ctx, w, &f, pf.RouterID)
}

// GetPortForwarding answers with a port forwarding of the caller's project.
func (s *Service) GetPortForwarding(ctx context.Context, who l3.Caller, floatingIP, id string) (l3.PortForwarding, error) {
	return forwardingKind(floatingIP).get(ctx, s, who, id)
}

// ListPortForwardings lists the port forwardings of a floating IP.
func (s *Service) ListPortForwardings(ctx context.Context, who l3.Caller, floatingIP string, q l3.Query) ([]l3.PortForwarding, error) {
	return forwardingKind(floatingIP).list(ctx, s, who, q)
}

// UpdatePortForwarding changes what is given. Another internal port without an address means the
// first IPv4 address of that.
func (s *Service) UpdatePortForwarding(
	ctx context.Context, who l3.Caller, floatingIP, id string, spec l3.PortForwardingSpec, cond l3.If,
) (l3.PortForwarding, error) {
	return forwardingKind(floatingIP).change(ctx, s, who, id, cond, nil, func(w *work, pf *l3.PortForwarding) error {
		f, err := w.FloatingIPs().Get(ctx, pf.FloatingIPID)
		if err != nil {
			return err
		}
		before := *pf
		set(&pf.Description, spec.Description)
		if err := s.forward(ctx, w, who, f, pf, spec); err != nil {
			return err
		}
		changed, err := put(ctx, w.PortForwardings(), before, pf, s.now())
		if err != nil || !changed {
			return collided(err, *pf)
		}
		return s.reforward(ctx, w, &f, pf.RouterID)
	})
}

// DeletePortForwarding ends a forwarding. With the last one the floating IP leaves its router.
func (s *Service) DeletePortForwarding(ctx context.Context, who l3.Caller, floatingIP, id string, cond l3.If) error {
	return forwardingKind(floatingIP).remove(ctx, s, who, id, cond, nil, func(w *work, pf l3.PortForwarding) error {
		return s.dropForwardings(ctx, w, []l3.PortForwarding{pf})
	})
}

func badForwarding(format string, args ...any) error {
	return badRequest("BadRequest", "Bad port_forwarding request: "+format+".", args...)
}

// forward sets what a spec asks of a forwarding, and which router is to forward it. Nothing is
// written.
func (s *Service) forward(ctx context.Context, w *work, who l3.Caller, f l3.FloatingIP, pf *l3.PortForwarding, spec l3.PortForwardingSpec) error {
	before := *pf
	if err := text("description", spec.Description); err != nil {
		return err
	}
	set(&pf.Protocol, spec.Protocol)
	if p := pf.Protocol; p != dataplane.TCP && p != dataplane.UDP && p != dataplane.SCTP {
		return invalid("Invalid input for protocol. Reason: '%s' is not in ['sctp', 'tcp', 'udp'].", p)
	}
	if err := setRanges(pf, spec); err != nil {
		return err
	}
	set(&pf.PortID, spec.PortID)
	moved := pf.PortID != before.PortID
	asked := or(spec.FixedIP, netip.Addr{})
	if !asked.IsValid() && !moved {
		asked = before.FixedIP
	}
	if pf.RouterID == "" || spec.PortID != nil || asked != before.FixedIP {
		if err := s.leadTo(ctx, w, who, f, pf, asked, moved); err != nil {
			return err
		}
	}
	if err := freePorts(ctx, w, *pf); err != nil {
		return err
	}
	return enoughPorts(ctx, w, *pf)
}

// setRanges sets the ports that are asked for, by the only one or by a range.
func setRanges(pf *l3.PortForwarding, spec l3.PortForwardingSpec) error {
	external, err := rangeOf("external_port", pf.ExternalRange, spec.ExternalPort, spec.ExternalRange)
	if err != nil {
		return err
	}
	internal, err := rangeOf("internal_port", pf.InternalRange, spec.InternalPort, spec.InternalRange)
	if err != nil {
		return err
	}
	if internal.Len() > 1 && internal.Len() != external.Len() {
		return badForwarding("Invalid ranges of internal and/or external ports. The relation between internal and external ports must be N-N or 1-N")
	}
	pf.SetRanges(external, internal)
	return nil
}

func rangeOf(name string, have l3.PortRange, port *int, ports *l3.PortRange) (l3.PortRange, error) {
	switch {
	case port != nil && (*port < 1 || *port > 65535):
		return have, invalid("Invalid input for %s. Reason: '%d' is not a port from 1 to 65535.", name, *port)
	case ports != nil && (ports.First < 1 || ports.Last < ports.First):
		return have, invalid("Invalid input for %s_range. Reason: '%s' is not a range of ports from 1 to 65535.", name, ports)
	case port != nil && ports != nil && *ports != (l3.PortRange{First: uint16(*port), Last: uint16(*port)}):
		return have, badForwarding("%s and %s_range do not match", name, name)
	case ports != nil:
		return *ports, nil
	case port != nil:
		return l3.PortRange{First: uint16(*port), Last: uint16(*port)}, nil
	case have == (l3.PortRange{}):
		return have, badRequest("HTTPBadRequest", "Failed to parse request. Required attribute '%s' not specified", name)
	}
	return have, nil
}

// leadTo sets the address of a forwarding's port that it leads to, and the router in between. The
// port has moved if it is another one than before.
func (s *Service) leadTo(ctx context.Context, w *work, who l3.Caller, f l3.FloatingIP, pf *l3.PortForwarding, asked netip.Addr, moved bool) error {
	p, _, err := portKind().find(ctx, s, w, who, pf.PortID)
	if err != nil {
		return err
	}
	switch {
	case p.ProjectID != f.ProjectID && !s.Allows(who, "context_is_admin", 0):
		return badForwarding("Port %s is owned by a different project", p.ID)
	case !isWorkloadPort(&p):
		return badForwarding("Port %s is the service's own: %s", p.ID, p.DeviceOwner)
	}
	bound, err := w.FloatingIPs().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("port_id", p.ID)}, Limit: 1})
	if err != nil {
		return err
	}
	if len(bound) > 0 {
		return conflict("PortHasBindingFloatingIP", "Cannot create port forwarding to floating IP %s (%s) with port %s using fixed IP %s,"+
			" as that port already has a binding floating IP.", bound[0].Address, bound[0].ID, p.ID, orNone(asked))
	}
	if f.PortID != "" {
		return conflict("FloatingIPPortAlreadyAssociated", "Cannot associate floating IP %s (%s) with port %s using fixed IP %s,"+
			" as that fixed IP already has a floating IP on external network %s.", f.Address, f.ID, p.ID, orNone(asked), f.NetworkID)
	}
	fixed, err := forwardTo(p, asked, moved)
	if err != nil {
		return err
	}
	router, err := s.translator(ctx, w, f, p, fixed)
	switch {
	case errors.Is(err, l3.ErrNotFound):
		return badForwarding("External network %s is not reachable from subnet %s. Cannot set Port forwarding for port %s with Floating IP %s",
			f.NetworkID, fixed.SubnetID, p.ID, f.ID)
	case err != nil:
		return err
	case f.RouterID != "" && f.RouterID != router:
		return badForwarding("The Floating IP %s had been set on router %s, the internal Neutron port %s can not reach it", f.ID, f.RouterID, p.ID)
	}
	pf.FixedIP, pf.RouterID = fixed.IPAddress, router
	return nil
}

func orNone(a netip.Addr) string {
	if !a.IsValid() {
		return "None"
	}
	return a.String()
}

// forwardTo is the IPv4 address of a port that is asked for, or its first.
func forwardTo(p l3.Port, asked netip.Addr, moved bool) (l3.FixedIP, error) {
	four := slices.DeleteFunc(slices.Clone(p.FixedIPs), func(ip l3.FixedIP) bool { return !ip.IPAddress.Is4() })
	i := slices.IndexFunc(four, func(ip l3.FixedIP) bool { return ip.IPAddress == asked })
	switch {
	case len(four) == 0:
		return l3.FixedIP{}, badForwarding("Requested internal port %s must allocate an IPv4 address at least", p.ID)
	case !asked.IsValid():
		return four[0], nil
	case i >= 0:
		return four[i], nil
	}
	have := make([]string, len(four))
	for i, ip := range four {
		have[i] = fmt.Sprintf("{'subnet_id': '%s', 'ip_address': '%s'}", ip.SubnetID, ip.IPAddress)
	}
	list := "[" + strings.Join(have, ", ") + "]"
	if !moved {
		return l3.FixedIP{}, badForwarding("The internal IP does not correspond to an address on the internal port, which has fixed_ips %s", list)
	}
	return l3.FixedIP{}, badForwarding("Requested internal IP address %s is not suitable for internal neutron port %s, as its fixed_ips are %s", asked, p.ID, list)
}

// freePorts refuses a forwarding that shares a port of the floating IP, or of the internal address,
// with another.
func freePorts(ctx context.Context, tx l3.Tx, pf l3.PortForwarding) error {
	protocol := oneOf("protocol", string(pf.Protocol))
	others, err := rivals(ctx, tx, pf, "external_port", pf.ExternalRange, oneOf("floatingip_id", pf.FloatingIPID), protocol)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ExternalRange.Overlaps(pf.ExternalRange) {
			return collision("external_port_range", o.ExternalRange, pf.ExternalRange)
		}
	}
	others, err = rivals(ctx, tx, pf, "internal_port", pf.InternalRange,
		oneOf("internal_port_id", pf.PortID), oneOf("internal_ip_address", pf.FixedIP.String()), protocol)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.InternalRange.Overlaps(pf.InternalRange) {
			return collision("internal_port_range", o.InternalRange, pf.InternalRange)
		}
	}
	return nil
}

// rivals lists the other forwardings of which one might have a port of a range: for a single port
// only those of that port, and those of several.
func rivals(ctx context.Context, tx l3.Tx, pf l3.PortForwarding, single string, ports l3.PortRange, among ...l3.Filter) ([]l3.PortForwarding, error) {
	among = append(among, l3.Filter{Field: "id", Op: l3.NotIn, Values: []any{pf.ID}})
	if ports.Len() == 1 {
		among = append(among, l3.Filter{Field: single, Values: []any{int(ports.First), ""}})
	}
	return tx.PortForwardings().List(ctx, l3.Query{Filters: among})
}

func collision(attribute string, have, want l3.PortRange) error {
	return badForwarding("There is a port collision with the %s. The following ranges collides: %s and %s", attribute, have, want)
}

// collided says what it means when the store has another with the same ports.
func collided(err error, pf l3.PortForwarding) error {
	if errors.Is(err, l3.ErrTaken) {
		return badForwarding("A duplicate port forwarding entry with same attributes already exists, conflicting values are %s %s",
			pf.Protocol, pf.ExternalRange)
	}
	return err
}

// mostForwarded is how many ports a router can forward; see [dataplane.Router.Validate].
const mostForwarded = 1 << 17

// enoughPorts refuses more ports than the router can forward.
func enoughPorts(ctx context.Context, tx l3.Tx, pf l3.PortForwarding) error {
	others := []l3.Filter{oneOf("router_id", pf.RouterID), {Field: "id", Op: l3.NotIn, Values: []any{pf.ID}}}
	several := l3.Filter{Field: "external_port", Values: []any{""}}
	ranges, err := tx.PortForwardings().List(ctx, l3.Query{Filters: append(slices.Clone(others), several)})
	if err != nil {
		return err
	}
	several.Op = l3.NotIn
	n, err := tx.PortForwardings().Count(ctx, append(others, several)...)
	if err != nil {
		return err
	}
	n += pf.ExternalRange.Len()
	for _, r := range ranges {
		n += r.ExternalRange.Len()
	}
	if n > mostForwarded {
		return l3.Refuse(l3.ErrExhausted, "RouterPortForwardingsExhausted", "Router %s would forward %d ports, and can forward %d", pf.RouterID, n, mostForwarded)
	}
	return nil
}

// reforward has the router of a floating IP realise forwardings that have changed.
func (s *Service) reforward(ctx context.Context, w *work, f *l3.FloatingIP, router string) error {
	if f.RouterID != router {
		if err := s.bindTo(ctx, w, f, binding{router: router}); err != nil {
			return err
		}
	} else {
		if err := s.advanceByID(ctx, w, router); err != nil {
			return err
		}
		f.Status, f.Host = l3.StatusDown, "" // until restated
	}
	f.UpdatedAt = s.now()
	return w.FloatingIPs().Update(ctx, f)
}

// dropForwardings ends forwardings. Floating IPs that have no other leave their routers.
func (s *Service) dropForwardings(ctx context.Context, w *work, gone []l3.PortForwarding) error {
	of := map[string]bool{}
	for _, pf := range gone {
		of[pf.FloatingIPID] = true
		if err := w.PortForwardings().Delete(ctx, pf.ID); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(of)) {
		f, err := w.FloatingIPs().Get(ctx, id)
		if err != nil {
			return err
		}
		router := f.RouterID
		n, err := w.PortForwardings().Count(ctx, oneOf("floatingip_id", id))
		if err != nil {
			return err
		}
		if n == 0 {
			router = ""
		}
		if err := s.reforward(ctx, w, &f, router); err != nil {
			return err
		}
	}
	return nil
}

// forwardingsLeave ends the forwardings to addresses that a port does not have.
func (s *Service) forwardingsLeave(ctx context.Context, w *work, p l3.Port) error {
	led, err := w.PortForwardings().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("internal_port_id", p.ID)}})
	if err != nil {
		return err
	}
	has := func(pf l3.PortForwarding) bool {
		return slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return ip.IPAddress == pf.FixedIP })
	}
	return s.dropForwardings(ctx, w, slices.DeleteFunc(led, has))
}

// notForwarding refuses to bind or to delete a floating IP that has forwardings.
func notForwarding(ctx context.Context, tx l3.Tx, f l3.FloatingIP) error {
	n, err := tx.PortForwardings().Count(ctx, oneOf("floatingip_id", f.ID))
	if err == nil && n > 0 {
		err = conflict("FipInUseByPortForwarding", "Floating IP %s in use by Port Forwarding resources.", f.ID)
	}
	return err
}

// notForwarded refuses a floating IP for a port of a distributed router that forwardings lead to: it
// would be on the host of the port, and they are at the centre.
func notForwarded(ctx context.Context, tx l3.Tx, p l3.Port) error {
	led, err := tx.PortForwardings().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("internal_port_id", p.ID)}, Limit: 1})
	if err != nil || len(led) == 0 {
		return err
	}
	r, err := tx.Routers().Get(ctx, led[0].RouterID)
	if err == nil && r.Distributed {
		err = badRequest("PortHasPortForwarding", "Cannot associate floating IP to port %s because it already has a Port Forwarding binding.", p.ID)
	}
	return err
}

// fillForwardings fills in the forwardings of floating IPs.
func fillForwardings(ctx context.Context, tx l3.Tx, fips []l3.FloatingIP) error {
	var ids []string
	for i := range fips {
		if f := &fips[i]; f.PortID == "" && f.RouterID != "" {
			ids = append(ids, f.ID)
		}
	}
	all, err := listOf(ctx, tx.PortForwardings(), "floatingip_id", ids)
	if err != nil || len(all) == 0 {
		return err
	}
	of := map[string][]l3.PortForwarding{}
	for _, pf := range all {
		of[pf.FloatingIPID] = append(of[pf.FloatingIPID], pf)
	}
	for i := range fips {
		fips[i].PortForwardings = of[fips[i].ID]
	}
	return nil
}

// realisedIn reports whether a floating IP stands for an address in one of the subnets, or forwards
// to one.
func realisedIn(inside []netip.Prefix, f *l3.FloatingIP) bool {
	return contains(inside, f.FixedIP) ||
		slices.ContainsFunc(f.PortForwardings, func(pf l3.PortForwarding) bool { return contains(inside, pf.FixedIP) })
}

// forwardings are those that lead to an address in one of the subnets.
func (in Intent) forwardings(inside []netip.Prefix) []dataplane.PortForwarding {
	if len(inside) == 0 || len(in.PortForwardings) == 0 {
		return nil
	}
	addrs := make(map[string]netip.Addr, len(in.FloatingIPs))
	for i := range in.FloatingIPs {
		addrs[in.FloatingIPs[i].ID] = in.FloatingIPs[i].Address
	}
	out := make([]dataplane.PortForwarding, 0, len(in.PortForwardings))
	for i := range in.PortForwardings {
		if pf := &in.PortForwardings[i]; contains(inside, pf.FixedIP) {
			out = append(out, dataplane.PortForwarding{
				ID: pf.ID, Addr: addrs[pf.FloatingIPID], Proto: pf.Protocol,
				Ports: dataplane.PortRange(pf.ExternalRange), Fixed: pf.FixedIP, FixedPorts: dataplane.PortRange(pf.InternalRange),
			})
		}
	}
	slices.SortFunc(out, func(a, b dataplane.PortForwarding) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func routersForwarding(ctx context.Context, tx l3.Tx, among []string) ([]string, error) {
	all, err := listOf(ctx, tx.PortForwardings(), "router_id", among)
	return distinct(all, func(pf *l3.PortForwarding) string { return pf.RouterID }), err
}
