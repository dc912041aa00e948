package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/host"
)

// Inspect is the command that shows the routers of this host.
type Inspect struct {
	Routers []string `arg:"" optional:"" name:"router" help:"IDs of routers, or enough of their beginnings. Default: all."`
	JSON    bool     `own:"" help:"Print JSON."`
	Machine
}

// Help is called by kong.
func (*Inspect) Help() string {
	return `For each router it prints whether it is as it was applied, the epoch, which grows when a router moves
to another host, and the revision, which grows with every change; then its ports, its floating IPs and its
extra routes; of a distributed router also what it has at other hosts.

	PORT        internal; gateway: the one on the external network;
	            transit: the one to the router's parts on other hosts
	DEVICE      the port's interface in the router's namespace
	NETWORK     ID of its network, and the segment: type, ID, physical
	            network; of a gateway also its next hops, and SNAT if
	            it translates sources
	PACKETS IN  what passed towards the floating IP since its
	            translation was added; OUT: from it
	BY TRANSIT  addresses and subnets that other parts of the router
	            have, or reach; INSTANCE: the part's transit address

It writes nothing.`
}

// sighting is a router that is on this host, or should be.
type sighting struct {
	ID        string            `json:"id"`
	Namespace string            `json:"namespace"`
	Present   bool              `json:"present"`              // on this host
	Orphan    bool              `json:"orphan,omitempty"`     // the control plane has no record of it
	Of        string            `json:"deployment,omitempty"` // that asked for it
	Epoch     uint64            `json:"epoch,omitempty"`      // of what was applied last
	Revision  uint64            `json:"revision,omitempty"`   //
	Applied   *dataplane.Router `json:"applied,omitempty"`    // nil: the agent does not know it
	Counters  map[string]passed `json:"counters,omitempty"`   // by floating IP
	Drift     []dataplane.Step  `json:"drift"`                // what applying it again would change
	Fault     string            `json:"fault,omitempty"`      // why that, or the counters, could not be found out
}

// passed is what has passed through a floating IP since its translation was added.
type passed struct {
	In  traffic `json:"in"`
	Out traffic `json:"out"`
}

type traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Run is called by kong.
func (i *Inspect) Run(ctx context.Context, out io.Writer) (err error) {
	s, kept, err := i.look(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	present, err := s.List(ctx)
	if err != nil {
		return err
	}
	chosen, err := choose(union(ids(kept.Routers), present), i.Routers)
	if err != nil {
		return err
	}
	seen := sightings{}
	for _, id := range chosen {
		seen = append(seen, sight(ctx, s, id, slices.Contains(present, id), kept))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return show(out, i.JSON, seen)
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func sight(ctx context.Context, s *host.Host, id string, present bool, kept agent.Cached) sighting {
	seen := sighting{ID: id, Namespace: dataplane.NamespaceName(id), Present: present, Drift: []dataplane.Step{}}
	a, known := byID(kept.Routers, id)
	seen.Orphan, seen.Of = slices.Contains(kept.Orphans, id), a.Deployment
	if !known {
		if in, err := s.Inspect(ctx, id); err == nil {
			seen.Of = in.Owner
		}
	}
	if known {
		if err := compare(ctx, s, &seen, a); err != nil {
			seen.Fault = err.Error()
		}
	}
	counters, err := s.Counters(ctx, id)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil && seen.Fault == "":
		seen.Fault = err.Error()
	default:
		seen.Counters = count(counters)
	}
	return seen
}

func compare(ctx context.Context, s *host.Host, seen *sighting, a agent.Assignment) error {
	seen.Epoch, seen.Revision, seen.Applied = a.Epoch, a.Revision, &a.Router
	plan, err := s.Plan(ctx, agent.Realised(a))
	if err == nil && !plan.Empty() {
		seen.Drift = plan.Steps
	}
	return err
}

func count(counters map[netip.Addr]dataplane.Counters) map[string]passed {
	all := make(map[string]passed, len(counters))
	for a, c := range counters {
		all[a.String()] = passed{traffic(c.In), traffic(c.Out)}
	}
	return all
}

// verdict says in a few words how a router is.
func (s sighting) verdict() string {
	switch {
	case s.Orphan && s.Present:
		return "orphan: it runs, and the servers have no record of it (agent remove removes it)"
	case s.Applied == nil:
		return "not applied by this agent"
	case s.Fault != "":
		return "unknown: " + s.Fault
	case !s.Present:
		return "missing: it was applied, and is not on this host any more"
	case len(s.Drift) > 0:
		return fmt.Sprintf("changed since it was applied, in %d places (plan shows them)", len(s.Drift))
	}
	return "as it was applied"
}
