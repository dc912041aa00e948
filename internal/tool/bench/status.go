package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// byStatus measures lists by a status that follows from what hosts report, and from which hosts are
// heard: of 100,000 routers, of which 1,000 are on a host that died and 10 have failed.
func byStatus(ctx context.Context, a *api) ([]row, error) {
	const routers, hosted, failed, runs = 100_000, 1000, 10, 50
	member := l3.Caller{Project: project, Roles: []string{l3.RoleMember}}
	for range routers/1000 - 2*hosted/1000 {
		if _, err := a.service.CreateRouters(ctx, member, make([]l3.RouterSpec, 1000)...); err != nil {
			return nil, err
		}
	}
	for _, host := range []string{"dead", "alive"} {
		if err := a.hostRouters(ctx, host, hosted); err != nil {
			return nil, err
		}
	}
	all, err := a.service.DesiredOn(ctx, "alive")
	if err != nil {
		return nil, err
	}
	for i, want := range all {
		r := agent.Report{Host: want.Host, RouterID: want.Router.ID, Epoch: want.Epoch, Revision: want.Revision}
		if i < failed {
			r.Error = "no room"
		}
		if err := a.service.Report(ctx, r); err != nil {
			return nil, err
		}
	}
	var rows []row
	for _, m := range []struct {
		name, path, note string
		goal             float64
	}{
		{"active", "routers?status=ACTIVE&limit=100", "a page of 100", 4},
		{"build", "routers?status=BUILD", "none: those that would be are on the host that died", 10},
		{"error", "routers?status=ERROR", fmt.Sprint(failed, " routers"), 4},
		{"down", "routers?status=DOWN&limit=100", "a page of 100, because their host died", 10},
		{"sorted", "routers?sort_key=status&sort_dir=asc&limit=100", "the first page, of routers that are ACTIVE", 10},
		{"sorted-desc", "routers?sort_key=status&sort_dir=desc&limit=100", "the first page: those in ERROR, then those whose host died", 20},
	} {
		var samples []time.Duration
		for range runs {
			d, err := timed(func() error { return a.do(ctx, "GET", m.path, nil, http.StatusOK) })
			if err != nil {
				return nil, err
			}
			samples = append(samples, d)
		}
		rows = append(rows, atMost(m.goal, row{Name: "rest/by-status-" + m.name, Value: milliseconds(median(samples)), Unit: "ms", Note: m.note}))
	}
	return rows, nil
}

// hostRouters makes routers with gateways on a network that one host alone reaches. The host is
// heard, unless its name is dead.
func (a *api) hostRouters(ctx context.Context, host string, n int) error {
	admin := l3.Caller{Project: project, Admin: true}
	on, err := a.service.Heartbeat(ctx, agent.Heartbeat{Host: host, Capabilities: agent.Capabilities{PhysicalNetworks: []string{host}}})
	if err != nil {
		return err
	}
	outside, err := a.service.CreateNetworks(ctx, admin, l3.NetworkSpec{
		External: new(true), Segments: &[]l3.Segment{{Type: "flat", Physical: host}},
	})
	if err != nil {
		return err
	}
	if _, err := a.service.CreateSubnets(ctx, admin, l3.SubnetSpec{NetworkID: &outside[0].ID, CIDR: new(netip.MustParsePrefix("10.0.0.0/16"))}); err != nil {
		return err
	}
	specs := make([]l3.RouterSpec, n)
	for i := range specs {
		specs[i] = l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: outside[0].ID}}
	}
	if _, err := a.service.CreateRouters(ctx, admin, specs...); err != nil || host != "dead" {
		return err
	}
	return a.store.Update(ctx, func(tx l3.Tx) error {
		a, err := tx.Agents().Get(ctx, on.ID)
		if err != nil {
			return err
		}
		a.HeartbeatAt = time.Now().Add(-time.Hour)
		return tx.Agents().Update(ctx, &a)
	})
}
