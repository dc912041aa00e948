package natsbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Login says how to connect to the bus. Either Server or URLs must be given.
type Login struct {
	Server *Server  // in this process
	URLs   []string // nats://host:port or tls://host:port

	// Host is the host of an agent; empty: this is the control plane. An embedded server
	// authenticates both by Password; see [Credential]. Another NATS may want a file with
	// credentials (a JWT and its key) instead, or a client's certificate in TLS.
	Host            string
	Password        string
	CredentialsFile string
	TLS             *tls.Config // nil: as the URL says, with the system's authorities

	Logger *slog.Logger // nil: nothing is logged
}

// Connect connects to the bus, and connects again whenever the connection is lost. It fails when
// there is no connection at first.
func Connect(l Login) (*nats.Conn, error) {
	if l.Server == nil && len(l.URLs) == 0 {
		return nil, errors.New("connect to bus: neither Login.Server nor Login.URLs is given")
	}
	if l.Logger == nil {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	nc, err := nats.Connect(strings.Join(l.URLs, ","), l.options()...)
	if err != nil {
		return nil, fmt.Errorf("connect to bus %s as %s: %w", strings.Join(l.URLs, ","), l.user(), err)
	}
	return nc, nil
}

func (l Login) user() string {
	if l.Host == "" {
		return ControlUser
	}
	return AgentUser(l.Host)
}

// server names the server that a connection leads to. One in this process may listen nowhere.
func (l Login) server(nc *nats.Conn) string {
	if l.Server != nil {
		return "in this process"
	}
	return nc.ConnectedUrlRedacted()
}

func (l Login) options() []nats.Option {
	log := l.Logger
	options := []nats.Option{
		nats.Name(l.user()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		// A host that is cut off silently is noticed after two of these.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		// Nothing is buffered: the sender waits for the bus, and decides.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("lost connection to the bus", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("connected to the bus again", "server", l.server(nc)) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("the bus refuses a message or a subscription", "err", err)
		}),
	}
	if l.Server != nil {
		options = append(options, nats.InProcessServer(l.Server))
	}
	switch {
	case l.CredentialsFile != "":
		options = append(options, nats.UserCredentials(l.CredentialsFile))
	case l.Server != nil && l.Password == "" && l.Host == "":
		options = append(options, nats.UserInfo(ControlUser, ControlCredential(l.Server.config.Secret)))
	case l.Password != "":
		options = append(options, nats.UserInfo(l.user(), l.Password))
	}
	if l.TLS != nil {
		options = append(options, nats.Secure(l.TLS))
	}
	return options
}

var errCut = errors.New("the connection to the bus was lost")

// whileConnected returns a context that ends when the connection is lost: an answer that was on its
// way is lost too, and need not be waited for. end must be called.
func whileConnected(ctx context.Context, nc *nats.Conn) (_ context.Context, end func()) {
	ctx, stop := context.WithCancelCause(ctx)
	lost := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-lost:
			stop(errCut)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		stop(nil)
		<-over
		nc.RemoveStatusListener(lost)
	}
}
