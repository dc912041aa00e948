package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// Control is a server that has what it needs, and has not begun. It is served once, and closed.
type Control struct {
	flags   *Server
	process *daemon.Process
	metrics *metrics
	store   *sqlstore.Store
	service *service.Service
	api     http.Handler
	web     *daemon.Web
	link    *link
	bus     atomic.Pointer[natsbus.Bus]
}

// Open finds out everything that can be wrong: it checks the flags, takes the addresses, opens the
// database and connects to the bus. When it fails nothing of that stays.
func (s *Server) Open(ctx context.Context, p *daemon.Process) (_ *Control, err error) {
	if err := errors.Join(s.Service.check(), s.Bus.check()); err != nil {
		return nil, err
	}
	auth, err := s.Service.Auth.open(s.Service.Listen, s.Service.URL)
	if err != nil {
		return nil, err
	}
	ranges, err := segments(s.Service.TenantNetworks)
	if err != nil {
		return nil, err
	}
	c := &Control{flags: s, process: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	// The address comes first: a second server must not touch the files of the first.
	if c.web, err = daemon.Listen(p.Log, s.Service.Listen, s.Service.Limits.inTime(http.HandlerFunc(c.answer)), s.Service.Limits.web()); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if c.store, err = sqlstore.Open(ctx, s.Service.Database); err != nil {
		return nil, fmt.Errorf("--database: %w", err)
	}
	files.WarnOfOthers(p.Log, sqlstore.Files(s.Service.Database)...)
	if c.service, err = service.New(service.Config{
		Store: c.store, Scheduler: s.Service.scheduler(), AgentDownTime: s.Service.AgentDownTime, MaxRoutes: s.Service.MaxRoutes,
		PhysicalMTU: s.Service.PhysicalMTU, Quotas: s.Service.Quota, SegmentRanges: ranges,
		RemoveOrphans: s.Service.Orphans == "remove", Logger: p.Log,
	}); err != nil {
		return nil, invalidService(err)
	}
	if c.metrics, err = newMetrics(p.Metrics, c.store, c.service); err != nil {
		return nil, err
	}
	c.api = rest.New(rest.Config{Service: c.service, Auth: auth, URL: s.Service.URL, Limits: s.Service.Limits.rest(), Logger: p.Log})
	if len(s.Bus.URLs) == 0 {
		files.WarnOfOthers(p.Log, s.Bus.Dir)
	}
	if c.link, err = s.Bus.open(p.Log); err != nil {
		return nil, err
	}
	if err := c.openBus(ctx); err != nil {
		return nil, err
	}
	p.Ready("database", c.databaseReady)
	p.Ready("bus", c.busReady)
	return c, nil
}

// Login is how the agent of a host in this process connects; the bus must be embedded.
func (c *Control) Login(host string) natsbus.Login {
	return natsbus.Login{Server: c.link.server, Host: host, Password: natsbus.Credential(c.link.secret, host), Logger: c.process.Log}
}

// Address is where the API is served.
func (c *Control) Address() string { return c.web.Address() }

// Ready waits until agents can read what they are to do; it says false when ctx ended first.
func (c *Control) Ready(ctx context.Context) bool {
	for c.busReady(ctx) != nil {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}

// Close closes everything. What was acknowledged is on the disk when it returns.
func (c *Control) Close() error {
	if bus := c.bus.Load(); bus != nil {
		_ = bus.Close()
	}
	if c.link != nil {
		c.link.close()
	}
	if c.web != nil {
		c.web.Close() // is closed already, where it has been served
	}
	if c.store != nil {
		return c.store.Close()
	}
	return nil
}

// busPatience is for how long a bus that is not ready holds up the start: it may be that it never
// will be, and somebody looks on.
const busPatience = 2 * time.Second

// databasePatience is for how long readiness waits for a database that may not answer at all.
const databasePatience = 5 * time.Second

// openBus opens the bus, if it is ready. One of which enough servers are not there yet is opened
// while the API is served already.
func (c *Control) openBus(ctx context.Context) error {
	if c.flags.Bus.clustered() {
		return nil
	}
	attempt, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	bus, err := c.connectBus(attempt)
	if errors.Is(err, l3.ErrOtherBus) && ctx.Err() == nil {
		bus, err = c.connectBus(ctx) // which finds out whether that bus is in use
	}
	switch {
	case err == nil:
		c.bus.Store(bus)
	case ctx.Err() != nil || attempt.Err() == nil:
		return err
	default:
		c.process.Log.Warn("the bus is not ready yet", "err", err)
	}
	return nil
}

// connectBus opens the bus for the deployment of the database.
func (c *Control) connectBus(ctx context.Context) (*natsbus.Bus, error) {
	bus, err := natsbus.Open(ctx, c.link.conn, c.service, c.flags.Bus.options(c.process.Log))
	return bus, otherDeployment(err)
}

// otherDeployment says in flags what natsbus says in words of its package.
func otherDeployment(err error) error {
	var other *natsbus.OtherDeploymentError
	if !errors.As(err, &other) {
		return err
	}
	return setting.Errorf("open bus: it belongs to deployment %s, and the database is that of deployment %s: give the database that "+
		"belongs to the bus (--database), an empty directory (--bus-dir), or --bus-take-over", other.Theirs, other.Ours)
}

// invalidService names the flags from which the Config of the service was made.
func invalidService(err error) error {
	text := err.Error()
	for field, flag := range map[string]string{
		"Config.Quotas": "--quota", "Config.PhysicalMTU": "--physical-mtu", "Config.SegmentRanges": "--tenant-networks",
	} {
		if _, reason, found := strings.Cut(text, field); found {
			return setting.Errorf("%s%s", flag, reason)
		}
	}
	return setting.Invalid(err)
}

// Serve serves until ctx ends, and then returns nil.
func (c *Control) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.web.Serve(ctx, c.process) })
	g.Go(func() error { return c.carry(ctx) })
	return g.Wait()
}

// carry carries routers to the agents, and their word back.
func (c *Control) carry(ctx context.Context) error {
	if c.bus.Load() == nil {
		bus, err := c.connectBus(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was given up, because all of this ends
		}
		if err != nil {
			return err
		}
		c.bus.Store(bus)
		c.process.Log.Info("the bus is ready")
	}
	log := c.process.Log
	failover := service.Failover{
		Service: c.service, DownTime: c.flags.Service.AgentDownTime, Rate: c.flags.Service.FailoverRate,
		Hearing: c.bus.Load().CaughtUp, Moved: c.metrics.moved, Logger: log,
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{c.bus.Load().Run, failover.Run} {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}

// databaseReady reads the database, and writes to it: a full disk does not keep it from being read.
func (c *Control) databaseReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, databasePatience)
	defer cancel()
	err := c.store.View(ctx, func(tx l3.Tx) error {
		_, err := tx.Agents().Count(ctx)
		return err
	})
	return err
}

func (c *Control) busReady(ctx context.Context) error {
	bus := c.bus.Load()
	if bus == nil {
		return errors.New("waiting for a quorum of servers")
	}
	ctx, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	return bus.Ready(ctx)
}
