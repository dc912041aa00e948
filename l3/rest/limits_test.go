package rest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

const patience = 60 * time.Second

func TestListsInBodiesAreBounded(t *testing.T) {
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t)), Quotas: map[string]int{"network": -1}})
	require.NoError(t, err)
	h := rest.New(rest.Config{Service: svc, Auth: rest.None{}, Logger: logger(t), Limits: rest.Limits{Items: 3}})
	list := func(n int, element string) string { return strings.Repeat(element+",", n-1) + element }
	id := made(t, h, "routers", `{"router": {}}`)
	for _, c := range []struct {
		method, target, body string
		status               int
	}{
		{"POST", "networks", `{"networks": [` + list(3, `{"name": "a,b,c,\",,,\\"}`) + `]}`, 201},
		{"POST", "networks", `{"networks": [` + list(4, `{}`) + `]}`, 413},
		{"POST", "networks", `{"networks": [` + list(4, `[]`), 413}, // before it is found not to be JSON
		{"POST", "networks", `{"network": {` + list(4, `"a": 1`) + `}}`, 413},
		{"POST", "networks", `{"network": {"name": "x", "description": "` + list(9, "") + `"}}`, 201},
		{"POST", "networks", `{"network": {"name": "\"", "description": ",,,,,,"}}`, 201},
		{"POST", "networks", strings.Repeat("[", 20_000), 400},
		{"POST", "networks", `]]]],,,,,,`, 400},
		{"PUT", "routers/" + id, `{"router": {"routes": [` + list(4, `{"destination": "10.0.0.0/8", "nexthop": "10.0.0.1"}`) + `]}}`, 413},
		{"PUT", "routers/" + id + "/tags", `{"tags": ["a", "b", "c"]}`, 200},
		{"PUT", "routers/" + id + "/tags", `{"tags": ["a", "b", "c", "d"]}`, 413},
	} {
		w := ask(h, c.method, "/v2.0/"+c.target, c.body)
		require.Equal(t, c.status, w.Code, "%s %s: %s", c.target, c.body, w.Body)
		if c.status == 413 {
			name, message := refusal(t, w)
			require.Equal(t, "HTTPRequestEntityTooLarge", name)
			require.Contains(t, message, "more than 3 elements")
		}
	}
	made, err := svc.ListNetworks(t.Context(), l3.System(), l3.Query{})
	require.NoError(t, err)
	require.Len(t, made, 5, "all or none")
}

// TestCostlyQueriesAreRefused: what took PostgreSQL minutes to plan, and was beyond SQLite's
// limits.
func TestCostlyQueriesAreRefused(t *testing.T) {
	l3test.Stores(t, func(t *testing.T, store l3.Store) {
		svc, err := service.New(service.Config{Store: store})
		require.NoError(t, err)
		h := rest.New(rest.Config{Service: svc, Auth: rest.None{}, Logger: logger(t)})
		words := func(n int) string {
			var all []string
			for i := range n {
				all = append(all, fmt.Sprint("t", i))
			}
			return strings.Join(all, ",")
		}
		for _, name := range []string{"tags", "tags-any", "not-tags", "not-tags-any"} {
			require.Equal(t, 200, ask(h, "GET", "/v2.0/networks?"+name+"="+words(100), "").Code, name)
			require.Equal(t, 200, ask(h, "GET", "/v2.0/networks?"+name+"="+strings.Repeat("t,", 5000)+"t", "").Code, "the same one again")
			require.Equal(t, 400, ask(h, "GET", "/v2.0/networks?"+name+"="+words(101), "").Code, name)
		}
		part := "fixed_ips=ip_address_substr%3D10.&"
		w := ask(h, "GET", "/v2.0/ports?"+strings.Repeat(part, 100), "")
		require.Equal(t, 200, w.Code, w.Body)
		require.Equal(t, 400, ask(h, "GET", "/v2.0/ports?"+strings.Repeat(part, 101), "").Code)
		w = ask(h, "GET", "/v2.0/networks?"+strings.Repeat("sort_key=name&sort_dir=asc&", 3000), "")
		require.Equal(t, 200, w.Code, w.Body)
		require.Equal(t, 200, ask(h, "GET", "/v2.0/networks?"+strings.Repeat("name=x&", 5000), "").Code)
	})
}

// half sends a request whose body is short of its last byte, and returns the connection.
func half(t *testing.T, server *httptest.Server, size int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = fmt.Fprintf(c, "POST /v2.0/networks HTTP/1.1\r\nHost: localhost\r\nX-Project-Id: p\r\nX-Roles: member\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		size, `{"network": {"description": "`+strings.Repeat(" ", size-len(`{"network": {"description": ""}}`)))
	require.NoError(t, err)
	_, err = io.WriteString(c, `"}`)
	require.NoError(t, err)
	return c
}

// TestBodiesInFlightAreBounded: clients that send large bodies slowly are told to come again when
// they hold too much between them, and what they held is given back, however they end.
func TestBodiesInFlightAreBounded(t *testing.T) {
	const body = 256 << 10
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t)), Quotas: map[string]int{"network": -1}})
	require.NoError(t, err)
	server := httptest.NewServer(rest.New(rest.Config{Service: svc, Auth: rest.None{}, Limits: rest.Limits{Body: body, Bodies: 4*body + body/4}}))
	t.Cleanup(server.Close)
	post := func(size int) int {
		t.Helper()
		text := `{"network": {}}`
		answer, said := browse(t, server.URL+"/v2.0/networks", "POST", "", text+strings.Repeat(" ", size-len(text)), "Content-Type", "application/json",
			"X-Project-Id", "p", "X-Roles", "member")
		if answer.StatusCode == http.StatusServiceUnavailable {
			require.Equal(t, "1", answer.Header.Get("Retry-After"))
			require.Contains(t, said, `"type":"HTTPServiceUnavailable"`)
		}
		return answer.StatusCode
	}
	require.Equal(t, 413, post(body+1))
	for round := range 2 {
		require.Equal(t, 201, post(body))
		var slow []net.Conn
		for range 6 {
			slow = append(slow, half(t, server, body))
		}
		// Whichever of them came too late has its answer; those that hold their bodies have none.
		require.Eventually(t, func() bool { return post(body) == 503 }, patience, time.Millisecond)
		require.Eventually(t, func() bool { return post(100) == 201 }, patience, time.Millisecond, "there is room for small ones")
		for i, c := range slow {
			if i%2 == round {
				_, _ = io.WriteString(c, "}") // the rest
				_, _ = bufio.NewReader(c).ReadByte()
			}
			require.NoError(t, c.Close())
		}
		require.Eventually(t, func() bool { return post(body) == 201 }, patience, time.Millisecond)
	}
}

// TestAnswersInFlightAreBounded: lists that their clients do not read do not pile up.
func TestAnswersInFlightAreBounded(t *testing.T) {
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t)), Quotas: map[string]int{"network": -1}})
	require.NoError(t, err)
	specs := make([]l3.NetworkSpec, 500)
	for i := range specs {
		specs[i].Description = new(strings.Repeat("x", 255))
	}
	for range 20 {
		_, err = svc.CreateNetworks(t.Context(), l3.Caller{Project: "p", Roles: []string{l3.RoleMember}}, specs...)
		require.NoError(t, err)
	}
	server := httptest.NewServer(rest.New(rest.Config{Service: svc, Auth: rest.None{}, Limits: rest.Limits{Answers: 1 << 20}}))
	t.Cleanup(server.Close)
	get := func(query string) int {
		answer, _ := browse(t, server.URL+"/v2.0/networks"+query, "GET", "", "", "X-Project-Id", "p", "X-Roles", "reader")
		return answer.StatusCode
	}
	require.Equal(t, 200, get(""), "one that is larger than the limit is sent when no other is")
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
	for range 10 { // more than all buffers on the way hold
		_, err = io.WriteString(c, "GET /v2.0/networks HTTP/1.1\r\nHost: localhost\r\nX-Project-Id: p\r\nX-Roles: reader\r\n\r\n")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return get("") == 503 }, patience, time.Millisecond)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return get("") == 200 }, patience, time.Millisecond)
}
