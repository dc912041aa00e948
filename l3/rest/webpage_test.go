package rest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// browse sends what a browser sends, over a connection, and returns the answer and its body.
func browse(t *testing.T, url, method, host, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if host != "" {
		r.Host = host
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(text)
}

// TestWebPagesAreNobody sends what the browser of somebody who reads a malicious page sends to an
// API on loopback, whose callers are administrators.
func TestWebPagesAreNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	require.NoError(t, os.WriteFile(file, []byte("- {token: t, project: p, roles: [admin]}"), 0o600))
	tokens, err := rest.ReadTokens(file)
	require.NoError(t, err)
	const network = `{"network": {"name": "made by a page"}}`
	rebound := func(names ...string) [][]string { return [][]string{names} }
	for name, c := range map[string]struct {
		method, host string
		headers      [][]string // that any of its kind sends
		status       int
		tokensToo    bool // where callers need tokens
	}{
		"a form":              {"POST", "", [][]string{{"Content-Type", "text/plain", "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"}}, 403, true},
		"fetch without cors":  {"POST", "", [][]string{{"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"}}, 403, true},
		"an older browser":    {"POST", "", [][]string{{"Origin", "http://evil.example"}, {"Origin", "null"}, {"Origin", "http://127.0.0.1"}, {"Origin", "http://[::1"}}, 403, true},
		"says JSON all alike": {"POST", "", [][]string{{"Content-Type", "application/json", "Origin", "http://evil.example"}}, 403, true},
		"another local port":  {"POST", "", [][]string{{"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"}}, 403, true},
		"reads":               {"GET", "", [][]string{{"Sec-Fetch-Site", "cross-site"}}, 403, true},
		"says nothing":        {"POST", "", [][]string{nil}, 415, true},
		"DNS rebinding": {"POST", "evil.example:9696", rebound("Content-Type", "application/json", "Origin", "http://evil.example:9696",
			"Sec-Fetch-Site", "same-origin", "X-Roles", "admin", "X-Project-Id", "p"), 403, false},
		"its older browser": {"POST", "evil.example", rebound("Content-Type", "application/json"), 403, false},
		"it reads":          {"GET", "evil.example", rebound("Sec-Fetch-Site", "same-origin"), 403, false},
		"like an address":   {"POST", "127.0.0.1.evil.example", rebound("Content-Type", "application/json"), 403, false},
		"like localhost":    {"POST", "localhost.evil.example", rebound("Content-Type", "application/json"), 403, false},
	} {
		for mode, auth := range map[string]rest.Auth{"none": rest.None{Default: l3.Caller{Project: "demo", Admin: true}}, "token": tokens} {
			if mode == "token" && !c.tokensToo {
				continue
			}
			t.Run(name+"/"+mode, func(t *testing.T) {
				svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t))})
				require.NoError(t, err)
				server := httptest.NewServer(rest.New(rest.Config{Service: svc, Auth: auth, Logger: logger(t)}))
				t.Cleanup(server.Close)
				for _, headers := range c.headers {
					headers = append(headers, "X-Auth-Token", "t") // which only makes it harder
					if c.method == "GET" {
						answer, body := browse(t, server.URL+"/v2.0/networks", "GET", c.host, "", headers...)
						require.Equal(t, c.status, answer.StatusCode, body)
						continue
					}
					answer, body := browse(t, server.URL+"/v2.0/networks", c.method, c.host, network, headers...)
					require.Equal(t, c.status, answer.StatusCode, body)
					require.Contains(t, body, "NeutronError")
				}
				preflight, _ := browse(t, server.URL+"/v2.0/networks", "OPTIONS", "", "", "Origin", "http://evil.example", "Access-Control-Request-Method", "POST",
					"Access-Control-Request-Headers", "content-type", "Access-Control-Request-Private-Network", "true")
				require.GreaterOrEqual(t, preflight.StatusCode, 400)
				for name := range preflight.Header {
					require.NotContains(t, name, "Access-Control")
				}
				made, err := svc.ListNetworks(t.Context(), l3.System(), l3.Query{})
				require.NoError(t, err)
				require.Empty(t, made)
			})
		}
	}
}

// TestWhoMayCallByWhichName: clients, and pages of the API's own origin, are served by every name
// that no other site can have.
func TestWhoMayCallByWhichName(t *testing.T) {
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t))})
	require.NoError(t, err)
	auth := rest.None{Default: l3.Caller{Project: "demo", Admin: true}, Names: []string{"Network.example"}}
	server := httptest.NewServer(rest.New(rest.Config{Service: svc, Auth: auth, URL: "https://public.example/network", Logger: logger(t)}))
	t.Cleanup(server.Close)
	for _, host := range []string{"", "127.0.0.1", "127.0.0.1:9696", "localhost:9696", "LOCALHOST", "localhost.", "[::1]:9696", "[::1]", "192.0.2.1", "network.example:80", "network.example"} {
		for _, headers := range [][]string{
			nil, {"Sec-Fetch-Site", "none"}, {"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://" + host}, {"Origin", "https://public.example"},
		} {
			if len(headers) > 0 && host == "" && strings.HasSuffix(headers[1], "//") {
				continue
			}
			answer, body := browse(t, server.URL+"/v2.0/networks", "POST", host, `{"network": {}}`, append(headers, "Content-Type", "application/json")...)
			require.Equal(t, http.StatusCreated, answer.StatusCode, "%s %s %s", host, headers, body)
		}
	}
}
