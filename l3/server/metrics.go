package server

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// metrics is what operators watch.
type metrics struct {
	registerer prometheus.Registerer // nil: there is none
	registered []prometheus.Collector

	requests                               *prometheus.HistogramVec
	notices, heartbeats, reports, failover prometheus.Counter
}

// newMetrics registers all metrics or none.
func newMetrics(registerer prometheus.Registerer, store l3.Store, agents l3.Agents) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		registerer: registerer,
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "l3kit_http_request_duration_seconds", Help: "Time to answer a request of the API.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"method", "status"}),
		notices:    counter("l3kit_bus_published_total", "Notices of the outbox that this server published."),
		heartbeats: counter("l3kit_bus_heartbeats_total", "Heartbeats that this server took."),
		reports:    counter("l3kit_bus_reports_total", "Reports on routers that this server took."),
		failover:   counter("l3kit_failover_moves_total", "Routers that this server moved away from agents that are dead or disabled."),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.notices, m.heartbeats, m.reports, m.failover, &census{store, agents}} {
		if err := registerer.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("Config.Metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
	m.registered = nil
}

func (m *metrics) moved(routers int) { m.failover.Add(float64(routers)) }

// counting counts what passes between the bus and the control plane.
type counting struct {
	l3.ControlPlane
	metrics *metrics
}

func (c counting) Heartbeat(ctx context.Context, h agent.Heartbeat) (l3.Agent, error) {
	a, err := c.ControlPlane.Heartbeat(ctx, h)
	if err == nil {
		c.metrics.heartbeats.Inc()
	}
	return a, err
}

func (c counting) Report(ctx context.Context, r agent.Report) error {
	err := c.ControlPlane.Report(ctx, r)
	if err == nil {
		c.metrics.reports.Inc()
	}
	return err
}

func (c counting) Published(ctx context.Context, notices []l3.Notice) error {
	err := c.ControlPlane.Published(ctx, notices)
	if err == nil {
		c.metrics.notices.Add(float64(len(notices)))
	}
	return err
}

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
