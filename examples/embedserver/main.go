// Command embedserver is a control plane and an agent in one program: it serves the Networking API
// v2.0 at 127.0.0.1:9696 and realises routers on this host. It needs root.
package main

import (
	"context"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/server"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store := must(sqlstore.Open(ctx, "sqlite:embedserver.db"))
	defer store.Close()
	control := must(server.Open(ctx, server.Config{
		Store:         store,
		Auth:          rest.None{Default: l3.Caller{Project: "demo", Admin: true, Roles: []string{l3.RoleAdmin}}},
		Listener:      must(net.Listen("tcp", "127.0.0.1:9696")),
		SegmentRanges: []service.SegmentRange{{Type: dataplane.NetworkLocal}}, // there is one host
		Logger:        slog.Default(),
	}))
	defer control.Close()

	routers := must(host.Open(ctx, host.Config{}))
	defer routers.Close() // they stay
	here := must(agent.New(agent.Config{
		Host: "here", Source: must(control.Login("here")), Dataplane: routers, Capabilities: routers.Capabilities(), Logger: slog.Default(),
	}))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return control.Run(ctx) })
	g.Go(func() error { return here.Run(ctx) })
	if err := g.Wait(); err != nil {
		log.Print(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
