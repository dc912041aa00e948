package ovs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-org/libovsdb/client"
	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/l3kit/l3kit/dataplane"
)

// errOver says that the session ended while it was used.
var errOver = errors.New("the connection ended")

// session is one connection to ovsdb-server, with a view of its tables. Each connection has a view
// of its own, made from nothing, so that none can hold what was before an outage.
type session struct {
	endpoint string
	db       client.Client
	view     *view
	gone     chan struct{} // closed when the connection has ended
}

// endpoint checks what a user writes, for the library takes some mistakes for its default.
func endpoint(text string) (string, error) {
	scheme, address, _ := strings.Cut(text, ":")
	switch {
	case scheme == client.UNIX && strings.HasPrefix(address, "/"):
	case (scheme == client.TCP || scheme == client.SSL) && strings.Contains(address, ":"):
	default:
		return "", fmt.Errorf("%w: endpoint %q is none of unix:/path, tcp:host:port and ssl:host:port", dataplane.ErrInvalid, text)
	}
	return text, nil
}

// begin connects and reads the tables.
func begin(ctx context.Context, endpoint string, security *tls.Config, integration string) (_ *session, err error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: no answer within %s", endpoint, patience)
		}
	}()
	tables, err := schema()
	if err != nil {
		return nil, err
	}
	quiet := logr.Discard()
	db, err := client.NewOVSDBClient(tables, client.WithEndpoint(endpoint), client.WithTLSConfig(security), client.WithLogger(&quiet))
	if err != nil {
		return nil, err
	}
	if err := db.Connect(limited); err != nil {
		return nil, err
	}
	s := &session{endpoint: endpoint, db: db, gone: make(chan struct{})}
	go s.watch()
	s.view = newView(db.Cache(), integration, s.gone)
	if _, err = db.Monitor(limited, db.NewMonitor(monitored()...)); err == nil {
		err = s.view.settle(limited)
	}
	if err != nil {
		s.hangUp()
		return nil, err
	}
	return s, nil
}

func monitored() []client.MonitorOption {
	var (
		sw switchRow
		b  bridgeRow
		p  portRow
		i  interfaceRow
	)
	return []client.MonitorOption{
		client.WithTable(&sw, &sw.Bridges, &sw.NextCfg, &sw.CurCfg),
		client.WithTable(&b, &b.Name, &b.DatapathType, &b.FailMode, &b.Ports, &b.ExternalIDs),
		client.WithTable(&p, &p.Name, &p.Interfaces, &p.Tag, &p.VLANMode, &p.Trunks, &p.Protected, &p.ExternalIDs),
		client.WithTable(&i, &i.Name, &i.Type, &i.Options, &i.MTURequest, &i.ExternalIDs, &i.OFPort, &i.Error, &i.IfIndex),
	}
}

// watch waits for the end. The library tells of it only who is listening at that moment, so that
// now and then it has to be asked.
func (s *session) watch() {
	defer close(s.gone)
	for {
		select {
		case <-s.db.DisconnectNotify():
			return
		case <-time.After(time.Second):
			if s.db.CurrentEndpoint() == "" {
				return
			}
		}
	}
}

func (s *session) over() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// hangUp ends the connection.
func (s *session) hangUp() {
	s.db.Close()
	<-s.gone
}

// sync brings the view up to date. ovsdb-server sends a client all that has changed before it reads
// the client's next request, so that its answer to an echo comes after every change that was
// complete when the echo was sent.
func (s *session) sync(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := s.echo(limited)
	if err == nil {
		err = s.view.settle(limited)
	}
	return s.failed(ctx, err)
}

// settle brings the view to what the server has sent so far: a state that the database has had.
func (s *session) settle(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.failed(ctx, s.view.settle(limited))
}

// echo asks the server for an answer. The end of ctx is not the end of the question, because the
// library looks at the answer even when it was told not to wait for it any longer, while it may
// just be coming in.
func (s *session) echo(ctx context.Context) error {
	answered := make(chan error, 1)
	go func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		answered <- s.db.Echo(limited)
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed tells the end of the context from that of the connection, and ends the latter if it is no
// good any more.
func (s *session) failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.hangUp()
	return fmt.Errorf("%w: %w", errOver, err)
}

// transact commits operations, all or none, and returns the result of each. [errConflict] says that
// a wait operation found that somebody was faster, and [errOver] that nobody knows. So that this is
// rare, the end of ctx is minded only until the operations are sent.
func (s *session) transact(ctx context.Context, ops []ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	results, err := s.db.Transact(limited, ops...)
	if err != nil {
		s.hangUp()
		return nil, fmt.Errorf("%w before the result of a transaction was known: %w", errOver, err)
	}
	for i, r := range results {
		switch {
		case r.Error == "":
		case i < len(ops) && ops[i].Op == ovsdb.OperationWait:
			return nil, errConflict
		case i < len(ops):
			return nil, fmt.Errorf("ovsdb-server refused to %s a row of table %s: %s: %s", ops[i].Op, ops[i].Table, r.Error, r.Details)
		default: // RFC 7047 4.1.3: the whole cannot be committed
			return nil, fmt.Errorf("ovsdb-server refused the transaction: %s: %s", r.Error, r.Details)
		}
	}
	return results, nil
}

// bridge returns the bridge with a name, or nil.
func (s *session) bridge(name string) (b *bridgeRow) {
	s.view.read(func() { b = s.view.bridges[name] })
	return b
}

// port returns the port and the interface with a name, or nil.
func (s *session) port(name string) (p *port, i *interfaceRow) {
	s.view.read(func() { p, i = s.view.ports[name], s.view.interfaces[name] })
	return p, i
}

// bridgeOf returns the UUID of the bridge that a port is on.
func (s *session) bridgeOf(p *port) (uuid string) {
	s.view.read(func() {
		for _, b := range s.view.bridges {
			if slices.Contains(b.Ports, p.UUID) {
				uuid = b.UUID
			}
		}
	})
	return uuid
}
