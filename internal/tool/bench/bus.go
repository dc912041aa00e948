package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// busSync measures what it costs that the bus syncs to disk before it acknowledges: from a call of
// the service until the agent has the router, with a bus that syncs and with one that does not, in
// turn. Both have the same database, whose own commits are synced.
func busSync(ctx context.Context) (rows []row, err error) {
	const runs = 201
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(own), "bus-") // a disk: /tmp may be memory
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var lines [2]*line
	for i := range lines {
		if lines[i], err = newLine(ctx, filepath.Join(dir, fmt.Sprint(i)), i == 0); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, lines[i].close()) }()
	}
	var took [2][]time.Duration
	for n := range runs {
		for i, l := range lines {
			d, err := timed(func() error { return l.change(ctx, n) })
			if err != nil {
				return nil, err
			}
			if n > 0 { // a warm-up
				took[i] = append(took[i], d)
			}
		}
	}
	unsynced, synced := median(took[0]), median(took[1])
	return []row{atMost(2, row{
		Name: "bus/sync", Value: float64(synced) / float64(unsynced), Unit: "x unsynced",
		Note: fmt.Sprintf("from a change to the agent: %.2f ms, unsynced %.2f ms", milliseconds(synced), milliseconds(unsynced)),
	})}, nil
}

// line is a service with a bus, and what one agent receives.
type line struct {
	service *service.Service
	server  *natsbus.Server
	secret  []byte
	router  string
	events  <-chan agent.Event
	closers []func() error
}

func newLine(ctx context.Context, dir string, unsynced bool) (_ *line, err error) {
	l := &line{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := sqlstore.Open(ctx, "sqlite:"+filepath.Join(dir, "l3.db"))
	if err != nil {
		return nil, err
	}
	l.closers = append(l.closers, store.Close)
	secret := []byte("the secret of a benchmark's bus")
	server, err := natsbus.StartServer(natsbus.ServerConfig{Secret: secret, Dir: filepath.Join(dir, "bus"), Unsynced: unsynced})
	if err != nil {
		return nil, err
	}
	l.server, l.secret = server, secret
	l.closers = append(l.closers, func() error {
		server.Shutdown()
		return nil
	})
	if l.service, err = service.New(service.Config{Store: store, Quotas: map[string]int{"port": -1}}); err != nil {
		return nil, err
	}
	control, err := l.connect(natsbus.Login{Server: server})
	if err != nil {
		return nil, err
	}
	bus, err := natsbus.Open(ctx, control, l.service, natsbus.Options{})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- bus.Run(run) }()
	l.closers = append(l.closers, func() error {
		stop()
		return <-ended
	})
	if _, err := l.service.Heartbeat(ctx, agent.Heartbeat{Host: "h", Capabilities: agent.Capabilities{Mode: agent.ModeDVRSNAT}}); err != nil {
		return nil, err
	}
	if err := l.furnish(ctx); err != nil {
		return nil, err
	}
	nc, err := l.connect(natsbus.Login{Server: server, Host: "h", Password: natsbus.Credential(secret, "h")})
	if err != nil {
		return nil, err
	}
	source, err := natsbus.NewSource(nc, "h", nil)
	if err != nil {
		return nil, err
	}
	for { // until the publisher serves
		if l.events, err = source.Watch(run, agent.Session{Host: "h", Instance: "i", Machine: "m"}); err == nil {
			return l, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

func (l *line) connect(login natsbus.Login) (*nats.Conn, error) {
	nc, err := natsbus.Connect(login)
	if err == nil {
		l.closers = append(l.closers, func() error {
			nc.Close()
			return nil
		})
	}
	return nc, err
}

var lineCaller = l3.Caller{Project: "p", Admin: true}

// furnish creates a router with an interface.
func (l *line) furnish(ctx context.Context) error {
	networks, err := l.service.CreateNetworks(ctx, lineCaller, l3.NetworkSpec{})
	if err != nil {
		return err
	}
	subnets, err := l.service.CreateSubnets(ctx, lineCaller, l3.SubnetSpec{NetworkID: &networks[0].ID, CIDR: new(netip.MustParsePrefix("10.0.0.0/24"))})
	if err != nil {
		return err
	}
	routers, err := l.service.CreateRouters(ctx, lineCaller, l3.RouterSpec{})
	if err != nil {
		return err
	}
	l.router = routers[0].ID
	_, err = l.service.AddRouterInterface(ctx, lineCaller, l.router, l3.InterfaceSpec{SubnetID: subnets[0].ID})
	return err
}

// change gives the router its n-th route, and returns when the agent has it.
func (l *line) change(ctx context.Context, n int) error {
	route := l3.Route{Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)}), 32), NextHop: netip.MustParseAddr("10.0.0.9")}
	routes := []l3.Route{route}
	if _, err := l.service.UpdateRouter(ctx, lineCaller, l.router, l3.RouterSpec{Routes: &routes}, l3.If{}); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-l.events:
			if !ok {
				return errors.New("the agent's watch has ended")
			}
			if p, is := e.(agent.Put); is && len(p.Router.Routes) == 1 && p.Router.Routes[0].Dest == route.Destination {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *line) close() (err error) {
	for i := len(l.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, l.closers[i]())
	}
	return err
}
