// Command server serves the L3 API: routers, networks, subnets, ports and floating IPs, as the OpenStack Networking API v2.0 has them, over SQLite or
// PostgreSQL. The openstack client, gophercloud and Terraform speak to it as they are.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"
)

const description = `Serves the L3 API (OpenStack Networking v2.0) over SQLite or PostgreSQL.

Every flag can be set in a YAML file, by its name (listen: 127.0.0.1:9696), and in the environment, as L3KIT_LISTEN. A first try, with
the openstack client:

  server --database sqlite:/tmp/l3.db --admin-project demo &
  openstack --os-auth-type none --os-endpoint http://127.0.0.1:9696 network create private
`

func main() {
	var s server
	k := kong.Parse(&s,
		kong.Name("server"), kong.Description(description), kong.DefaultEnvars("L3KIT"),
		kong.Configuration(kongyaml.Loader), kong.Vars{"version": version()},
	)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx, s.logger()); err != nil && !errors.Is(err, context.Canceled) {
		k.Fatalf("%s", oneLine(err))
	}
}

// oneLine is an error as a log wants it: some libraries say each attempt in a line of its own.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// version is that of the module, as the Go tool recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return fmt.Sprint(info.Main.Path, " ", info.Main.Version, " ", info.GoVersion)
}

func (s *server) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
