package control

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/server"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/scheduler"
)

// Server is the flags of a server.
type Server struct {
	Service Service `embed:""`
	Bus     Bus     `embed:""`
}

// Service is the flags of the API and of what stands behind it.
type Service struct {
	Listen   string `default:"127.0.0.1:9696" placeholder:"ADDRESS" help:"Address to serve the API at. Without authentication it must be a loopback address."`
	URL      string `placeholder:"URL" help:"Root URL of the API for links in answers. Default: the one that the client used."`
	Database string `default:"sqlite:l3kit.db" placeholder:"URL" help:"sqlite:FILE, or postgres://USER@HOST/NAME. Its tables are created and migrated."`

	Auth   Auth   `embed:""`
	Limits Limits `embed:""`

	Scheduler     string         `enum:"chance,least-routers,least-loaded" default:"least-routers" help:"How the host of a router is chosen: ${enum}."`
	AgentDownTime time.Duration  `default:"75s" help:"Time since its last heartbeat after which an agent is dead and its routers move; at least 3s."`
	FailoverRate  int            `default:"100" help:"Maximum number of routers moved away from dead agents per second."`
	MaxRoutes     int            `default:"30" help:"Maximum number of extra routes of a router."`
	PhysicalMTU   int            `default:"1500" help:"MTU of the network that carries the tunnels. It bounds the MTU of networks."`
	Quota         map[string]int `placeholder:"RESOURCE=LIMIT;..." help:"Default quotas of projects, such as router=10; -1 is unlimited."`

	Distributed bool `help:"Make routers distributed whose callers do not say: they route on the hosts of their workloads, not on one."`

	Orphans string `enum:"keep,remove" default:"keep" help:"What hosts do with routers that the database, which may be empty, does not know: ${enum}."`

	TenantNetworks []string `placeholder:"RANGE" help:"Type and ID range of networks without a provider type: vxlan:1:1000, vlan:NAME:2:9, local."`
}

// Part is a [daemon.Part]: it serves until ctx ends.
func (s *Server) Part(ctx context.Context, p *daemon.Process) error {
	c, err := s.Open(ctx, p)
	if err != nil {
		return err
	}
	return errors.Join(c.Serve(ctx), c.Close())
}

// check refuses what can be seen to be wrong without touching anything.
func (s *Service) check() error {
	if s.AgentDownTime < server.MinAgentDownTime {
		return setting.Errorf("--agent-down-time: %s is less than %s", s.AgentDownTime, server.MinAgentDownTime)
	}
	for _, f := range []struct {
		flag  string
		value int
	}{{"--failover-rate", s.FailoverRate}, {"--max-routes", s.MaxRoutes}, {"--physical-mtu", s.PhysicalMTU}} {
		if f.value < 1 {
			return setting.Errorf("%s: %d is less than 1", f.flag, f.value)
		}
	}
	if s.URL != "" {
		if err := daemon.CheckURL("--url", s.URL); err != nil {
			return err
		}
	}
	known := service.DefaultQuotas()
	for resource := range s.Quota {
		if _, ok := known[resource]; !ok {
			return setting.Errorf("--quota: there is no quota for %q, only for %s", resource, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return errors.Join(s.checkDatabase(), daemon.CheckAddress("--listen", s.Listen), s.Limits.check(), s.Auth.check())
}

// checkDatabase refuses what is not the URL of a database. It does not connect.
func (s *Service) checkDatabase() error {
	scheme, path, _ := strings.Cut(s.Database, ":")
	switch scheme {
	case "sqlite":
		if path, _, _ = strings.Cut(path, "?"); path == "" {
			return setting.Errorf("--database: %q names no file: give sqlite:FILE", s.Database)
		}
		if _, err := os.Stat(filepath.Dir(path)); path != ":memory:" && errors.Is(err, fs.ErrNotExist) {
			return setting.Errorf("--database: cannot create %s: %w", path, err)
		}
	case "postgres", "postgresql":
		if _, err := pgconn.ParseConfig(s.Database); err != nil {
			return setting.For("--database", err)
		}
	default:
		return setting.Errorf("--database: the URL begins neither with sqlite: nor with postgres://")
	}
	return nil
}

func (s *Service) scheduler() l3.Scheduler {
	switch s.Scheduler {
	case "chance":
		return scheduler.NewChance(nil)
	case "least-loaded":
		return scheduler.NewLeastLoaded(scheduler.DefaultWeights(), nil)
	default:
		return scheduler.NewLeastRouters(nil)
	}
}
