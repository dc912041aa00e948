package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// api is the REST API on loopback, with a client.
type api struct {
	service *service.Service
	store   *sqlstore.Store
	server  *http.Server
	client  *http.Client
	url     string
}

const project = "bench"

// serve opens a database, and serves it.
func serve(ctx context.Context, database string) (*api, error) {
	store, err := sqlstore.Open(ctx, database)
	if err != nil {
		return nil, err
	}
	svc, err := service.New(service.Config{Store: store, Quotas: map[string]int{"router": -1, "floatingip": -1, "port": -1}})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	a := &api{
		service: svc, store: store, url: "http://" + listener.Addr().String() + "/v2.0/",
		server: &http.Server{Handler: rest.New(rest.Config{Service: svc, Auth: rest.None{}})},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
	}
	go func() { _ = a.server.Serve(listener) }() // its end is close's
	return a, nil
}

func (a *api) close() error {
	a.client.CloseIdleConnections()
	return errors.Join(a.server.Close(), a.store.Close())
}

// do makes a request, and wants that answer.
func (a *api) do(ctx context.Context, method, path string, body any, status int) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("X-Project-Id", project)
	request.Header.Set("X-User-Id", project)
	request.Header.Set("X-Roles", "member")
	request.Header.Set("Content-Type", "application/json")
	answer, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != status {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, said)
	}
	return err
}

// named is the body that makes or changes a resource.
func named(kind string, attributes map[string]any) map[string]any {
	return map[string]any{kind: attributes}
}

// onSQLite runs fn with the API over a database in a file, whose changes are on the disk before
// they are answered.
func onSQLite(ctx context.Context, fn func(*api) ([]row, error)) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "l3kit-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return onDatabase(ctx, "sqlite:"+filepath.Join(dir, "l3.db"), fn)
}

// onPostgres runs fn with the API over PostgreSQL, as it is set up by default.
func onPostgres(ctx context.Context, fn func(*api) ([]row, error)) ([]row, error) {
	server, err := l3test.StartPostgres(ctx)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	database, err := server.Database(ctx)
	if err != nil {
		return nil, err
	}
	return onDatabase(ctx, database, fn)
}

func onDatabase(ctx context.Context, database string, fn func(*api) ([]row, error)) ([]row, error) {
	a, err := serve(ctx, database)
	if err != nil {
		return nil, err
	}
	rows, err := fn(a)
	return rows, errors.Join(err, a.close())
}

// postRouters measures how many routers eight clients can make in a second.
func postRouters(ctx context.Context, a *api, name string, goal float64) ([]row, error) {
	const clients, warm, long = 8, time.Second, 4 * time.Second
	ctx, cancel := context.WithTimeout(ctx, warm+long)
	defer cancel()
	var made atomic.Int64
	errs := make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for errs[i] == nil {
				if errs[i] = a.do(ctx, "POST", "routers", named("router", map[string]any{"name": "r"}), http.StatusCreated); errs[i] == nil {
					made.Add(1)
				}
			}
			if ctx.Err() != nil {
				errs[i] = nil // the time is over
			}
		})
	}
	time.Sleep(warm)
	before, start := made.Load(), time.Now()
	all.Wait()
	perSecond := float64(made.Load()-before) / time.Since(start).Seconds()
	return []row{atLeast(goal, row{Name: name, Value: perSecond, Unit: "/s", Note: "8 clients on the same machine"})}, errors.Join(errs...)
}

// reads measures answers about a thousand routers.
func reads(ctx context.Context, a *api) ([]row, error) {
	const routers, runs = 1000, 100
	specs := make([]l3.RouterSpec, routers)
	for i := range specs {
		specs[i].Name = new(fmt.Sprint("router-", i))
	}
	made, err := a.service.CreateRouters(ctx, l3.Caller{Project: project, Roles: []string{l3.RoleMember}}, specs...)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, m := range []struct {
		name, path string
		goal       float64
	}{
		{"rest/list-1000", "routers", 15},
		{"rest/page-100", "routers?limit=100&marker=" + made[500].ID, 3},
		{"rest/by-name", "routers?name=router-500", 1.5},
		{"rest/show", "routers/" + made[500].ID, 1},
	} {
		var samples []time.Duration
		for range runs {
			d, err := timed(func() error { return a.do(ctx, "GET", m.path, nil, http.StatusOK) })
			if err != nil {
				return nil, err
			}
			samples = append(samples, d)
		}
		rows = append(rows, atMost(m.goal, row{Name: m.name, Value: milliseconds(median(samples)), Unit: "ms"}))
	}
	return rows, nil
}

// bindFloatingIP measures the binding of a floating IP to a port of a router's subnet.
func bindFloatingIP(ctx context.Context, a *api) ([]row, error) {
	const runs = 100
	admin, member := l3.Caller{Project: "admins", Admin: true}, l3.Caller{Project: project, Roles: []string{l3.RoleMember}}
	outside, err := a.service.CreateNetworks(ctx, admin, l3.NetworkSpec{External: new(true)})
	if err != nil {
		return nil, err
	}
	inside, err := a.service.CreateNetworks(ctx, member, l3.NetworkSpec{})
	if err != nil {
		return nil, err
	}
	if _, err = a.service.CreateSubnets(ctx, admin, l3.SubnetSpec{NetworkID: &outside[0].ID, CIDR: new(netip.MustParsePrefix("203.0.113.0/24"))}); err != nil {
		return nil, err
	}
	subnets, err := a.service.CreateSubnets(ctx, member, l3.SubnetSpec{NetworkID: &inside[0].ID, CIDR: new(netip.MustParsePrefix("10.0.0.0/16"))})
	if err != nil {
		return nil, err
	}
	routers, err := a.service.CreateRouters(ctx, member, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: outside[0].ID}})
	if err != nil {
		return nil, err
	}
	if _, err = a.service.AddRouterInterface(ctx, member, routers[0].ID, l3.InterfaceSpec{SubnetID: subnets[0].ID}); err != nil {
		return nil, err
	}
	var samples []time.Duration
	for range runs {
		ports, err := a.service.CreatePorts(ctx, member, l3.PortSpec{NetworkID: &inside[0].ID})
		if err != nil {
			return nil, err
		}
		made, err := a.service.CreateFloatingIPs(ctx, member, l3.FloatingIPSpec{NetworkID: &outside[0].ID})
		if err != nil {
			return nil, err
		}
		body := named("floatingip", map[string]any{"port_id": ports[0].ID})
		d, err := timed(func() error { return a.do(ctx, "PUT", "floatingips/"+made[0].ID, body, http.StatusOK) })
		if err != nil {
			return nil, err
		}
		samples = append(samples, d)
	}
	return []row{atMost(5, row{Name: "rest/bind-fip", Value: milliseconds(median(samples)), Unit: "ms",
		Note: fmt.Sprintf("%d on one router, one after the other", runs)})}, nil
}
