package dataplanetest

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// TestEveryClauseBites runs each clause against dataplanes that break its promise on purpose. A
// clause that none of them fails proves nothing.
func TestEveryClauseBites(t *testing.T) {
	byClause := map[string][]defect{}
	for _, d := range defects() {
		for _, c := range clauses() {
			if strings.HasPrefix(c.name, d.clause) {
				byClause[c.name] = append(byClause[c.name], d)
			}
		}
	}
	for _, c := range clauses() {
		require.NotEmpty(t, byClause[c.name], "no broken dataplane for the clause %s", c.name)
		for _, d := range byClause[c.name] {
			t.Run(c.name+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				h := &broken{fake: newFake()}
				d.do(h)
				err := c.run(t.Context(), h, 500*time.Millisecond) // in memory nothing takes time
				require.Error(t, err, "the clause did not notice")
				require.NotErrorAs(t, err, new(notApplicable))
				require.Contains(t, err.Error(), d.says)
			})
		}
	}
}

// defect is a way to break a promise, and a part of what the clause must say about it.
type defect struct {
	clause string // or the beginning of several names
	name   string
	says   string
	do     func(*broken)
}

// broken is a harness around the fake, of which parts can be replaced.
type broken struct {
	*fake
	mu     sync.Mutex
	apply  func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error)
	plan   func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error)
	remove func(ctx context.Context, inner dataplane.Dataplane, id string) error
	list   func(ctx context.Context, inner dataplane.Dataplane) ([]string, error)
	look   func(ctx context.Context, inner dataplane.Dataplane, id string) (dataplane.Inspection, error)
	watch  func(ctx context.Context, inner dataplane.Watcher) (<-chan dataplane.Drift, error)
	count  func(counters map[netip.Addr]dataplane.Counters, err error) error
	ready  func(ctx context.Context, inner dataplane.Dataplane) error
	host   func(Host) Host
}

func (b *broken) Dataplane() dataplane.Dataplane { return brokenDataplane{b.fake.dp, b} }

func (b *broken) Reopen() (dataplane.Dataplane, error) {
	return brokenDataplane{dataplane.NewFake(b.fake.host), b}, nil
}

func (b *broken) Attach(ctx context.Context, w Workload) (Host, error) {
	h, err := b.fake.Attach(ctx, w)
	if b.host != nil && err == nil {
		h = b.host(h)
	}
	return h, err
}

type brokenDataplane struct {
	dataplane.Dataplane
	b *broken
}

func (d brokenDataplane) Apply(ctx context.Context, r dataplane.Router) (dataplane.Plan, error) {
	if d.b.apply != nil {
		return d.b.apply(ctx, d.Dataplane, r)
	}
	return d.Dataplane.Apply(ctx, r)
}

func (d brokenDataplane) Plan(ctx context.Context, r dataplane.Router) (dataplane.Plan, error) {
	if d.b.plan != nil {
		return d.b.plan(ctx, d.Dataplane, r)
	}
	return d.Dataplane.Plan(ctx, r)
}

func (d brokenDataplane) Delete(ctx context.Context, id string) error {
	if d.b.remove != nil {
		return d.b.remove(ctx, d.Dataplane, id)
	}
	return d.Dataplane.Delete(ctx, id)
}

func (d brokenDataplane) List(ctx context.Context) ([]string, error) {
	if d.b.list != nil {
		return d.b.list(ctx, d.Dataplane)
	}
	return d.Dataplane.List(ctx)
}

func (d brokenDataplane) Inspect(ctx context.Context, id string) (dataplane.Inspection, error) {
	if d.b.look != nil {
		return d.b.look(ctx, d.Dataplane, id)
	}
	return d.Dataplane.Inspect(ctx, id)
}

func (d brokenDataplane) Watch(ctx context.Context) (<-chan dataplane.Drift, error) {
	inner := d.Dataplane.(dataplane.Watcher)
	if d.b.watch != nil {
		return d.b.watch(ctx, inner)
	}
	return inner.Watch(ctx)
}

func (d brokenDataplane) Ready(ctx context.Context) error {
	if d.b.ready != nil {
		return d.b.ready(ctx, d.Dataplane)
	}
	return d.Dataplane.Ready(ctx)
}

func (d brokenDataplane) Counters(ctx context.Context, id string) (map[netip.Addr]dataplane.Counters, error) {
	counters, err := d.Dataplane.(dataplane.CounterReader).Counters(ctx, id)
	if d.b.count != nil {
		err = d.b.count(counters, err)
	}
	return counters, err
}

// misroutes changes what becomes of packets.
func misroutes(change func(r dataplane.Router, t *dataplane.Trace)) func(*broken) {
	return func(b *broken) {
		b.net.open = func(router string, p dataplane.Packet) (*dataplane.Flow, dataplane.Trace) {
			flow, t := b.fake.host.Open(router, p)
			r, _ := b.fake.host.Router(router)
			change(r, &t)
			return flow, t
		}
	}
}

// believes lets a spoofed packet that comes in by a port pass, as if it came from somebody else.
func believes(port string) func(dataplane.Router, *dataplane.Trace) {
	return func(r dataplane.Router, t *dataplane.Trace) {
		p := t.Packet
		if p.In != port || t.Verdict != dataplane.Dropped {
			return
		}
		honest := p
		honest.Src = addr("192.0.2.99")
		if p.Src.Is6() {
			honest.Src = addr("2001:db8:99::99")
		}
		*t = r.Trace(honest)
		if t.Packet = p; t.Src == honest.Src {
			t.Src = p.Src
		}
	}
}

// misreads changes what is asked for.
func misreads(change func(*dataplane.Router)) func(*broken) {
	return func(b *broken) {
		b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
			return inner.Apply(ctx, with(r, change))
		}
	}
}

// scribbles writes something that nobody asked for, whenever when says so.
func scribbles(when func(dataplane.Router) bool) func(*broken) {
	return func(b *broken) {
		b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
			if when(r) {
				scratch := dataplane.Router{ID: "scratch"}
				if _, err := inner.Apply(ctx, scratch); err != nil {
					return dataplane.Plan{}, err
				}
				if err := inner.Delete(ctx, scratch.ID); err != nil {
					return dataplane.Plan{}, err
				}
			}
			return inner.Apply(ctx, r)
		}
	}
}

func always(dataplane.Router) bool { return true }

// rebuilds deletes before it applies.
func rebuilds(b *broken) {
	b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
		if err := inner.Delete(ctx, r.ID); err != nil {
			return dataplane.Plan{}, err
		}
		return inner.Apply(ctx, r)
	}
}

// spares ends no connections.
func spares(b *broken) {
	b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
		if b.fake.host.Tamper(r.ID, func(have *dataplane.Router) { *have = r.Clone() }) {
			return dataplane.Plan{Router: r.ID}, nil
		}
		return inner.Apply(ctx, r)
	}
}

// forgives turns an error into success.
func forgives(target error) func(*broken) {
	return func(b *broken) {
		b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
			plan, err := inner.Apply(ctx, r)
			if errors.Is(err, target) {
				err = nil
			}
			return plan, err
		}
	}
}

// hosts changes what workloads experience.
func hosts(wrap func(Host) Host) func(*broken) { return func(b *broken) { b.host = wrap } }

func fipOf(r dataplane.Router, fixed netip.Addr) netip.Addr {
	for _, f := range r.FloatingIPs {
		if f.Fixed == fixed {
			return f.Addr
		}
	}
	return netip.Addr{}
}

func defects() []defect {
	return slices.Concat(packetDefects(), changeDefects(), methodDefects(), watchDefects(), ownerDefects(), counterDefects(), readyDefects(), stepDefects(), instanceDefects(), advertisementDefects(), metadataDefects(), clampingDefects(), scopeDefects())
}

func packetDefects() []defect {
	return []defect{
		{"P1-", "east-west gets the floating IP", "saw the source 203.0.113.101", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if f := fipOf(r, t.Src); f.IsValid() && t.Out != "ext" && t.Dst == t.Packet.Dst {
				t.Src = f
			}
		})},
		{"P2-", "SNAT does nothing", "saw the source 10.0.", misreads(func(r *dataplane.Router) { r.Gateway.SNAT = false })},
		{"P3-", "only connected subnets are translated", "saw the source 10.9.0.10", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == behindAddr && t.Out == "ext" {
				t.Src = behindAddr
			}
		})},
		{"P3-", "everything behind the route is translated", "saw the source 203.0.113.2, not 10.9.0.10", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == behindAddr {
				t.Src = gatewayAddr
			}
		})},
		{"P4-", "SNAT cannot be switched off", "saw the source 203.0.113.2", misreads(func(r *dataplane.Router) { r.Gateway.SNAT = true })},
		{"P5-", "shared SNAT before floating IPs", "saw the source 203.0.113.2", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Out == "ext" && t.Dst.Is4() {
				t.Src = gatewayAddr
			}
		})},
		{"P6-", "clients are masqueraded", "saw the source 10.0.1.1", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" && t.Dst != t.Packet.Dst {
				t.Src = addr("10.0.1.1")
			}
		})},
		{"P6-", "floating IPs are not bound", "no answer", misreads(func(r *dataplane.Router) { r.FloatingIPs = nil })},
		{"P7-", "the client keeps its address", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In != "ext" && t.Dst != t.Packet.Dst {
				t.Src = t.Packet.Src
			}
		})},
		{"P8-", "own packets are not translated", "r1", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "" && isFloating(r, t.Packet.Dst) {
				t.Verdict, t.Answered = dataplane.Local, true
			}
		})},
		{"P23-", "no port is forwarded", "no answer", misreads(func(r *dataplane.Router) { r.PortForwardings = nil })},
		{"P23-", "the port stays", "refused", misroutes(func(_ dataplane.Router, t *dataplane.Trace) { t.DstPort = t.Packet.DstPort })},
		{"P23-", "all ports are led on", "has received", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Verdict == dataplane.Local && t.Packet.Dst == forwardAddr {
				packet := t.Packet
				packet.DstPort = 8080
				*t = r.Trace(packet)
				t.Packet.DstPort, t.DstPort = 8081, 8081
			}
		})},
		{"P23-", "other ports are dropped", "it was not refused", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Verdict == dataplane.Local && t.Packet.Dst == forwardAddr && !t.Answered {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"P23-", "clients inside keep their address", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In != "ext" && t.DstPort != t.Packet.DstPort {
				t.Src = t.Packet.Src
			}
		})},
		{"P23-", "the host leaves as the address of its forwardings", "saw the source 203.0.113.110", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Out == "ext" && t.Packet.Src == web2Addr {
				t.Src = forwardAddr
			}
		})},
		{"limits", "no limit is kept", "no more than", misreads(func(r *dataplane.Router) { r.Limits = nil })},
		{"limits", "the directions are confused", "packets have arrived", misreads(func(r *dataplane.Router) {
			for i, l := range r.Limits {
				r.Limits[i].Egress, r.Limits[i].Ingress = l.Ingress, l.Egress
			}
		})},
		{"limits", "others are limited, too", "nothing limits them", misreads(func(r *dataplane.Router) {
			limit(fip2, dataplane.Bandwidth{Rate: 1000}, dataplane.Bandwidth{Rate: 1000})(r)
		})},
		{"limits", "too little passes", "may pass", misreads(func(r *dataplane.Router) {
			for i := range r.Limits {
				r.Limits[i].Egress.Rate /= 2
				r.Limits[i].Ingress.Rate /= 2
			}
		})},
		{"P9-", "nothing guards the inside", "must not be reached", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if r.Gateway.SNAT && t.Packet.In == "ext" {
				*t = with(r, snat(false)).Trace(t.Packet)
			}
		})},
		{"P9-", "nothing guards the inside, and the answer is lost", "has received", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if r.Gateway.SNAT && t.Packet.In == "ext" {
				*t = with(r, snat(false)).Trace(t.Packet)
				t.Src = addr("10.99.0.1")
			}
		})},
		{"P9-", "SNAT off is guarded too", "no answer", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" {
				*t = with(r, snat(true)).Trace(t.Packet)
			}
		})},
		{"P10-", "echo is not answered", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Verdict == dataplane.Local {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"P11-extra", "the longest prefix does not win", "fw answered, not fw2", misreads(func(r *dataplane.Router) {
			r.Routes = slices.DeleteFunc(r.Routes, func(r dataplane.Route) bool { return r.Dest == netip.MustParsePrefix("10.9.0.8/29") })
		})},
		{"P11-extra", "no extra routes", "no answer", misreads(func(r *dataplane.Router) { r.Routes = nil })},
		{"P11-ecmp", "the last of equal routes wins", "0 went by fw and 32", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			t.NextHops = t.NextHops[max(len(t.NextHops)-1, 0):]
		})},
		{"P12-", "IPv6 is masqueraded", "saw the source 2001:db8:1::2", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Out == "ext" && t.Dst.Is6() {
				t.Src = addr("2001:db8:1::2")
			}
		})},
		{"P12-", "IPv6 is guarded", "no answer", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" && t.Dst.Is6() && r.Gateway.SNAT {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"P17-spoofed-from-outside", "nobody looks at sources", "has received", misroutes(believes("ext"))},
		{"P17-spoofed-from-outside", "nobody looks at sources of IPv6", "has received", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst.Is6() {
				believes("ext")(r, t)
			}
		})},
		{"P17-spoofed-from-outside", "only while SNAT is on", "SNAT false", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if !r.Gateway.SNAT {
				believes("ext")(r, t)
			}
		})},
		{"P17-spoofed-from-outside", "floating IPs are closed", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"P17-spoofed-from-inside", "nobody looks at sources", "has received", misroutes(believes("app"))},
		{"P17-spoofed-from-inside", "a source must come by its own port", "no answer", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if id, _ := dataplane.NewModel(r).PortTo(t.Packet.Src); id != t.Packet.In && t.Packet.In != "" {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"P18-link-local", "the default route leads there", "not refused", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if p := t.Packet; p.Dst.Is4() && p.Dst.IsLinkLocalUnicast() {
				p.Dst = addr("192.0.2.99")
				*t = r.Trace(p)
				t.Packet.Dst, t.Dst = metadata, metadata
			}
		})},
		{"P18-link-local", "extra routes lead there", "answered, who must not be reached", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst.Is4() && t.Packet.Dst.IsLinkLocalUnicast() && len(r.Routes) > 0 {
				t.Verdict, t.Out, t.NextHops, t.Src, t.Dst = dataplane.Forwarded, "app", addrs("10.0.2.250"), t.Packet.Src, t.Packet.Dst
			}
		})},
		{"P18-link-local", "IPv6 goes back to the link", "has received", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst.Is6() && t.Packet.Dst.IsLinkLocalUnicast() {
				t.Verdict, t.Out, t.NextHops, t.Src, t.Dst = dataplane.Forwarded, "web", []netip.Addr{metadata6}, t.Packet.Src, t.Packet.Dst
			}
		})},
		{"P18-link-local", "it is dropped in silence", "not refused", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst.IsLinkLocalUnicast() {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"P19-", "answers leave as they are", "which must be lost", misroutes(func(_ dataplane.Router, t *dataplane.Trace) { t.OneWay = false })},
		{"P19-", "such packets are not even let in", "has not received it", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.OneWay {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"P19-", "nothing is translated", "which must be lost", misreads(func(r *dataplane.Router) { r.Gateway.SNAT = false })},
		{"P21-", "the next hop is asked", "no answer", misreads(func(r *dataplane.Router) { r.Gateway.OnLink = nil })},
		{"P21-", "a further address is left out", "no answer", misreads(func(r *dataplane.Router) {
			r.Gateway.Addrs = slices.DeleteFunc(slices.Clone(r.Gateway.Addrs), netip.Prefix.IsSingleIP)
		})},
		{"P21-", "IPv4 alone", "no answer", misreads(func(r *dataplane.Router) { r.Gateway.OnLink = r.Gateway.OnLink[:min(len(r.Gateway.OnLink), 2)] })},
		{"P13-unreachable", "errors are not translated back", "no ICMP error", hosts(func(h Host) Host { return numbHost{Host: h} })},
		{"P13-time", "errors are not translated back", "no ICMP error", hosts(func(h Host) Host { return numbHost{Host: h} })},
		{"P13-path", "large packets get lost", "hangs", hosts(func(h Host) Host { return numbHost{Host: h, largest: 10_000} })},
		{"P14-", "routers share their tables", "", func(b *broken) {
			b.net.open = func(_ string, p dataplane.Packet) (*dataplane.Flow, dataplane.Trace) {
				return b.fake.host.Open("r1", p)
			}
		}},
		{"no-leak", "the rules come last", "left untranslated", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				if _, err := inner.Apply(ctx, with(r, snat(false), func(r *dataplane.Router) { r.FloatingIPs = nil })); err != nil {
					return dataplane.Plan{}, err
				}
				time.Sleep(10 * time.Millisecond)
				return inner.Apply(ctx, r)
			}
		}},
	}
}

func changeDefects() []defect {
	list := []defect{
		{"P15-", "everything is built anew", "has ended, although", rebuilds},
		{"P16-", "everything is built anew", "a write that changes nothing", rebuilds},
		{"P16-", "it writes what is there", "a write that changes nothing", scribbles(always)},
	}
	for _, c := range changes() {
		if len(c.end) > 0 {
			list = append(list, defect{"P15-" + c.name, "no connection is ended", "goes on as if nothing had changed", spares})
		}
	}
	return list
}

func methodDefects() []defect {
	return []defect{
		{"apply-twice", "it writes what is there", "a write that changes nothing", scribbles(always)},
		{"apply-twice", "Plan always finds something", "wants to do something", func(b *broken) {
			b.plan = func(context.Context, dataplane.Dataplane, dataplane.Router) (dataplane.Plan, error) {
				return dataplane.Plan{Steps: []dataplane.Step{{Op: dataplane.Change, Kind: dataplane.KindLink, Object: "qr-web"}}}, nil
			}
		}},
		{"plan-is", "Plan applies", "Plan wrote", func(b *broken) {
			b.plan = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				return inner.Apply(ctx, r)
			}
		}},
		{"plan-is", "Plan forgets a step", "what Apply did differs", func(b *broken) {
			b.plan = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Plan(ctx, r)
				plan.Steps = plan.Steps[:max(len(plan.Steps)-1, 0)]
				return plan, err
			}
		}},
		{"any-state", "an MTU is never changed", "mtu 1500", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				if have, ok := b.fake.host.Router(r.ID); ok && len(have.Ports) > 0 && len(r.Ports) > 0 {
					r = with(r, func(r *dataplane.Router) { r.Ports[0].MTU = have.Ports[0].MTU })
				}
				return inner.Apply(ctx, r)
			}
		}},
		{"order", "lists are compared as they are", "a write that changes nothing", func(b *broken) {
			var last dataplane.Router
			scribbles(func(r dataplane.Router) bool {
				same := reflect.DeepEqual(r, last)
				last = r
				return !same
			})(b)
		}},
		{"a-failed", "what failed leaves a mixture", "neither the old router nor the new one works", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if err != nil {
					b.fake.host.Tamper(r.ID, unbound(fip1))
				}
				return plan, err
			}
		}},
		{"a-failed", "what failed leaves nothing", "has ended, although", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if err != nil {
					err = errors.Join(err, inner.Delete(ctx, r.ID))
				}
				return plan, err
			}
		}},
		{"cancelled", "contexts are ignored", "not context.Canceled", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				return inner.Apply(context.WithoutCancel(ctx), r)
			}
		}},
		{"P20-", "a new port takes its time", "no answer", func(b *broken) {
			var applied atomic.Bool
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				applied.Store(true)
				return inner.Apply(ctx, r)
			}
			b.host = func(h Host) Host { return slowHost{h, &applied} }
		}},
		{"errors-tell", "a cancelled Apply leaves a mixture", "the host differs", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if errors.Is(err, context.Canceled) {
					b.fake.host.Tamper(r.ID, without("web"))
				}
				return plan, err
			}
		}},
		{"errors-tell", "what failed leaves a mixture", "the host differs", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if errors.Is(err, errBroken) {
					b.fake.host.Tamper(r.ID, without("web"))
				}
				return plan, err
			}
		}},
		{"errors-tell", "a mixture is admitted", "neither router is in force", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if errors.Is(err, context.Canceled) {
					err = &dataplane.ChangeError{InForce: dataplane.ErrNoneInForce, Err: context.Canceled}
				}
				return plan, err
			}
		}},
		{"errors-tell", "the old router is taken for the new one", "the host differs", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if errors.Is(err, context.Canceled) {
					err = &dataplane.ChangeError{InForce: dataplane.ErrNewInForce, Err: context.Canceled}
				}
				return plan, err
			}
		}},
		{"errors-tell", "errors say what went wrong and no more", "does not tell which router", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				var changed *dataplane.ChangeError
				if errors.As(err, &changed) {
					err = changed.Err
				}
				return plan, err
			}
		}},
		{"errors-tell", "a cancelled Delete has deleted", "the host differs", func(b *broken) {
			b.remove = func(ctx context.Context, inner dataplane.Dataplane, id string) error {
				err := inner.Delete(ctx, id)
				if err != nil {
					err = errors.Join(err, inner.Delete(context.WithoutCancel(ctx), id))
				}
				return err
			}
		}},
		{"delete", "Delete does nothing", "after Delete", func(b *broken) {
			b.remove = func(context.Context, dataplane.Dataplane, string) error { return nil }
		}},
		{"delete", "absent is an error", "not there", func(b *broken) {
			b.remove = func(ctx context.Context, inner dataplane.Dataplane, id string) error {
				if _, ok := b.fake.host.Router(id); !ok {
					return errors.New("not there")
				}
				return inner.Delete(ctx, id)
			}
		}},
		{"list-is", "routers without ports are not listed", `not ["r0" "r1" "r2"]`, func(b *broken) {
			b.list = func(ctx context.Context, inner dataplane.Dataplane) ([]string, error) {
				ids, err := inner.List(ctx)
				return slices.DeleteFunc(ids, func(id string) bool {
					r, _ := b.fake.host.Router(id)
					return len(r.Ports) == 0
				}), err
			}
		}},
		{"list-is", "only what this process made", "a fresh process", func(b *broken) {
			b.list = func(ctx context.Context, inner dataplane.Dataplane) ([]string, error) {
				if inner != b.fake.dp {
					return nil, nil
				}
				return inner.List(ctx)
			}
		}},
		{"list-is", "half-made routers are not listed", "half there", func(b *broken) {
			b.list = func(ctx context.Context, inner dataplane.Dataplane) ([]string, error) {
				ids, err := inner.List(ctx)
				return slices.DeleteFunc(ids, func(id string) bool {
					r, _ := b.fake.host.Router(id)
					return len(r.Ports) == 1
				}), err
			}
		}},
		{"foreign", "Apply takes what is not ours", "not ErrForeign", forgives(dataplane.ErrForeign)},
		{"foreign", "List goes by names", `not ["r0"]`, func(b *broken) {
			b.list = func(context.Context, dataplane.Dataplane) ([]string, error) { return []string{"r0", "r1"}, nil }
		}},
		{"invalid", "nobody validates", "not ErrInvalid", forgives(dataplane.ErrInvalid)},
		{"invalid", "it refuses when it has begun", "a write for a router that is refused", scribbles(always)},
		{"routers-run", "one call at a time, others fail", "busy", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				if !b.mu.TryLock() {
					return dataplane.Plan{}, errors.New("busy")
				}
				defer b.mu.Unlock()
				time.Sleep(time.Millisecond)
				return inner.Apply(ctx, r)
			}
		}},
		{"routers-run", "routers tread on each other", "is not there", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				if r.ID == "c5" {
					if err := inner.Delete(ctx, "c0"); err != nil {
						return dataplane.Plan{}, err
					}
				}
				return inner.Apply(ctx, r)
			}
		}},
		{"damage", "memory is trusted without proof", "does not mention", func(b *broken) {
			last := map[string]dataplane.Router{}
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				last[r.ID] = r
				return inner.Apply(ctx, r)
			}
			b.plan = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				if r.Equal(last[r.ID]) {
					return dataplane.Plan{Router: r.ID}, nil
				}
				return inner.Plan(ctx, r)
			}
		}},
		{"damage", "what is broken stays broken", "Apply has done nothing", func(b *broken) {
			done := false
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				if done {
					return dataplane.Plan{Router: r.ID}, nil
				}
				done = true
				return inner.Apply(ctx, r)
			}
		}},
	}
}

func watchDefects() []defect {
	// mishears lets only some announcements through.
	mishears := func(let func(id string) bool) func(*broken) {
		return func(b *broken) {
			b.watch = func(ctx context.Context, inner dataplane.Watcher) (<-chan dataplane.Drift, error) {
				announced, err := inner.Watch(ctx)
				out := make(chan dataplane.Drift)
				go func() {
					defer close(out)
					for d := range announced {
						if let(d.Router) {
							out <- d
						}
					}
				}()
				return out, err
			}
		}
	}
	heard := map[string]bool{}
	return []defect{
		{"watch-announces", "it never announces", "r1 was not announced", mishears(func(string) bool { return false })},
		{"watch-announces", "it announces a router once only", "r1 was not announced", mishears(func(id string) bool {
			again := heard[id]
			heard[id] = true
			return !again
		})},
		{"watch-announces", "it says that it cannot", "watching is broken", func(b *broken) {
			b.watch = func(context.Context, dataplane.Watcher) (<-chan dataplane.Drift, error) {
				return nil, errors.New("watching is broken")
			}
		}},
		{"watch-is-silent", "it announces what it does itself", "r1 was announced, not bystander", func(b *broken) {
			out := make(chan dataplane.Drift, 1000)
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if !plan.Empty() {
					out <- dataplane.Drift{Router: r.ID}
				}
				return plan, err
			}
			b.watch = func(ctx context.Context, inner dataplane.Watcher) (<-chan dataplane.Drift, error) {
				if _, err := inner.Watch(ctx); err != nil {
					return nil, err
				}
				return out, nil
			}
		}},
	}
}

func counterDefects() []defect {
	counts := func(change func(c *dataplane.Counters)) func(*broken) {
		return func(b *broken) {
			b.count = func(counters map[netip.Addr]dataplane.Counters, err error) error {
				for a, c := range counters {
					change(&c)
					counters[a] = c
				}
				return err
			}
		}
	}
	return []defect{
		{"counters-", "they count twice", "2 packets counted in, not 1", counts(func(c *dataplane.Counters) { c.In.Packets *= 2 })},
		{"counters-", "they count no answers", "0 packets counted out, not 1", counts(func(c *dataplane.Counters) { c.Out = dataplane.Traffic{} })},
		{"counters-", "they count payload", "bytes counted out", counts(func(c *dataplane.Counters) { c.Out.Bytes = c.Out.Packets })},
		{"counters-", "a change resets them", "the counters are", rebuilds},
		{"counters-", "one that has gone is counted", "the counters are", func(b *broken) {
			b.count = func(counters map[netip.Addr]dataplane.Counters, err error) error {
				if _, ok := counters[fip2]; !ok && err == nil {
					counters[fip2] = dataplane.Counters{}
				}
				return err
			}
		}},
		{"counters-", "a router that is not there has none", "not ErrNotExist", func(b *broken) {
			b.count = func(map[netip.Addr]dataplane.Counters, error) error { return nil }
		}},
	}
}

func readyDefects() []defect {
	ready := func(fn func(ctx context.Context, inner dataplane.Dataplane) error) func(*broken) {
		return func(b *broken) { b.ready = fn }
	}
	return []defect{
		{"ready-", "it always says yes", "not ErrClosed", ready(func(ctx context.Context, _ dataplane.Dataplane) error { return ctx.Err() })},
		{"ready-", "it never ends", "when its context has ended", ready(func(_ context.Context, inner dataplane.Dataplane) error {
			return inner.Ready(context.Background())
		})},
		{"ready-", "it is never ready", "not today", ready(func(ctx context.Context, inner dataplane.Dataplane) error {
			return errors.Join(inner.Ready(ctx), errors.New("not today"))
		})},
		{"ready-", "it leaves a router behind", "List by", ready(func(ctx context.Context, inner dataplane.Dataplane) error {
			_, err := inner.Apply(ctx, dataplane.Router{ID: "ready"})
			return errors.Join(inner.Ready(ctx), err)
		})},
		{"ready-", "it tries a router", "Ready writes", ready(func(ctx context.Context, inner dataplane.Dataplane) error {
			_, err := inner.Apply(ctx, dataplane.Router{ID: "ready"})
			return errors.Join(inner.Ready(ctx), err, inner.Delete(ctx, "ready"))
		})},
	}
}

func stepDefects() []defect {
	// mumbles changes what steps say.
	mumbles := func(change func(*dataplane.Step)) func(*broken) {
		return func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				for i := range plan.Steps {
					change(&plan.Steps[i])
				}
				return plan, err
			}
		}
	}
	return []defect{
		{"steps-", "without IDs", "no step ~ of kind [link wiring] is for web", mumbles(func(s *dataplane.Step) { s.ID = "" })},
		{"steps-", "without kinds", "is of kind \"\"", mumbles(func(s *dataplane.Step) { s.Kind = "" })},
		{"steps-", "the address instead of the ID", "belongs to \"203.0.113.101\"", mumbles(func(s *dataplane.Step) {
			if s.Kind == dataplane.KindFloatingIP {
				s.ID = s.Object
			}
		})},
		{"steps-", "addresses without IDs", "no step + of kind [address]", mumbles(func(s *dataplane.Step) {
			if s.Kind == dataplane.KindAddress {
				s.ID = ""
			}
		})},
	}
}

// slowHost loses the first datagram after something was applied.
type slowHost struct {
	Host
	applied *atomic.Bool
}

func (h slowHost) Ask(ctx context.Context, to netip.AddrPort) (Seen, error) {
	if h.applied.Swap(false) {
		return Seen{}, errSilence()
	}
	return h.Host.Ask(ctx, to)
}

// numbHost hears no ICMP errors, and nothing comes back that is larger than largest bytes, if that
// is given.
type numbHost struct {
	Host
	largest int
}

func (h numbHost) Watch() (Watch, error) {
	w, err := h.Host.Watch()
	return numbWatch{w}, err
}

func (h numbHost) Dial(ctx context.Context, proto dataplane.Proto, from, to netip.AddrPort) (Conn, error) {
	c, err := h.Host.Dial(ctx, proto, from, to)
	return numbConn{c, h.largest}, err
}

type numbWatch struct{ Watch }

func (w numbWatch) Packets() ([]Packet, error) {
	packets, err := w.Watch.Packets()
	return slices.DeleteFunc(packets, func(p Packet) bool { return p.ICMP != nil && p.ICMP.About != nil }), err
}

type numbConn struct {
	Conn
	largest int
}

func (c numbConn) Exchange(ctx context.Context, payload int) (Seen, error) {
	if c.largest > 0 && payload > c.largest {
		return Seen{}, errSilence()
	}
	return c.Conn.Exchange(ctx, payload)
}

func ownerDefects() []defect {
	inspects := func(change func(b *broken, in *dataplane.Inspection, err *error)) func(*broken) {
		return func(b *broken) {
			b.look = func(ctx context.Context, inner dataplane.Dataplane, id string) (dataplane.Inspection, error) {
				in, err := inner.Inspect(ctx, id)
				change(b, &in, &err)
				return in, err
			}
		}
	}
	return []defect{
		{"owner-is", "the host does not keep it", "not \"one\"", misreads(func(r *dataplane.Router) { r.Owner = "" })},
		{"owner-is", "a router without one loses it", "not \"one\"", func(b *broken) {
			b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Apply(ctx, r)
				if r.Owner == "" {
					b.fake.host.Tamper(r.ID, func(have *dataplane.Router) { have.Owner = "" })
				}
				return plan, err
			}
		}},
		{"owner-is", "Plan does not name it", "steps for the owner", func(b *broken) {
			b.plan = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				r.Owner = ""
				return inner.Plan(ctx, r)
			}
		}},
		{"inspect-", "floating IPs are left out", "Inspect has", inspects(func(_ *broken, in *dataplane.Inspection, _ *error) {
			in.Held = slices.DeleteFunc(in.Held, func(h dataplane.HeldAddr) bool { return h.Addr == fip1 })
		})},
		{"inspect-", "networks are left out", "Inspect has", inspects(func(_ *broken, in *dataplane.Inspection, _ *error) {
			for i := range in.Held {
				in.Held[i].Network = dataplane.Network{}
			}
		})},
		{"inspect-", "a router that is not there is one without addresses", "not ErrNotExist", inspects(func(_ *broken, _ *dataplane.Inspection, err *error) {
			*err = nil
		})},
		{"inspect-", "it writes", "the host, after Inspect", inspects(func(b *broken, _ *dataplane.Inspection, _ *error) {
			b.fake.host.Tamper("r1", func(r *dataplane.Router) { r.Owner += "x" })
		})},
	}
}
