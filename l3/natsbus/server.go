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
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerConfig configures an embedded server. Secret and Dir must be given.
type ServerConfig struct {
	Secret []byte         // passwords derive from it; at least 16 bytes; the same on all servers of a cluster
	Dir    string         // for what the bus keeps; created if missing; one server's only
	Listen netip.AddrPort // for agents; zero: only this process can connect. Port 0: any
	TLS    *tls.Config    // for agents; nil: none

	// Cluster joins servers to one bus. Three or five of them go on when fewer than half are lost.
	Cluster *ClusterConfig

	// Unsynced acknowledges messages before they are on disk, so that a power loss can take back
	// what the database has as published. It is for measurements.
	Unsynced bool

	Logger *slog.Logger // nil: nothing is logged
}

// ClusterConfig says how the servers of a cluster find each other.
type ClusterConfig struct {
	Name   string         // of this server, unlike that of any other
	Listen netip.AddrPort // for the other servers
	Peers  []string       // host:port of the servers, this one may be among them
	TLS    *tls.Config    // between servers, both ways; nil: none
}

// Server is a NATS server in this process. It syncs each message to disk before it acknowledges it.
type Server struct {
	config ServerConfig
	log    *serverLog
	lock   *os.File
	stop   func() // stops watching the health

	mu      sync.Mutex
	running *server.Server // nil: it was shut down
	relay   *relay         // of that server
}

// StartServer starts a server and returns when it accepts connections. In a cluster it may take
// longer until there are enough servers for [Open].
func StartServer(c ServerConfig) (_ *Server, err error) {
	if len(c.Secret) < 16 {
		return nil, errors.New("start bus: ServerConfig.Secret has less than 16 bytes")
	}
	if c.Dir == "" {
		return nil, errors.New("start bus: ServerConfig.Dir is missing")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	s := &Server{config: c, log: &serverLog{log: c.Logger}, lock: lock}
	if err := s.start(); err != nil {
		lock.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { s.heal(ctx) })
	s.stop = func() {
		cancel()
		watching.Wait()
	}
	return s, nil
}

// start starts nats-server.
func (s *Server) start() error {
	failed := func(err error) error {
		return fmt.Errorf("start bus on %s, in %s: %w", s.config.Listen, s.config.Dir, err)
	}
	options := s.config.options()
	auth := &guard{secret: s.config.Secret, log: s.log, ready: make(chan struct{}), hosts: map[string]*server.Account{}}
	allow := sync.OnceFunc(func() { close(auth.ready) })
	defer allow()
	options.CustomClientAuthentication = auth
	n, err := server.NewServer(options)
	if err != nil {
		return failed(err)
	}
	auth.server = n
	if err := auth.export(); err != nil {
		return failed(err)
	}
	n.SetLoggerV2(s.log, s.config.Logger.Enabled(context.Background(), slog.LevelDebug), false, false)
	n.Start()
	deadline := time.Now().Add(10 * time.Second)
	for !n.ReadyForConnections(20 * time.Millisecond) {
		if err = s.log.fatal(); err == nil && time.Now().After(deadline) {
			err = errors.New("it accepts no connections after 10 seconds")
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = s.log.fatal()
	}
	var relay *relay
	if err == nil {
		relay, err = startRelay(n, s.config.Secret, s.log)
	}
	if err != nil {
		allow()
		n.Shutdown()
		n.WaitForShutdown()
		return failed(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.relay = n, relay
	if at, ok := n.Addr().(*net.TCPAddr); ok { // which a restart must use again
		s.config.Listen = at.AddrPort()
	}
	return nil
}

// lockDir locks a directory until the file that it returns is closed: two servers would damage each
// other's files. It also writes to the directory, because nats-server would notice late that it
// cannot.
func lockDir(dir string) (_ *os.File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
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
	return lock, writable(dir)
}

func (c ServerConfig) options() *server.Options {
	o := &server.Options{
		ServerName: "l3kit",
		JetStream:  true,
		StoreDir:   c.Dir,
		SyncAlways: !c.Unsynced,
		NoSigs:     true,
		// A router with many floating IPs is a large message; NATS's default is 1 MiB.
		MaxPayload: maxMessage,
		// What one connection can make the server keep.
		MaxPending: 4 * maxMessage,
		MaxSubs:    1000,
		DontListen: !c.Listen.IsValid(),
		TLSConfig:  c.TLS,
		TLS:        c.TLS != nil,
		TLSVerify:  c.TLS != nil && c.TLS.ClientAuth == tls.RequireAndVerifyClientCert,
		TLSTimeout: 5,
	}
	o.Host, o.Port = hostPort(c.Listen)
	if c.Cluster == nil {
		return o
	}
	o.ServerName = c.Cluster.Name
	o.Cluster.Name = "l3kit"
	o.Cluster.Host, o.Cluster.Port = hostPort(c.Cluster.Listen)
	o.Cluster.Username, o.Cluster.Password = "server", Password(c.Secret, "server")
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

// current returns the server that is running; nil: none is.
func (s *Server) current() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// URL is the address that agents connect to; empty when there is none.
func (s *Server) URL() string {
	n := s.current()
	if n == nil || n.Addr() == nil {
		return ""
	}
	return "nats://" + n.Addr().String()
}

// InProcessConn returns a connection without a socket. With it a Server is what
// nats.InProcessServer takes.
func (s *Server) InProcessConn() (net.Conn, error) {
	n := s.current()
	if n == nil {
		return nil, errors.New("connect to bus: it is not running")
	}
	return n.InProcessConn()
}

// Shutdown ends connections, writes everything to disk and returns when that is done.
func (s *Server) Shutdown() {
	s.stop()
	s.halt()
	s.lock.Close()
}

func (s *Server) halt() {
	s.mu.Lock()
	n, relay := s.running, s.relay
	s.running, s.relay = nil, nil
	s.mu.Unlock()
	if n != nil {
		relay.close()
		n.Shutdown()
		n.WaitForShutdown()
	}
}
