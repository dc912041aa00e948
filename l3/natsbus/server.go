package natsbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerConfig is what an embedded server is made of. Secret and Dir must be given.
type ServerConfig struct {
	Secret []byte         // that passwords are derived from; at least 16 bytes; the same on all servers of a cluster
	Dir    string         // for what the bus keeps; made if missing; of one server only
	Listen netip.AddrPort // for agents; zero: nobody but this process can connect. Port 0: any
	TLS    *tls.Config    // for agents; nil: none

	// Cluster joins servers to one bus. Three or five of them go on when fewer than half are lost.
	Cluster *ClusterConfig

	Logger *slog.Logger // nil: nothing is logged
}

// ClusterConfig is how the servers of a cluster find each other.
type ClusterConfig struct {
	Name   string         // of this server, unlike that of any other
	Listen netip.AddrPort // for the other servers
	Peers  []string       // host:port of the servers, this one may be among them
	TLS    *tls.Config    // between servers, both ways; nil: none
}

// Server is a NATS server in this process.
type Server struct {
	server *server.Server
	secret []byte
	lock   *os.File
}

// StartServer starts a server and returns when it takes connections. In a cluster it may be a while until there are enough servers for [Open].
func StartServer(c ServerConfig) (_ *Server, err error) {
	if len(c.Secret) < 16 {
		return nil, errors.New("start the bus: ServerConfig.Secret has less than 16 bytes")
	}
	if c.Dir == "" {
		return nil, errors.New("start the bus: ServerConfig.Dir is missing")
	}
	lock, err := claim(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("start the bus: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	log := &serverLog{log: c.Logger}
	if log.log == nil {
		log.log = slog.New(slog.DiscardHandler)
	}
	s, err := server.NewServer(c.options())
	if err != nil {
		return nil, fmt.Errorf("start the bus: %w", err)
	}
	s.SetLoggerV2(log, log.log.Enabled(context.Background(), slog.LevelDebug), false, false)
	s.Start()
	deadline := time.Now().Add(10 * time.Second)
	for !s.ReadyForConnections(20 * time.Millisecond) {
		if err = log.fatal(); err == nil && time.Now().After(deadline) {
			err = errors.New("it takes no connections after 10 seconds")
		}
		if err != nil {
			s.Shutdown()
			s.WaitForShutdown()
			return nil, fmt.Errorf("start the bus on %s, in %s: %w", c.Listen, c.Dir, err)
		}
	}
	if err := log.fatal(); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("start the bus on %s, in %s: %w", c.Listen, c.Dir, err)
	}
	return &Server{server: s, secret: c.Secret, lock: lock}, nil
}

// claim locks a directory until the file that it returns is closed: two servers in one would spoil what each other keeps. And it tries to write
// into it: nats-server would find out late that it cannot.
func claim(dir string) (_ *os.File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("directory %s is another server's: %w", dir, err)
	}
	path := filepath.Join(dir, ".writable")
	err = os.WriteFile(path, make([]byte, 4096), 0o600)
	return lock, errors.Join(err, os.RemoveAll(path))
}

func (c ServerConfig) options() *server.Options {
	o := &server.Options{
		ServerName: "l3kit",
		JetStream:  true,
		StoreDir:   c.Dir,
		NoSigs:     true,
		// A router with many floating IPs is a large message; NATS's default is 1 MiB.
		MaxPayload:                 maxMessage,
		CustomClientAuthentication: guard(c.Secret),
		DontListen:                 !c.Listen.IsValid(),
		TLSConfig:                  c.TLS,
		TLS:                        c.TLS != nil,
		TLSVerify:                  c.TLS != nil && c.TLS.ClientAuth == tls.RequireAndVerifyClientCert,
		TLSTimeout:                 5,
	}
	o.Host, o.Port = hostPort(c.Listen)
	if c.Cluster == nil {
		return o
	}
	o.ServerName = c.Cluster.Name
	o.Cluster.Name = "l3kit"
	o.Cluster.Host, o.Cluster.Port = hostPort(c.Cluster.Listen)
	o.Cluster.Username, o.Cluster.Password = "server", derive(c.Secret, "server")
	o.Cluster.TLSConfig = c.Cluster.TLS
	o.Cluster.TLSTimeout = 5
	for _, p := range c.Cluster.Peers {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: p, User: url.UserPassword(o.Cluster.Username, o.Cluster.Password)})
	}
	return o
}

func hostPort(a netip.AddrPort) (string, int) {
	if !a.IsValid() {
		return "127.0.0.1", server.RANDOM_PORT
	}
	if a.Port() == 0 {
		return a.Addr().String(), server.RANDOM_PORT
	}
	return a.Addr().String(), int(a.Port())
}

// URL is where agents connect to; empty when nobody can.
func (s *Server) URL() string {
	if a := s.server.Addr(); a != nil {
		return "nats://" + a.String()
	}
	return ""
}

// InProcessConn is a connection without a socket. With it a Server is what nats.InProcessServer takes.
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }

// Shutdown ends connections, writes everything to disk and returns when that is done. What was acknowledged is there at the next start.
func (s *Server) Shutdown() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.lock.Close()
}

// guard lets in the control plane and agents, by passwords that are derived from the secret.
type guard []byte

// Check is called by nats-server for each connection.
func (g guard) Check(c server.ClientAuthentication) bool {
	login := c.GetOpts()
	if !authentic(g, login.Username, login.Password) {
		return false
	}
	user := &server.User{Username: login.Username}
	if login.Username == ControlUser {
		c.RegisterUser(user)
		return true
	}
	host, ok := hostOfUser(login.Username)
	if !ok {
		return false
	}
	may := AgentPermissions(host)
	user.Permissions = &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: may.Publish.Allow},
		Subscribe: &server.SubjectPermission{Allow: may.Subscribe.Allow},
	}
	c.RegisterUser(user)
	return true
}
