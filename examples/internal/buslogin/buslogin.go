// Package buslogin reads how to log in to the message queue from what the flags --bus… name.
package buslogin

import (
	"net/url"

	"github.com/l3kit/l3kit/examples/internal/certificates"
	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// Read completes a login by the files that flags name.
func Read(l natsbus.Login, passwordFile string, tls certificates.Client) (_ natsbus.Login, err error) {
	if passwordFile != "" {
		if l.Password, err = files.ReadSecret("--bus-password-file", passwordFile); err != nil {
			return l, err
		}
	}
	if l.CredentialsFile != "" {
		if err := files.Secret("--bus-credentials", l.CredentialsFile); err != nil {
			return l, err
		}
	}
	l.TLS, err = tls.Config("--bus-")
	return l, err
}

// CheckURLs refuses what cannot be the value of --bus.
func CheckURLs(urls []string) error {
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return setting.Errorf("--bus: %w", err)
		}
		if u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || u.Path != "" {
			return setting.Errorf("--bus: %q is neither nats://HOST:PORT nor tls://HOST:PORT", text)
		}
	}
	return nil
}
