package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// addresses is a log that hands on where the server listens.
type addresses struct {
	slog.Handler
	found chan string
}

func (a addresses) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "address" {
			a.found <- attr.Value.String()
		}
		return true
	})
	return a.Handler.Handle(ctx, r)
}

func parse(t *testing.T, args ...string) *server {
	t.Helper()
	var s server
	k, err := kong.New(&s, kong.Vars{"version": ""})
	require.NoError(t, err)
	_, err = k.Parse(args)
	require.NoError(t, err)
	return &s
}

func TestServesUntilItIsToldToEnd(t *testing.T) {
	s := parse(t, "--listen=127.0.0.1:0", "--metrics=127.0.0.1:0", "--database=sqlite:"+filepath.Join(t.TempDir(), "l3.db"), "--admin-project=demo")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log := addresses{slog.NewTextHandler(t.Output(), nil), make(chan string, 2)}
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, slog.New(log)) }()
	api, own := "http://"+<-log.found, "http://"+<-log.found

	answer, err := http.Post(api+"/v2.0/routers", "application/json", strings.NewReader(`{"router": {"name": "r1"}}`))
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, answer.StatusCode, "%s", body)

	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok", "/metrics": `l3kit_http_request_duration_seconds_count{method="POST",status="201"} 1`,
	} {
		answer, err := http.Get(own + path)
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Contains(t, string(text), want)
	}

	stop()
	require.NoError(t, <-ended)
	_, err = http.Get(api)
	require.Error(t, err)
}

func TestWhatIsWrongIsSaidInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("- token: t"), 0o600))
	database := "--database=sqlite:" + filepath.Join(dir, "l3.db")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"open to everybody":    {[]string{"--listen=0.0.0.0:0"}, "--force-listen"},
		"address taken":        {[]string{database, "--listen=" + taken.Addr().String()}, "address already in use"},
		"unknown database":     {[]string{"--database=mysql://x"}, "postgres://"},
		"no such directory":    {[]string{"--database=sqlite:" + dir + "/none/l3.db"}, "/none/l3.db"},
		"no PostgreSQL":        {[]string{"--database=postgres://nobody@127.0.0.1:1/x?connect_timeout=2"}, "127.0.0.1"},
		"no tokens":            {[]string{"--auth=token"}, "--token-file"},
		"tokens that are none": {[]string{"--auth=token", "--token-file=" + file}, "project is missing"},
		"no Keystone":          {[]string{"--auth=keystone"}, "--keystone-url"},
		"unknown quota":        {[]string{database, "--quota=routers=1"}, "routers"},
	} {
		t.Run(name, func(t *testing.T) {
			err := parse(t, c.args...).run(t.Context(), slog.New(slog.DiscardHandler))
			require.Error(t, err)
			require.Contains(t, oneLine(err), c.says)
		})
	}
}
