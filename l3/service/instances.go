package service

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// statesOf lists the states of routers: one each, and of a distributed router one for each of its
// instances, the centre first.
func statesOf(ctx context.Context, tx l3.Tx, routerIDs []string) (map[string][]l3.RouterState, error) {
	whole, err := listOf(ctx, tx.RouterStates(), "id", routerIDs)
	if err != nil {
		return nil, err
	}
	parts, err := listOf(ctx, tx.RouterStates(), "router_id", routerIDs)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(parts, func(a, b l3.RouterState) int {
		if a.Edge != b.Edge {
			return map[bool]int{true: 1, false: -1}[a.Edge]
		}
		return strings.Compare(a.Host, b.Host)
	})
	byRouter := make(map[string][]l3.RouterState, len(routerIDs))
	for _, st := range slices.Concat(whole, parts) {
		byRouter[st.Router()] = append(byRouter[st.Router()], st)
	}
	return byRouter, nil
}

// summary is the state of a router as a whole: a revision is reported when all instances have
// reported it, and runs when it runs everywhere. Where the router is says the centre.
func summary(routerID string, states []l3.RouterState) l3.RouterState {
	if len(states) == 0 {
		return l3.RouterState{ID: routerID}
	}
	sum := states[0]
	if sum.RouterID == "" {
		return sum
	}
	sum.ID, sum.RouterID = routerID, ""
	for _, st := range states {
		sum.Revision = max(sum.Revision, st.Revision)
	}
	sum.Reported, sum.Applied, sum.Error = sum.Revision, sum.Revision, ""
	for _, st := range states {
		if st.Reported < st.Revision {
			sum.Reported = min(sum.Reported, st.Reported)
		}
		if st.Applied < st.Revision {
			sum.Applied = min(sum.Applied, st.Applied)
		}
		if st.Error != "" && sum.Error == "" {
			sum.Error = fmt.Sprintf("host %s: %s", st.Host, st.Error)
		}
	}
	return sum
}

// wholeState is the summary of one router.
func wholeState(ctx context.Context, tx l3.Tx, routerID string) (l3.RouterState, error) {
	byRouter, err := statesOf(ctx, tx, []string{routerID})
	return summary(routerID, byRouter[routerID]), err
}

// stateAt reads the state of what a host knows by an ID: a router, an edge, or a centre. With
// Revision 0 there is none.
func stateAt(ctx context.Context, tx l3.Tx, host, instance string) (l3.RouterState, error) {
	for _, id := range []string{l3.EdgeStateID(instance, host), instance} {
		st, err := tx.RouterStates().Get(ctx, id)
		if !errors.Is(err, l3.ErrAbsent) {
			return st, err
		}
	}
	return l3.RouterState{ID: instance}, nil
}

// routerOf is the ID of the router that a host's instance is of.
func routerOf(instance string) string {
	return strings.TrimPrefix(instance, dataplane.CentreID(""))
}

func interfaceOwner(r l3.Router) string {
	if r.Distributed {
		return l3.OwnerDistributedInterface
	}
	return l3.OwnerRouterInterface
}

// advanceInstances does what advance does for a distributed router: it has an edge on each host
// that workloads of its networks are bound to, and whose agent can have one.
func (s *Service) advanceInstances(ctx context.Context, w *work, in Intent) (l3.RouterState, error) {
	none := l3.RouterState{ID: in.Router.ID}
	r, err := in.wiring(func(p *l3.Port) bool { return p.AdminStateUp && in.Router.AdminStateUp })
	if err != nil {
		return none, err
	}
	byRouter, err := statesOf(ctx, w, []string{in.Router.ID})
	if err != nil {
		return none, err
	}
	states := byRouter[in.Router.ID]
	wanted := len(r.Ports) > 0 || r.Gateway != nil
	if !wanted && (len(states) == 0 || !states[0].Wanted) {
		return summary(in.Router.ID, states), nil
	}
	w.mark(none)
	w.spread[in.Router.ID] = true
	if len(states) == 0 {
		centre, err := s.newCentre(ctx, w, in)
		if err != nil {
			return none, err
		}
		states = []l3.RouterState{centre}
	}
	var agents []l3.Agent
	if wanted {
		if _, agents, err = locate(ctx, w, in); err != nil {
			return none, err
		}
	}
	if states, err = s.keepEdges(ctx, w, in, states, agents); err != nil {
		return none, err
	}
	if _, err := s.forgetSightings(ctx, w, in.insideNetworks()...); err != nil {
		return none, err
	}
	var revision uint64
	for _, st := range states {
		revision = max(revision, st.Revision)
	}
	for i := range states {
		st := &states[i]
		st.Revision, st.Request, st.Lagging, st.Wanted, st.Inside = revision+1, l3.RequestOf(ctx), 0, wanted, translatable(r)
		if wanted && !st.Edge {
			if err := s.place(ctx, w, st, in); err != nil {
				return none, err
			}
		}
		if err := s.tell(ctx, w, *st); err != nil {
			return none, err
		}
	}
	return summary(in.Router.ID, states), nil
}

// tell has the host of a router, if it has one, told of what it must realise, and writes that.
func (s *Service) tell(ctx context.Context, w *work, st l3.RouterState) error {
	var err error
	switch {
	case st.AgentID == "":
	case !st.Wanted:
		err = s.depart(ctx, w, st)
	default:
		if err = arrive(ctx, w, &st); err == nil {
			err = s.notify(ctx, w, st, false)
		}
	}
	return orElse(err, save(ctx, w, st))
}

// keepEdges adds the edges that are missing on the hosts of agents, and removes those that are
// elsewhere.
func (s *Service) keepEdges(ctx context.Context, w *work, in Intent, states []l3.RouterState, agents []l3.Agent) ([]l3.RouterState, error) {
	var kept []l3.RouterState
	for _, st := range states {
		here := slices.ContainsFunc(agents, func(a l3.Agent) bool { return a.ID == st.AgentID })
		if st.Edge && !here {
			if err := s.dropEdge(ctx, w, st, agents); err != nil {
				return nil, err
			}
			continue
		}
		kept = append(kept, st)
	}
	for _, a := range agents {
		if slices.ContainsFunc(kept, func(st l3.RouterState) bool { return st.Edge && st.AgentID == a.ID }) {
			continue
		}
		epoch, err := w.Deployment().NextEpoch(ctx)
		if err != nil {
			return nil, err
		}
		st := l3.RouterState{
			ID: l3.EdgeStateID(in.Router.ID, a.Host), RouterID: in.Router.ID, Edge: true, Wanted: true, AgentID: a.ID, Host: a.Host, Epoch: epoch,
		}
		if err := number(in.Router.ID, &st, kept); err != nil {
			return nil, err
		}
		kept = append(kept, st)
	}
	return kept, nil
}

// dropEdge is dropInstance, unless the host is one of the agents' under the name that it had before:
// then the edge leaves only that name.
func (s *Service) dropEdge(ctx context.Context, w *work, st l3.RouterState, agents []l3.Agent) error {
	before, err := w.Agents().Get(ctx, st.AgentID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(agents, func(a l3.Agent) bool { return replaces(a, before) }) {
		return s.dropInstance(ctx, w, st)
	}
	if err := s.notify(ctx, w, st, true); err != nil {
		return err
	}
	return forgetInstance(ctx, w, st)
}

// dropInstance takes an instance off its host, and forgets it.
func (s *Service) dropInstance(ctx context.Context, w *work, st l3.RouterState) error {
	if st.AgentID != "" {
		if err := s.depart(ctx, w, st); err != nil {
			return err
		}
	}
	return forgetInstance(ctx, w, st)
}

func forgetInstance(ctx context.Context, w *work, st l3.RouterState) error {
	w.mark(st)
	return w.RouterStates().Delete(ctx, st.ID)
}

// dropInstances forgets all that is recorded of where a router is.
func (s *Service) dropInstances(ctx context.Context, w *work, routerID string) error {
	byRouter, err := statesOf(ctx, w, []string{routerID})
	if err != nil {
		return err
	}
	for _, st := range byRouter[routerID] {
		if err := s.dropInstance(ctx, w, st); err != nil {
			return err
		}
	}
	if err := w.Segments().Release(ctx, transitID(routerID)); err != nil && !errors.Is(err, l3.ErrAbsent) {
		return err
	}
	return nil
}

// newCentre is the state of a distributed router's centre, which has no host yet, with the segment
// of its transit.
func (s *Service) newCentre(ctx context.Context, w *work, in Intent) (l3.RouterState, error) {
	st := l3.RouterState{ID: dataplane.CentreID(in.Router.ID), RouterID: in.Router.ID}
	var err error
	if st.Transit, err = s.transitSegment(ctx, w); err != nil {
		return st, err
	}
	n := l3.Network{Meta: l3.Meta{ID: transitID(in.Router.ID)}, Segments: []l3.Segment{st.Transit}}
	if err := claimSegments(ctx, w, n); err != nil {
		return st, err
	}
	if st.MTU, err = s.mtu(n, 0); err != nil {
		return st, err
	}
	err = number(in.Router.ID, &st, nil)
	return st, err
}

// transitSegment is one that joins hosts: of a tunnel, which all of them reach, or else a VLAN.
func (s *Service) transitSegment(ctx context.Context, w *work) (l3.Segment, error) {
	seg, err := s.freeSegment(ctx, w, nil, func(r SegmentRange) bool { return r.Type != dataplane.NetworkVLAN && numbered(r.Type) })
	if errors.Is(err, l3.ErrExhausted) {
		seg, err = s.freeSegment(ctx, w, nil, func(r SegmentRange) bool { return r.Type == dataplane.NetworkVLAN })
	}
	if errors.Is(err, l3.ErrExhausted) {
		err = l3.Refuse(l3.ErrExhausted, "NoNetworkAvailable", "A distributed router needs a segment between its hosts, and no range has a free one.")
	}
	return seg, err
}

// transitID names a router's own network.
func transitID(routerID string) string { return "transit-" + routerID }

const mostInstances = 1<<14 - 2 // addresses of transitPrefix

// number gives an instance a number that no other of the router has, and a MAC address. The number
// is the first from one that follows from the epoch, so that it is not that of an instance which
// has left its host a moment ago: that host may not have heard of it, and answers for the address
// until it has. The MAC address is chosen by chance from 2^40, as it has to differ from those of
// other routers' edges on the external network, and begins like [centreMAC].
func number(routerID string, st *l3.RouterState, others []l3.RouterState) error {
	taken := make(map[uint16]bool, len(others))
	for _, o := range others {
		taken[o.Number] = true
	}
	if len(taken) >= mostInstances {
		return l3.Refuse(l3.ErrExhausted, "DistributedRouterFull", "Router %s is on %d hosts, and cannot be on more", routerID, mostInstances)
	}
	next := func(n uint64) uint16 { return uint16(1 + n%mostInstances) }
	for st.Number = next(st.Epoch); taken[st.Number]; st.Number = next(uint64(st.Number)) {
	}
	var random [8]byte
	binary.BigEndian.PutUint64(random[:], rand.Uint64())
	st.MAC = dataplane.MAC(slices.Concat([]byte{instanceMAC}, random[:5]))
	return nil
}

// insideNetworks lists the networks of the router's interfaces.
func (in Intent) insideNetworks() []string {
	var networks []string
	for _, p := range in.interfaces() {
		networks = append(networks, p.NetworkID)
	}
	slices.Sort(networks)
	return slices.Compact(networks)
}

// locate finds what is bound on the router's internal networks, or was sighted there, and the
// agents of those hosts that can have an edge, by host.
func locate(ctx context.Context, tx l3.Tx, in Intent) (found []Located, edges []l3.Agent, err error) {
	networks := in.insideNetworks()
	ports, err := listOf(ctx, tx.Ports(), "network_id", networks)
	if err != nil {
		return nil, nil, err
	}
	able := map[string]bool{}
	for _, p := range ports {
		if !isWorkloadPort(&p) || p.Binding.HostID == "" {
			continue
		}
		able[p.Binding.HostID] = false
		if to := migratingTo(&p); to != "" {
			able[to] = false
		}
	}
	hosts := make([]string, 0, len(able))
	for host := range able {
		hosts = append(hosts, host)
	}
	agents, err := listOf(ctx, tx.Agents(), "host", hosts)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range agents {
		if canRoute(a) {
			able[a.Host] = true
			edges = append(edges, a)
		}
	}
	slices.SortFunc(edges, func(a, b l3.Agent) int { return cmp.Compare(a.Host, b.Host) })
	for _, p := range ports {
		if !isWorkloadPort(&p) || p.Binding.HostID == "" {
			continue
		}
		if to := migratingTo(&p); able[to] {
			found = append(found, Located{NetworkID: p.NetworkID, Host: to}) // an edge that waits for it
		}
		if !able[p.Binding.HostID] {
			continue
		}
		if len(p.FixedIPs) == 0 {
			found = append(found, Located{NetworkID: p.NetworkID, Host: p.Binding.HostID})
		}
		for _, ip := range p.FixedIPs {
			found = append(found, Located{NetworkID: p.NetworkID, Host: p.Binding.HostID, Addr: ip.IPAddress})
		}
	}
	seen, err := listOf(ctx, tx.Sightings(), "network_id", networks)
	for _, x := range seen {
		if able[x.Host] {
			found = append(found, Located{NetworkID: x.NetworkID, Host: x.Host, Addr: x.Addr})
		}
	}
	return found, edges, err
}

// migratingTo is the host that a workload is about to move to while it runs; empty: none. Whoever
// moves it says so in the profile of its port's binding, as Neutron's clients do, before it binds
// the port there.
func migratingTo(p *l3.Port) string {
	if len(p.Binding.Profile) == 0 {
		return ""
	}
	var profile struct {
		MigratingTo string `json:"migrating_to"`
	}
	if json.Unmarshal(p.Binding.Profile, &profile) != nil || profile.MigratingTo == p.Binding.HostID {
		return "" // it is free text
	}
	return profile.MigratingTo
}

// canRoute says that an agent's host can have edges of distributed routers.
func canRoute(a l3.Agent) bool { return strings.HasPrefix(a.Capabilities.Mode, "dvr") }

// spread completes the intent of a distributed router with where it is.
func spread(ctx context.Context, tx l3.Tx, in *Intent, states []l3.RouterState) error {
	if len(states) == 0 || states[0].Edge {
		return nil
	}
	located, agents, err := locate(ctx, tx, *in)
	if err != nil {
		return err
	}
	centre := states[0]
	in.Spread = &Spread{
		Transit: dataplane.Network{ID: transitID(in.Router.ID), Type: centre.Transit.Type, Physical: centre.Transit.Physical, Segment: centre.Transit.ID},
		MTU:     centre.MTU,
		Centre:  Instance{Host: centre.Host, Number: centre.Number, MAC: centre.MAC},
		Located: located,
	}
	for _, st := range states[1:] {
		e := Instance{Host: st.Host, Number: st.Number, MAC: st.MAC}
		if i := slices.IndexFunc(agents, func(a l3.Agent) bool { return a.ID == st.AgentID }); i >= 0 {
			e.External = in.reachedBy(agents[i])
		}
		in.Spread.Edges = append(in.Spread.Edges, e)
	}
	return nil
}

// relocated is touch of the distributed routers on a workload's network, when it was bound to a
// host, or has left one, or is to move to one, or has other addresses there.
func (s *Service) relocated(ctx context.Context, w *work, before, after l3.Port) error {
	port := after
	if port.ID == "" {
		port = before
	}
	var hosts []string // that something changes on
	if before.Binding.HostID != after.Binding.HostID || !slices.Equal(before.FixedIPs, after.FixedIPs) {
		hosts = append(hosts, before.Binding.HostID, after.Binding.HostID)
	}
	if from, to := migratingTo(&before), migratingTo(&after); from != to {
		hosts = append(hosts, from, to)
	}
	hosts = slices.DeleteFunc(hosts, func(host string) bool { return host == "" })
	if !isWorkloadPort(&port) || len(hosts) == 0 {
		return nil
	}
	forgotten, err := s.forgetSightings(ctx, w, port.NetworkID)
	if err != nil {
		return err
	}
	agents, err := listOf(ctx, w.Agents(), "host", hosts)
	if err != nil || !slices.ContainsFunc(agents, canRoute) && !forgotten {
		return err // the centre finds it where it is
	}
	return s.advanceOn(ctx, w, port.NetworkID)
}

// advanceOn advances the distributed routers on networks.
func (s *Service) advanceOn(ctx context.Context, w *work, networks ...string) error {
	legs, err := listOf(ctx, w.Ports(), "network_id", networks, oneOf("device_owner", l3.OwnerDistributedInterface))
	if err != nil {
		return err
	}
	for _, id := range routersOf(legs) {
		if err := s.advanceByID(ctx, w, id); err != nil {
			return err
		}
	}
	return nil
}

// unfold gives a host its edges, or takes them, after its agent can do what it could not, or
// reaches other networks.
func (s *Service) unfold(ctx context.Context, w *work, host string) error {
	bound, err := workloadsOn(ctx, w, host)
	if err != nil {
		return err
	}
	networks := make([]string, len(bound))
	for i := range bound {
		networks[i] = bound[i].NetworkID
	}
	slices.Sort(networks)
	return s.advanceOn(ctx, w, slices.Compact(networks)...)
}

// convert makes a central router of a distributed one, or the other way round. It has no host then:
// it is down.
func (s *Service) convert(ctx context.Context, w *work, r l3.Router) error {
	if err := s.dropInstances(ctx, w, r.ID); err != nil {
		return err
	}
	in, err := intentOf(ctx, w, r.ID)
	if err != nil {
		return err
	}
	for _, p := range in.interfaces() {
		before := p
		p.DeviceOwner = interfaceOwner(r)
		if _, err := put(ctx, w.Ports(), before, &p, s.now()); err != nil {
			return err
		}
	}
	bound, err := listOf(ctx, w.FloatingIPs(), "router_id", []string{r.ID})
	if err != nil {
		return err
	}
	for _, f := range bound {
		f.Holder = l3.Holder{} // nobody has it while the router is down
		if err := w.FloatingIPs().Refresh(ctx, &f); err != nil {
			return err
		}
	}
	_, err = s.forgetSightings(ctx, w, in.insideNetworks()...)
	return err
}
