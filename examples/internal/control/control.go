package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/server"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// Control is a server that has what it needs, and has not begun. It is served once, and closed.
type Control struct {
	flags    *Server
	process  *daemon.Process
	store    *sqlstore.Store
	listener net.Listener
	server   *server.Server
	link     *link
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
	if c.listener, err = net.Listen("tcp", s.Service.Listen); err != nil {
		return nil, fmt.Errorf("--listen: listen: %w", err)
	}
	if c.store, err = sqlstore.Open(ctx, s.Service.Database); err != nil {
		return nil, fmt.Errorf("--database: %w", err)
	}
	files.WarnOfOthers(p.Log, sqlstore.Files(s.Service.Database)...)
	if c.server, err = server.Open(ctx, server.Config{
		Store: c.store, Bus: c.openBus, Auth: auth, Listener: c.listener, Exposed: s.Service.Auth.ForceListen, URL: s.Service.URL,
		Limits: s.Service.Limits.server(), Scheduler: s.Service.scheduler(), SegmentRanges: ranges, PhysicalMTU: s.Service.PhysicalMTU,
		MaxRoutes: s.Service.MaxRoutes, Quotas: s.Service.Quota, RemoveOrphans: s.Service.Orphans == "remove",
		Distributed: s.Service.Distributed, AgentDownTime: s.Service.AgentDownTime, FailoverRate: s.Service.FailoverRate, Metrics: p.Metrics, Logger: p.Log,
	}); err != nil {
		return nil, inFlags(err)
	}
	p.Ready(c.server.Ready)
	return c, nil
}

// busPatience is for how long a bus that is not ready holds up the start: it may be that it never
// will be, and somebody looks on.
const busPatience = 2 * time.Second

// openBus opens the bus. One of which enough servers are not there yet is opened while the API is
// served already.
func (c *Control) openBus(ctx context.Context, control l3.ControlPlane) (_ l3.Bus, err error) {
	if len(c.flags.Bus.URLs) == 0 {
		files.WarnOfOthers(c.process.Log, c.flags.Bus.Dir)
	}
	if c.link, err = c.flags.Bus.open(c.process.Log); err != nil {
		return nil, err
	}
	o := c.flags.Bus.options(c.process.Log)
	o.Embedded = c.link.server
	if o.Patience = busPatience; c.flags.Bus.clustered() {
		o.Patience = -1
	}
	return natsbus.Open(ctx, c.link.conn, control, o)
}

// Login is how the agent of a host in this process connects; the bus must be embedded. It is not
// the source of [server.Server.Login], because the part that is the agent makes its own connection
// from a login, and makes it again when it is lost, whichever bus that is for.
func (c *Control) Login(host string) natsbus.Login {
	return natsbus.Login{Server: c.link.server, Host: host, Password: natsbus.Credential(c.link.secret, host), Logger: c.process.Log}
}

// Address is where the API is served.
func (c *Control) Address() string { return c.listener.Addr().String() }

// Ready waits until agents can read what they are to do; it says false when ctx ended first.
func (c *Control) Ready(ctx context.Context) bool {
	for c.server.Ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}

// Serve serves until ctx ends, and then returns nil.
func (c *Control) Serve(ctx context.Context) error { return inFlags(c.server.Run(ctx)) }

// Close closes everything. What was acknowledged is on the disk when it returns.
func (c *Control) Close() (err error) {
	if c.server != nil {
		err = c.server.Close()
	}
	if c.link != nil {
		c.link.close()
	}
	if c.listener != nil {
		_ = c.listener.Close() // it is closed already, where it has been served
	}
	if c.store != nil {
		err = errors.Join(err, c.store.Close())
	}
	return err
}

// inFlags says in flags what packages say in words of their own.
func inFlags(err error) error {
	var other *natsbus.OtherDeploymentError
	if errors.As(err, &other) {
		return setting.Errorf("open bus: it belongs to deployment %s, and the database is that of deployment %s: give the database that "+
			"belongs to the bus (--database), an empty directory (--bus-dir), or --bus-take-over", other.Theirs, other.Ours)
	}
	if !errors.Is(err, l3.ErrInvalid) {
		return err
	}
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
