package control

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/l3kit/l3kit/l3"
)

// metrics is what operators watch.
type metrics struct {
	requests                               *prometheus.HistogramVec
	notices, heartbeats, reports, failover prometheus.Counter
}

func newMetrics(registry *prometheus.Registry, store l3.Store, agents l3.Agents) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "l3kit_http_request_duration_seconds", Help: "Time to answer a request of the API.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"method", "status"}),
		notices:    counter("l3kit_bus_published_total", "Notices of the outbox that this server published."),
		heartbeats: counter("l3kit_bus_heartbeats_total", "Heartbeats that this server took."),
		reports:    counter("l3kit_bus_reports_total", "Reports on routers that this server took."),
		failover:   counter("l3kit_failover_moves_total", "Routers that this server moved away from agents that are dead or disabled."),
	}
	var err error
	for _, c := range []prometheus.Collector{m.requests, m.notices, m.heartbeats, m.reports, m.failover, &census{store, agents}} {
		err = errors.Join(err, registry.Register(c))
	}
	return m, err
}

func (m *metrics) published(notices int) { m.notices.Add(float64(notices)) }
func (m *metrics) moved(routers int)     { m.failover.Add(float64(routers)) }

// census counts in the database whenever it is asked.
type census struct {
	store  l3.Store
	agents l3.Agents
}

var (
	agentsDesc = prometheus.NewDesc("l3kit_agents", "Agents that are alive, silent, or disabled by an administrator.", []string{"state"}, nil)
	outboxDesc = prometheus.NewDesc("l3kit_outbox_notices", "Notices that wait to be published; 1000 stands for more, too.", nil, nil)
	oldestDesc = prometheus.NewDesc("l3kit_outbox_age_seconds", "How long the first of them has waited.", nil, nil)
)

// Describe is prometheus's.
func (c *census) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{agentsDesc, outboxDesc, oldestDesc} {
		descs <- d
	}
}

// Collect is prometheus's. Without the database these metrics are missing, and the others are
// there.
func (c *census) Collect(found chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		found <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if agents, err := c.agents.ListAgents(ctx, l3.Caller{Admin: true}, l3.Query{}); err == nil {
		for state, n := range states(agents) {
			gauge(agentsDesc, float64(n), state)
		}
	}
	var waiting []l3.Notice
	err := c.store.View(ctx, func(tx l3.Tx) (err error) {
		waiting, err = tx.Outbox().Next(ctx, 1000)
		return err
	})
	if err != nil {
		return
	}
	age := 0.0
	if len(waiting) > 0 {
		age = time.Since(waiting[0].At).Seconds()
	}
	gauge(outboxDesc, float64(len(waiting)))
	gauge(oldestDesc, age)
}

func states(agents []l3.Agent) map[string]int {
	count := map[string]int{"alive": 0, "silent": 0, "disabled": 0}
	for _, a := range agents {
		switch {
		case !a.AdminStateUp:
			count["disabled"]++
		case a.Alive:
			count["alive"]++
		default:
			count["silent"]++
		}
	}
	return count
}
