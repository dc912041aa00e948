package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// region is a cluster with a distributed router on two networks. One more host, which has no
// workloads, is its network node.
type region struct {
	*deployment.Cluster
	api      *gophercloud.ServiceClient
	external string // network
	web, app *deployment.Tenant
	router   string
	hosts    []*deployment.Host
	node     *deployment.Host
}

func withRegion(ctx context.Context, hosts int, fn func(*region) ([]row, error)) ([]row, error) {
	mode := func(h *deployment.Host) []string {
		if h.Number == hosts {
			return []string{"--mode=" + agent.ModeDVRSNAT}
		}
		return []string{"--mode=" + agent.ModeDVR}
	}
	return withCluster(ctx, deployment.Config{Hosts: hosts + 1, AgentFlags: mode}, func(c *deployment.Cluster, api *gophercloud.ServiceClient) ([]row, error) {
		external, err := deployment.NewExternal(ctx, api, deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
		if err != nil {
			return nil, err
		}
		tiers, err := deployment.NewTiers(ctx, api, external, "spread", 2)
		if err != nil {
			return nil, err
		}
		return fn(&region{
			Cluster: c, api: api, external: external, web: tiers.Tiers[0], app: tiers.Tiers[1], router: tiers.Router,
			hosts: c.Hosts[:hosts], node: c.Hosts[hosts],
		})
	})
}

// more puts another workload on a tier's network, and on a host.
func (r *region) more(ctx context.Context, tier *deployment.Tenant, h *deployment.Host, name string) (*deployment.Tenant, *lab.Host, error) {
	t, err := tier.More(ctx, r.api, name)
	if err != nil {
		return nil, nil, err
	}
	w, err := h.PlaceAndAttach(ctx, r.api, t)
	return t, w, err
}

// settled waits until all hosts have what was asked for.
func (r *region) settled(ctx context.Context) error {
	for {
		status, reason, err := deployment.StatusOf(ctx, r.api, r.router)
		if err != nil || status == "ACTIVE" {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("router is %s: %s: %w", status, reason, ctx.Err())
		}
	}
}

// asker asks an echo service one question after the other.
type asker struct {
	conn     *net.UDPConn
	to       netip.AddrPort
	asked    int
	answered int // the last question that was
	buf      [2048]byte
}

func newAsker(from *lab.Host, to netip.Addr) (*asker, error) {
	a := &asker{to: netip.AddrPortFrom(to, echoPort)}
	return a, from.Do(func() (err error) {
		a.conn, err = net.ListenUDP("udp4", nil)
		return err
	})
}

// ask asks once, and takes answers for a while, or until this question is answered.
func (a *asker) ask(d time.Duration) error {
	a.asked++
	_, _ = a.conn.WriteToUDPAddrPort(fmt.Appendf(nil, `{"seq":%d}`, a.asked), a.to) // the kernel reports errors about earlier ones
	if err := a.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	for a.answered < a.asked {
		n, _, err := a.conn.ReadFromUDPAddrPort(a.buf[:])
		if err != nil {
			return nil //nolint:nilerr // the time is over, or somebody has sent an ICMP error
		}
		var number int
		if _, err := fmt.Sscanf(string(a.buf[:n]), `{"seq":%d,`, &number); err == nil {
			a.answered = max(a.answered, number)
		}
	}
	return nil
}

// until asks every millisecond until done.
func (a *asker) until(ctx context.Context, done func() (bool, error)) error {
	for start := time.Now(); ; {
		next := time.Now().Add(time.Millisecond)
		if err := a.ask(time.Millisecond); err != nil {
			return err
		}
		if is, err := done(); is || err != nil {
			return err
		}
		if ctx.Err() != nil || time.Since(start) > replyTime {
			return errors.Join(fmt.Errorf("%s: the last of %d questions that was answered is %d", a.to, a.asked, a.answered), ctx.Err())
		}
		time.Sleep(time.Until(next))
	}
}

func (a *asker) close() error { return a.conn.Close() }
