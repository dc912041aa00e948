package control

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// serverTLS is that of the embedded bus; nil without a certificate.
func serverTLS(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--bus-tls-cert, --bus-tls-key: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}}
	if clientCA != "" {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.ClientCAs, err = authorities("--bus-client-ca", clientCA)
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
	c.RootCAs, err = authorities("--bus-cluster-ca", ca)
	c.ClientCAs = c.RootCAs
	return c, err
}

// clientTLS is that of a connection to another NATS; nil when nothing is given.
func clientTLS(ca, cert, key string) (_ *tls.Config, err error) {
	if ca == "" && cert == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		if c.RootCAs, err = authorities("--bus-ca", ca); err != nil {
			return nil, err
		}
	}
	if cert != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("--bus-cert, --bus-key: %w", err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

func authorities(flag, file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: %s has no certificate in PEM", flag, file)
	}
	return pool, nil
}
