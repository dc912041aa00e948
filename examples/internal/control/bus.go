package control

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/nats-io/nats.go"

	"github.com/l3kit/l3kit/examples/internal/buslogin"
	"github.com/l3kit/l3kit/examples/internal/certificates"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// Bus is the flags of the bus: one that is embedded in this process, or another NATS.
type Bus struct {
	Embedded

	Listen   netip.AddrPort `name:"bus-listen" default:"127.0.0.1:4222" placeholder:"ADDRESS" help:"Address of the embedded bus for agents."`
	TLSCert  string         `name:"bus-tls-cert" placeholder:"FILE" help:"Certificate of the embedded bus (PEM). Agents then connect with TLS."`
	TLSKey   string         `name:"bus-tls-key" placeholder:"FILE" help:"Key of that certificate (PEM)."`
	ClientCA string         `name:"bus-client-ca" placeholder:"FILE" help:"Authorities (PEM) of the certificates that agents must have beside passwords."`

	ClusterName   string         `name:"bus-cluster-name" placeholder:"NAME" help:"Name of this server in a cluster that shares one bus."`
	ClusterListen netip.AddrPort `name:"bus-cluster-listen" placeholder:"ADDRESS" help:"Address for the other servers of the cluster."`
	ClusterPeers  []string       `name:"bus-cluster-peers" placeholder:"HOST:PORT" help:"Addresses of the servers of the cluster; this one may be among them."`
	ClusterCA     string         `name:"bus-cluster-ca" placeholder:"FILE" help:"Authorities (PEM) of the servers' --bus-tls-cert, for mutual TLS."`
	Replicas      int            `name:"bus-replicas" default:"0" help:"Number of servers that keep each message. 0: 1, or 3 in a cluster."`

	URLs         []string `name:"bus" placeholder:"URL" help:"URL of another NATS with JetStream, in place of the embedded bus. See the command accounts."`
	PasswordFile string   `name:"bus-password-file" placeholder:"FILE" help:"File with the password of that NATS's user control."`
	Password     string   `name:"bus-password" placeholder:"PASSWORD" help:"That password. Prefer the environment or a file."`
	Credentials  string   `name:"bus-credentials" placeholder:"FILE" help:"File with NATS credentials (JWT and key) in place of a password."`

	TLS certificates.Client `embed:"" prefix:"bus-"`
}

// Embedded is the flags of what an embedded bus keeps.
type Embedded struct {
	Dir        string `name:"bus-dir" default:"l3kit-bus" placeholder:"DIR" help:"Directory of the embedded bus; created if missing."`
	TakeOver   bool   `name:"bus-take-over" help:"Take over a bus that belongs to another database: empty it. Hosts keep what they run."`
	SecretFile string `name:"bus-secret-file" default:"l3kit-bus.secret" placeholder:"FILE" help:"Secret that agent passwords derive from; created if missing."`
}

// check refuses flags that do not go together.
func (b *Bus) check() error {
	if err := buslogin.CheckURLs(b.URLs); err != nil {
		return err
	}
	cluster := b.ClusterListen.IsValid() || len(b.ClusterPeers) > 0 || b.ClusterCA != ""
	switch {
	case len(b.URLs) > 0 && (b.clustered() || cluster || b.TLSCert != "" || b.ClientCA != ""):
		return setting.Errorf("--bus names another NATS: the flags of the embedded bus (--bus-cluster-…, --bus-tls-…, --bus-client-ca) cannot be given")
	case len(b.URLs) == 0 && (b.PasswordFile != "" || b.Password != "" || b.Credentials != "" || b.TLS != (certificates.Client{})):
		return setting.Errorf("--bus-password…, --bus-credentials, --bus-ca and --bus-cert are for another NATS: name it with --bus")
	case (b.TLSCert == "") != (b.TLSKey == ""):
		return setting.Errorf("--bus-tls-cert and --bus-tls-key go together")
	case (b.ClientCA != "" || b.ClusterCA != "") && b.TLSCert == "":
		return setting.Errorf("--bus-client-ca and --bus-cluster-ca need --bus-tls-cert")
	case cluster && !b.clustered():
		return setting.Errorf("--bus-cluster-name is missing")
	case b.clustered() && (!b.ClusterListen.IsValid() || len(b.ClusterPeers) < 2):
		return setting.Errorf("a cluster needs --bus-cluster-listen and at least two --bus-cluster-peers")
	case b.Replicas < 0 || b.Replicas > 5 || b.Replicas > 1 && len(b.URLs) == 0 && !b.clustered():
		return setting.Errorf("--bus-replicas: %d is not between 0 and 5, or there is no cluster", b.Replicas)
	}
	return nil
}

func (b *Bus) clustered() bool { return b.ClusterName != "" }

func (b *Bus) options(log *slog.Logger) natsbus.Options {
	o := natsbus.Options{Replicas: b.Replicas, TakeOver: b.TakeOver, Logger: log}
	if o.Replicas == 0 && b.clustered() {
		o.Replicas = 3
	}
	return o
}

// link is the connection to the bus, and the server if that is in this process.
type link struct {
	server *natsbus.Server
	secret []byte
	conn   *nats.Conn
}

// open starts the embedded bus, if it is that, and connects.
func (b *Bus) open(log *slog.Logger) (_ *link, err error) {
	l := &link{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	login := natsbus.Login{Logger: log}
	if len(b.URLs) > 0 {
		log.Warn("nobody can see from here whether the other NATS syncs messages to disk before it acknowledges them: " +
			"its configuration must say jetstream {sync_interval: always}")
		login, err = b.login(log)
	} else {
		err = b.start(l, log)
		login.Server = l.server
	}
	if err != nil {
		return nil, err
	}
	if l.conn, err = natsbus.Connect(login); errors.Is(err, nats.ErrAuthorization) {
		err = fmt.Errorf("%w: give the password of its user %s (--bus-password-file); the command accounts prints the accounts that it needs",
			err, natsbus.ControlUser)
	}
	return l, err
}

// start starts the embedded bus.
func (b *Bus) start(l *link, log *slog.Logger) (err error) {
	c := natsbus.ServerConfig{Dir: b.Dir, Listen: b.Listen, Logger: log}
	if c.TLS, err = serverTLS(b.TLSCert, b.TLSKey, b.ClientCA); err != nil {
		return err
	}
	if b.clustered() {
		c.Cluster = &natsbus.ClusterConfig{Name: b.ClusterName, Listen: b.ClusterListen, Peers: b.ClusterPeers}
		if b.ClusterCA != "" {
			if c.Cluster.TLS, err = mutualTLS(b.TLSCert, b.TLSKey, b.ClusterCA); err != nil {
				return err
			}
		}
	}
	if l.secret, _, err = makeSecret(b.SecretFile); err != nil {
		return err
	}
	c.Secret = l.secret
	l.server, err = natsbus.StartServer(c)
	return err
}

// login is how to connect to another NATS.
func (b *Bus) login(log *slog.Logger) (natsbus.Login, error) {
	l := natsbus.Login{URLs: b.URLs, Password: b.Password, CredentialsFile: b.Credentials, Logger: log}
	return buslogin.Read(l, b.PasswordFile, b.TLS)
}

func (l *link) close() {
	if l.conn != nil {
		closed := l.conn.StatusChanged(nats.CLOSED)
		l.conn.Close()
		<-closed
	}
	if l.server != nil {
		l.server.Shutdown()
	}
}
