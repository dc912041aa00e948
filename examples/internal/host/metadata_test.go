package host

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/examples/internal/explain"
)

// TestMetadata: with --metadata-socket the routers of a host pass requests on to a service at a
// unix socket, also after the agent was restarted, and without it they refuse them.
func TestMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metadata")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s of %s asks for %s", r.Header["X-Forwarded-For"], r.Header["X-Neutron-Router-Id"], r.URL.Path)
	}))
	service.Listener.Close()
	service.Listener = l
	service.Start()
	t.Cleanup(service.Close)

	r := newRig(t)
	r.flags.Metadata.Socket = path
	b := newBus(t, loopback)
	b.put(office(), 1)
	reports, beats := b.hear("reports.host1"), b.hear("$KV.agents.host1")
	p := r.start(b.login())
	next(t, reports, applied)
	next(t, beats, func(w map[string]any) bool { return w["configurations"].(map[string]any)["metadata"] == true })
	server, _ := r.neighbours()
	ask := func() (string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://169.254.169.254/latest/meta-data/", nil)
		require.NoError(t, err)
		req.Header.Set("X-Forwarded-For", "10.0.0.99")
		resp, err := server.HTTP(netip.Addr{}).Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return string(text), err
	}
	want := fmt.Sprintf("[%s] of [%s] asks for /latest/meta-data/", "10.0.1.5", office().ID)
	text, err := ask()
	require.NoError(t, err)
	require.Equal(t, want, text)

	var out bytes.Buffer
	e := Explain{Router: office().ID, Machine: r.flags.Machine, HostQuestion: explain.HostQuestion{Question: explain.Question{
		From: netip.MustParseAddr("10.0.1.5"), To: netip.MustParseAddr("169.254.169.254"), Proto: "tcp", Dport: 80,
	}}}
	require.NoError(t, e.Run(t.Context(), &out))
	require.Contains(t, out.String(), "the metadata proxy answers")
	e.Check = true
	require.NoError(t, e.Run(t.Context(), &out))
	require.Contains(t, out.String(), "The kernel agrees")
	out.Reset()
	require.NoError(t, (&Plan{Machine: r.flags.Machine}).Run(t.Context(), &out))
	require.Equal(t, "nothing to do\n", out.String())

	p.end()
	_, err = ask()
	require.Error(t, err, "nobody is there")
	p = r.start(b.login())
	next(t, reports, applied)
	text, err = ask()
	require.NoError(t, err)
	require.Equal(t, want, text)
	p.end()

	r.flags.Metadata = Metadata{}
	p = r.start(b.login())
	next(t, reports, applied)
	_, err = ask()
	require.Error(t, err)
	p.end()
}

func TestMetadataFlags(t *testing.T) {
	for text, m := range map[string]Metadata{
		"--metadata-socket and --metadata-url exclude each other": {Socket: "/run/a", URL: "http://a"},
		"--metadata-url: ": {URL: "ftp://a"},
	} {
		_, err := m.handler(nil)
		require.ErrorContains(t, err, text)
	}
	h, err := Metadata{}.handler(nil)
	require.NoError(t, err)
	require.Nil(t, h, "off unless asked for")
}
