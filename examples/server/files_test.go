package main

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFilesAreTheOwnersAlone: what the server keeps is nobody else's to read, whatever the umask.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	before := syscall.Umask(0) // which the server has from here
	s := serve(t)
	syscall.Umask(before)
	status, _ := s.post(`{"network": {}}`)
	require.Equal(t, http.StatusCreated, status)
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "l3kit-bus", "jetstream"))
		return err == nil
	}, patience, 10*time.Millisecond)
	found := 0
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == s.dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found++
		require.Zero(t, info.Mode().Perm()&0o077, "%s is %s", path, info.Mode())
		if d.IsDir() { // what is in it is as closed as it is
			return fs.SkipDir
		}
		return nil
	}))
	require.GreaterOrEqual(t, found, 5, "the database with two files beside it, the bus and its secret")
	s.ends(s.cmd, s.said)
}

// TestSecretsOfEverybody: a server does not use secrets that everybody can read, and warns of data
// that everybody can.
func TestSecretsOfEverybody(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		args []string
	}{
		"tokens":   {"- {token: t, project: p, roles: [admin]}", []string{"--auth=token", "--token-file=file"}},
		"settings": {"keystone-password: x", []string{"--config=file"}},
		"password": {"x", []string{"--bus=nats://127.0.0.1:1", "--bus-password-file=file"}},
		"login":    {"x", []string{"--bus=nats://127.0.0.1:1", "--bus-credentials=file"}},
		"bus key":  {"x", []string{"--bus-tls-cert=file", "--bus-tls-key=file"}},
		"key":      {"x", []string{"--bus=nats://127.0.0.1:1", "--bus-cert=file", "--bus-key=file"}},
		"secret":   {"0123456789abcdef", []string{"--bus-secret-file=file"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range []os.FileMode{0o644, 0o620} {
				s := site{t, t.TempDir()}
				require.NoError(t, os.Chmod(s.file("file", c.text, mode), mode))
				cmd, said := s.command(nowhere(c.args...))
				s.refuses("chmod", cmd, said)
			}
		})
	}
	t.Run("settings without secrets", func(t *testing.T) {
		s := site{t, t.TempDir()}
		s.file("file", "agent-down-time: 1s", 0o644)
		cmd, said := s.command(nowhere("--config=file"))
		s.refuses("--agent-down-time: 1s", cmd, said)
	})
	t.Run("data", func(t *testing.T) {
		s := site{t, t.TempDir()}
		require.NoError(t, os.Chmod(s.file("l3kit.db", "", 0o644), 0o644))
		require.NoError(t, os.Mkdir(filepath.Join(s.dir, "l3kit-bus"), 0o755))
		cmd, said := s.command(nowhere("--log-level=warn"))
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(s.dir, "l3kit-bus", "jetstream"))
			return err == nil
		}, patience, 10*time.Millisecond)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), "%s", said)
		for _, path := range []string{"path=l3kit.db", "path=l3kit-bus"} {
			require.Equal(t, 1, strings.Count(said.String(), path+" "), "%s", said)
		}
	})
}
