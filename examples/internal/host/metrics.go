package host

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// metrics are what Prometheus is told of an agent.
type metrics struct {
	apply *prometheus.HistogramVec
}

func newMetrics() *metrics {
	return &metrics{apply: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "l3kit_agent_apply_seconds", Help: "Time to bring a router to what is wanted of it.",
		Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
	}, []string{"result"})}
}

// time is a dataplane whose Apply is timed.
func (m *metrics) time(d dataplane.Dataplane) dataplane.Dataplane {
	t := timed{d, m.apply}
	if w, ok := d.(dataplane.Watcher); ok {
		watcher := timedWatcher{t, w.Watch}
		if s, ok := d.(dataplane.Sighter); ok {
			return timedSighter{watcher, s.Sight}
		}
		return watcher
	}
	return t
}

// timedWatcher is a timed dataplane that can watch.
type timedWatcher struct {
	timed
	watch func(context.Context) (<-chan dataplane.Drift, error)
}

func (t timedWatcher) Watch(ctx context.Context) (<-chan dataplane.Drift, error) { return t.watch(ctx) }

// timedSighter is a timed dataplane that can watch and sight.
type timedSighter struct {
	timedWatcher
	sight func(context.Context, func(dataplane.Sighting)) error
}

func (t timedSighter) Sight(ctx context.Context, fn func(dataplane.Sighting)) error {
	return t.sight(ctx, fn)
}

type timed struct {
	dataplane.Dataplane
	apply *prometheus.HistogramVec
}

// Apply is the dataplane's. One that is given up, because the agent ends, says nothing about the
// time that it takes.
func (t timed) Apply(ctx context.Context, want dataplane.Router) (dataplane.Plan, error) {
	begin := time.Now()
	plan, err := t.Dataplane.Apply(ctx, want)
	result := "ok"
	switch {
	case ctx.Err() != nil:
		return plan, err
	case err != nil:
		result = "error"
	}
	t.apply.WithLabelValues(result).Observe(time.Since(begin).Seconds())
	return plan, err
}

func (m *metrics) register(r prometheus.Registerer, loop *agent.Agent) error {
	return errors.Join(r.Register(m.apply), r.Register(status{loop}))
}

// status is a [prometheus.Collector] of what an agent says of itself.
type status struct{ loop *agent.Agent }

var (
	routers     = desc("routers", "Routers that are wanted on this host.")
	waiting     = desc("waiting", "Routers that are not yet in the version that is wanted, or not yet gone.")
	failing     = desc("failing", "Routers whose last attempt failed.")
	floatingIPs = desc("floating_ips", "Floating IPs of the routers that are wanted on this host.")
	corrected   = desc("corrected_total", "Routers that somebody had changed, and that were put right.")
	heard       = desc("heard_age_seconds", "Time since the last heartbeat that got through was sent. Missing before the first.")
	orphans     = desc("orphans", "Routers that run on this host although the servers have no record of them.")
	noEntry     = desc("refused", "1 while the servers refuse this agent because another machine uses its host name.")
	synced      = desc("synced", "1 once a complete list of the routers was read.")
	fenced      = desc("fenced", "1 while the routers are without ports because the servers are not heard.")
)

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("l3kit_agent_"+name, help, nil, nil)
}

// Describe is [prometheus.Collector]'s.
func (s status) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{routers, waiting, failing, floatingIPs, corrected, heard, synced, fenced, orphans, noEntry} {
		ch <- d
	}
}

// Collect is [prometheus.Collector]'s.
func (s status) Collect(ch chan<- prometheus.Metric) {
	now := s.loop.Status()
	for d, v := range map[*prometheus.Desc]int{
		routers: now.Routers, waiting: now.Waiting, failing: now.Failing, floatingIPs: now.Counts.FloatingIPs, synced: number(now.Synced), fenced: number(now.Fenced),
		orphans: len(now.Orphans), noEntry: number(now.Refused),
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	ch <- prometheus.MustNewConstMetric(corrected, prometheus.CounterValue, float64(now.Corrected))
	if !now.Heard.IsZero() {
		ch <- prometheus.MustNewConstMetric(heard, prometheus.GaugeValue, time.Since(now.Heard).Seconds())
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
