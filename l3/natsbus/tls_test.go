package natsbus_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/natsbus"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t, cert, key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue is for both sides of a connection.
func (a *authority) issue(name string) []tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
}

// TestTLS: agents believe the server by its authority, the server, if it wants to, agents by
// theirs, and passwords count all the same.
func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	for name, config := range map[string]*tls.Config{
		"server's certificate only": {Certificates: ours.issue("bus")},
		"agents' certificates, too": {Certificates: ours.issue("bus"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool()},
	} {
		t.Run(name, func(t *testing.T) {
			both := config.ClientCAs != nil
			r := &rig{T: t, server: start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: loopback, TLS: config})}
			r.nc = connect(t, natsbus.Login{Server: r.server}) // in this process, without a certificate
			r.open(natsbus.Options{})
			w := newWorld("h1")
			w.put("h1", "r1")
			r.publish(w)

			login := func(c *tls.Config) natsbus.Login {
				return natsbus.Login{URLs: []string{r.server.URL()}, Host: "h1", Password: natsbus.Credential(secret, "h1"), TLS: c}
			}
			good := login(&tls.Config{RootCAs: ours.pool(), Certificates: ours.issue("h1")})
			source, err := natsbus.NewSource(connect(t, good), "h1", nil)
			require.NoError(t, err)
			seen := watch(t, source)
			seen.until("the router", func() bool { return seen.synced == 1 && len(seen.have) == 1 })

			wrong := good
			wrong.Password = natsbus.Credential(secret, "h2")
			bad := map[string]natsbus.Login{
				"the system's authorities": login(nil),
				"another authority":        login(&tls.Config{RootCAs: theirs.pool(), Certificates: ours.issue("h1")}),
				"another's password":       wrong,
			}
			plain := login(&tls.Config{RootCAs: ours.pool()})
			strange := login(&tls.Config{RootCAs: ours.pool(), Certificates: theirs.issue("h1")})
			if both {
				bad["no certificate"], bad["a stranger's certificate"] = plain, strange
			} else {
				require.NoError(t, connect(t, plain).Flush())
			}
			for what, l := range bad {
				_, err := natsbus.Connect(l)
				require.Error(t, err, what)
				t.Log(what, "→", err)
			}
		})
	}
}
