package host

import (
	"github.com/l3kit/l3kit/examples/internal/buslogin"
	"github.com/l3kit/l3kit/examples/internal/certificates"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// Bus is where the message queue is, and how to log in to it, as flags for kong.
type Bus struct {
	URLs         []string `name:"bus" default:"nats://127.0.0.1:4222" placeholder:"URL" help:"The servers' message queue: nats://HOST:PORT or tls://HOST:PORT."`
	Password     string   `name:"bus-password" placeholder:"PASSWORD" help:"Password of this host; server credential HOST prints it. Prefer a file."`
	PasswordFile string   `name:"bus-password-file" placeholder:"FILE" help:"File with that password."`
	Credentials  string   `name:"bus-credentials" placeholder:"FILE" help:"File with NATS credentials (JWT and key), in place of a password."`

	TLS certificates.Client `embed:"" prefix:"bus-"`
}

// Login is for a host's agent.
func (b *Bus) Login(host string) (l natsbus.Login, err error) {
	if err := buslogin.CheckURLs(b.URLs); err != nil {
		return l, err
	}
	l = natsbus.Login{URLs: b.URLs, Host: host, Password: b.Password, CredentialsFile: b.Credentials}
	if l, err = buslogin.Read(l, b.PasswordFile, b.TLS); err != nil {
		return l, err
	}
	if l.Password == "" && l.CredentialsFile == "" && b.TLS.Cert == "" {
		return l, setting.Errorf("the message queue needs a login: give one of --bus-password-file, --bus-credentials and --bus-cert; "+
			"on the server, in its directory or with its --bus-secret-file, server credential %s prints this host's password", host)
	}
	return l, nil
}
