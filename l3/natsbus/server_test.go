package natsbus_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/disk"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3/natsbus"
)

func TestServerRefusesWithOneLine(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	port := netip.MustParseAddrPort(busy.Addr().String())
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for what, c := range map[string]natsbus.ServerConfig{
		"less than 16 bytes": {Dir: t.TempDir()},
		"Dir is missing":     {Secret: secret},
		"address already in": {Secret: secret, Dir: t.TempDir(), Listen: port},
		"not a directory":    {Secret: secret, Dir: filepath.Join(file, "bus")},
	} {
		_, err := natsbus.StartServer(c)
		require.ErrorContains(t, err, what)
		require.NotContains(t, strings.TrimSpace(err.Error()), "\n")
	}
}

// TestServerDirectoryIsItsOwn: two in one would spoil what each other keeps.
func TestServerDirectoryIsItsOwn(t *testing.T) {
	c := natsbus.ServerConfig{Secret: secret, Dir: t.TempDir()}
	s := start(t, c)
	_, err := natsbus.StartServer(c)
	require.ErrorContains(t, err, "is another server's")
	s.Shutdown()
	start(t, c)
}

func TestServerFullDisk(t *testing.T) {
	if !needs.MountNamespace(t) {
		return
	}
	dir := t.TempDir()
	disk.Small(t, dir, "64k")
	require.NoError(t, disk.Fill(filepath.Join(dir, "ballast")))
	_, err := natsbus.StartServer(natsbus.ServerConfig{Secret: secret, Dir: dir})
	require.ErrorContains(t, err, "no space left on device")
}

func TestServerWithoutListen(t *testing.T) {
	s := start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir()})
	require.Empty(t, s.URL())
	nc := connect(t, natsbus.Login{Server: s})
	require.NoError(t, nc.Flush())
}

func TestServerLogin(t *testing.T) {
	r := newRig(t)
	for what, l := range map[string]natsbus.Login{
		"no password":        {Host: "h1"},
		"another's password": {Host: "h1", Password: natsbus.Credential(secret, "h2")},
		"another secret's":   {Host: "h1", Password: natsbus.Credential([]byte("fedcba9876543210"), "h1")},
		"an agent's":         {Password: natsbus.Credential(secret, "control")},
	} {
		l.URLs = []string{r.server.URL()}
		_, err := natsbus.Connect(l)
		require.Error(t, err, what)
	}
	require.NoError(t, r.agent("h1").Flush())
	_, err := natsbus.Connect(natsbus.Login{})
	require.ErrorContains(t, err, "neither")
}

func TestToken(t *testing.T) {
	for name, token := range map[string]string{
		"node-1": "node-1", "node1.example": "node1=2Eexample", "*": "=2A", ">": "=3E", "a=b": "a=3Db", "": "=", "h 1": "h=201", "ä": "=C3=A4",
	} {
		require.Equal(t, token, natsbus.Token(name))
	}
}
