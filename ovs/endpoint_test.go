package ovs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// ovsdb-server is reached by TCP and TLS as well, and the first endpoint that answers is used.
func TestEndpoints(t *testing.T) {
	h := newHost(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots.AddCert(cert)

	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	require.NoError(t, err)
	for _, c := range []struct {
		scheme   string
		listener net.Listener
	}{{"tcp:", plain}, {"ssl:", secure}} {
		t.Run(c.scheme, func(t *testing.T) {
			h := h.on(t)
			cut := h.forward(c.listener)
			d, err := ovs.New(wiringtest.Soon(t), ovs.Config{
				HostNS: h.HostNS, RunDir: h.RunDir, Datapath: ovs.Netdev,
				Endpoints: []string{"unix:/nowhere/db.sock", c.scheme + c.listener.Addr().String()},
				TLS:       &tls.Config{RootCAs: roots},
			})
			require.NoError(t, err)
			defer d.Close()
			p := wiringtest.LocalPort("net", "port", 1)
			wiringtest.Plug(t, d, h.Router("r1"), "qr-port", p)
			cut()
			routers, err := d.Routers(wiringtest.Soon(t))
			require.NoError(t, err, "a connection that broke is made anew")
			require.Equal(t, []string{"r1"}, routers)
			require.NoError(t, d.Release(wiringtest.Soon(t), "r1"))
		})
	}
}

// forward passes what comes to a listener on to ovsdb-server. The function returned cuts all
// connections of that moment.
func (h *host) forward(l net.Listener) (cut func()) {
	var mu sync.Mutex
	var conns []net.Conn
	var all sync.WaitGroup
	cut = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
		conns = nil
	}
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", strings.TrimPrefix(h.Endpoint, "unix:"))
			if err != nil {
				from.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, from, to)
			mu.Unlock()
			all.Go(func() { _, _ = io.Copy(to, from); to.Close() })
			all.Go(func() { _, _ = io.Copy(from, to); from.Close() })
		}
	})
	h.t.Cleanup(func() {
		l.Close()
		cut()
		all.Wait()
	})
	return cut
}
