package control

import (
	"crypto/tls"

	"github.com/l3kit/l3kit/examples/internal/certificates"
	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// serverTLS is that of the embedded bus; nil without a certificate.
func serverTLS(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	if err := files.Secret("--bus-tls-key", key); err != nil {
		return nil, err
	}
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, setting.Errorf("--bus-tls-cert, --bus-tls-key: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}}
	if clientCA != "" {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.ClientCAs, err = certificates.Authorities("--bus-client-ca", clientCA)
	}
	return c, err
}

// mutualTLS is that between the servers of a cluster.
func mutualTLS(cert, key, ca string) (*tls.Config, error) {
	c, err := serverTLS(cert, key, "")
	if err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.RootCAs, err = certificates.Authorities("--bus-cluster-ca", ca)
	c.ClientCAs = c.RootCAs
	return c, err
}
