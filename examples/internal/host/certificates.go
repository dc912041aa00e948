package host

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// certificates are the files of TLS, as flags for kong.
type certificates struct {
	CA   string `name:"ca" placeholder:"FILE" help:"Certificates of the authorities that the other side's certificate is of (PEM). Default: the system's."`
	Cert string `placeholder:"FILE" help:"Certificate to show (PEM)."`
	Key  string `placeholder:"FILE" help:"Its key (PEM)."`
}

// config is nil when no file is given. Errors name the flag, which begins with prefix.
func (c certificates) config(prefix string) (*tls.Config, error) {
	if c == (certificates{}) {
		return nil, nil
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, fmt.Errorf("%scert and %skey go together", prefix, prefix)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("%sca: %w", prefix, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%sca: %w", prefix, errors.New(c.CA+" has no certificate"))
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("%scert, %skey: %w", prefix, prefix, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
