package natsbus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Login is how to connect to the bus. Of Server and URLs one must be given.
type Login struct {
	Server *Server  // in this process
	URLs   []string // nats://host:port or tls://host:port

	// Host is that of an agent; empty: this is the control plane. An embedded server knows both by Password; see [Credential]. For another cluster
	// there may be a file with credentials (a JWT and its key) instead, or in TLS a client's certificate.
	Host            string
	Password        string
	CredentialsFile string
	TLS             *tls.Config // nil: as the URL says, with the system's authorities

	Logger *slog.Logger // nil: nothing is logged
}

// Connect connects, and keeps trying whenever the connection is lost. When there is none at first, Connect fails.
func Connect(l Login) (*nats.Conn, error) {
	if l.Server == nil && len(l.URLs) == 0 {
		return nil, errors.New("connect to the bus: neither Login.Server nor Login.URLs is given")
	}
	if l.Logger == nil {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	nc, err := nats.Connect(strings.Join(l.URLs, ","), l.options()...)
	if err != nil {
		return nil, fmt.Errorf("connect to the bus %s as %s: %w", strings.Join(l.URLs, ","), l.user(), err)
	}
	return nc, nil
}

func (l Login) user() string {
	if l.Host == "" {
		return ControlUser
	}
	return AgentUser(l.Host)
}

func (l Login) options() []nats.Option {
	log := l.Logger
	options := []nats.Option{
		nats.Name(l.user()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		// A host that is cut off without a word is noticed after two of these.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		// Nothing is kept for later: whoever sends waits for the bus, and decides.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the bus is away", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("the bus is back", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("the bus refuses", "err", err) }),
	}
	if l.Host != "" {
		options = append(options, nats.CustomInboxPrefix(inboxOf(l.Host)))
	}
	if l.Server != nil {
		options = append(options, nats.InProcessServer(l.Server))
	}
	switch {
	case l.CredentialsFile != "":
		options = append(options, nats.UserCredentials(l.CredentialsFile))
	case l.Server != nil && l.Password == "" && l.Host == "":
		options = append(options, nats.UserInfo(ControlUser, ControlCredential(l.Server.secret)))
	case l.Password != "":
		options = append(options, nats.UserInfo(l.user(), l.Password))
	}
	if l.TLS != nil {
		options = append(options, nats.Secure(l.TLS))
	}
	return options
}
