package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/buslogin"
	"github.com/l3kit/l3kit/examples/internal/certificates"
	"github.com/l3kit/l3kit/examples/internal/explain"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// Explain is the command that says what a router does with a packet, across all of its hosts.
type Explain struct {
	Router string `arg:"" help:"ID of the router."`
	explain.Question
	Host     string `placeholder:"NAME" help:"Host that the packet arrives on. Default: that of its source, or of its destination on the external network."`
	Check    bool   `own:"" help:"Send such a packet on that host, and say where it is lost. The agents of the hosts send it and watch for it."`
	Database string `default:"sqlite:l3kit.db" placeholder:"URL" help:"The servers' --database. Its tables are migrated."`

	Bus Asking `embed:"" group:"Message queue (--check)"`
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
	if !e.Check {
		return e.AnswerAcross(out, instances, e.Host)
	}
	conn, err := e.Bus.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	return e.CheckAcross(ctx, out, instances, e.Host, func(ctx context.Context, host string, question []byte) ([]byte, error) {
		return natsbus.Ask(ctx, conn, host, question)
	})
}

// Asking is how a command that asks agents connects to the bus. It has the flags of a server that
// tell it the same.
type Asking struct {
	Listen     netip.AddrPort `name:"bus-listen" default:"127.0.0.1:4222" placeholder:"ADDRESS" help:"The servers' --bus-listen."`
	SecretFile string         `name:"bus-secret-file" default:"l3kit-bus.secret" placeholder:"FILE" help:"The servers' --bus-secret-file."`

	URLs         []string `name:"bus" placeholder:"URL" help:"URL of the bus of a server elsewhere; or the servers' --bus, with a password or credentials."`
	PasswordFile string   `name:"bus-password-file" placeholder:"FILE" help:"File with the password of the user control."`
	Password     string   `name:"bus-password" placeholder:"PASSWORD" help:"That password. Prefer the environment or a file."`
	Credentials  string   `name:"bus-credentials" placeholder:"FILE" help:"File with NATS credentials (JWT and key) in place of a password."`

	TLS certificates.Client `embed:"" prefix:"bus-"`
}

// connect connects as the control plane. Without another login it has the password that derives
// from the servers' secret.
func (a *Asking) connect() (*nats.Conn, error) {
	if err := buslogin.CheckURLs(a.URLs); err != nil {
		return nil, err
	}
	l, err := buslogin.Read(natsbus.Login{URLs: a.URLs, Password: a.Password, CredentialsFile: a.Credentials}, a.PasswordFile, a.TLS)
	if err != nil {
		return nil, err
	}
	if len(l.URLs) == 0 {
		l.URLs = []string{"nats://" + a.Listen.String()}
	}
	if l.Password == "" && l.CredentialsFile == "" && (len(a.URLs) == 0 || a.TLS.Cert == "") {
		secret, err := readSecret(a.SecretFile)
		if err != nil {
			return nil, err
		}
		l.Password = natsbus.ControlCredential(secret)
	}
	return natsbus.Connect(l)
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
			r := p.Assignment.Router
			r.Metadata = r.Metadata || a.Capabilities.Metadata
			all = append(all, explain.Instance{Host: a.Host, Router: r})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it has no host, or nothing to realise")
	}
	return all, nil
}
