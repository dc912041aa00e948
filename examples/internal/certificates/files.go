// Package certificates reads the files of TLS that flags name. Errors name the flag.
package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// Client is what a client of a TLS server is given, as flags for kong.
type Client struct {
	CA   string `name:"ca" placeholder:"FILE" help:"Authorities of the server's certificate (PEM). Default: the system's."`
	Cert string `placeholder:"FILE" help:"Client certificate (PEM)."`
	Key  string `placeholder:"FILE" help:"Key of that certificate (PEM)."`
}

// Config is nil when no file is given. The names of the flags begin with prefix.
func (c Client) Config(prefix string) (_ *tls.Config, err error) {
	if c == (Client{}) {
		return nil, nil
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, setting.Errorf("%scert and %skey go together", prefix, prefix)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		if config.RootCAs, err = Authorities(prefix+"ca", c.CA); err != nil {
			return nil, err
		}
	}
	if c.Cert != "" {
		if err := files.Secret(prefix+"key", c.Key); err != nil {
			return nil, err
		}
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, setting.Errorf("%scert, %skey: %w", prefix, prefix, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// Authorities reads a file of certificates.
func Authorities(flag, file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, setting.Errorf("%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, setting.Errorf("%s: %s has no certificate in PEM", flag, file)
	}
	return pool, nil
}
