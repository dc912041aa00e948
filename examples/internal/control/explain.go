package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/explain"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// Explain is the command that says what a router does with a packet, across all of its hosts.
type Explain struct {
	Router string `arg:"" help:"ID of the router."`
	explain.Question
	Host     string `placeholder:"NAME" help:"Host that the packet arrives on. Default: that of its source, or of its destination on the external network."`
	Database string `default:"sqlite:l3kit.db" placeholder:"URL" help:"The servers' --database. Its tables are migrated."`
}

// Run is called by kong. It answers for the router as the database has it, whether hosts have
// applied that or not.
func (e *Explain) Run(ctx context.Context, out io.Writer) (err error) {
	if err := (&Service{Database: e.Database}).checkDatabase(); err != nil {
		return err
	}
	if file, sqlite := strings.CutPrefix(e.Database, "sqlite:"); sqlite {
		file, _, _ = strings.Cut(file, "?")
		if _, err := os.Stat(file); err != nil {
			return setting.For("--database", err)
		}
	}
	store, err := sqlstore.Open(ctx, e.Database)
	if err != nil {
		return fmt.Errorf("--database: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	s, err := service.New(service.Config{Store: store})
	if err != nil {
		return err
	}
	instances, err := instances(ctx, s, e.Router)
	if err != nil {
		return fmt.Errorf("explain router %s: %w", e.Router, err)
	}
	return e.AnswerAcross(out, instances, e.Host)
}

// instances are the parts of a router that hosts are to have.
func instances(ctx context.Context, s *service.Service, router string) ([]explain.Instance, error) {
	agents, err := s.AgentsOfRouter(ctx, l3.Caller{Admin: true}, router)
	if err != nil {
		return nil, err
	}
	var all []explain.Instance
	for _, a := range agents {
		for _, id := range []string{router, dataplane.CentreID(router)} {
			p, err := s.PlacementOf(ctx, a.Host, id)
			if errors.Is(err, l3.ErrNotFound) || err == nil && p.Assignment == nil {
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, explain.Instance{Host: a.Host, Router: p.Assignment.Router})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it has no host, or nothing to realise")
	}
	return all, nil
}
