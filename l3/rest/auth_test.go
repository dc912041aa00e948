package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
)

func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/v2.0/routers", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestNoneBelievesTheHeaders(t *testing.T) {
	who, err := rest.None{}.Authenticate(request("X-Project-Id", "p", "X-User-Id", "u", "X-Roles", "member, reader"))
	require.NoError(t, err)
	require.Equal(t, l3.Caller{Project: "p", User: "u", Roles: []string{"member", "reader"}}, who)
	who, err = rest.None{}.Authenticate(request("X-Project-Id", "p", "X-Roles", "admin"))
	require.NoError(t, err)
	require.True(t, who.Admin)

	var stranger *rest.Unauthorized
	_, err = rest.None{}.Authenticate(request())
	require.ErrorAs(t, err, &stranger)
	_, err = rest.None{}.Authenticate(request("X-Project-Id", "a\x00b"))
	require.ErrorAs(t, err, &stranger)

	operator := l3.Caller{Project: "ops", Admin: true}
	who, err = rest.None{Default: operator}.Authenticate(request())
	require.NoError(t, err)
	require.Equal(t, operator, who)
	who, err = rest.None{Default: operator}.Authenticate(request("X-Project-Id", "p"))
	require.NoError(t, err)
	require.False(t, who.Admin, "who says who he is is not the default")
}

func TestNoneListensOnLoopbackOnly(t *testing.T) {
	for _, fine := range []string{"127.0.0.1:9696", "127.8.8.8:0", "[::1]:9696", "[::ffff:127.0.0.1]:1", "localhost:9696"} {
		require.NoError(t, rest.None{}.MayListen(fine), fine)
	}
	for _, bad := range []string{":9696", "0.0.0.0:9696", "[::]:9696", "192.0.2.1:9696", "[fe80::1%eth0]:1", "9696"} {
		require.Error(t, rest.None{}.MayListen(bad), bad)
	}
}

func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("- {token: s3cret, project: p, user: u, roles: [member]}\n- {token: other, project: ops, roles: [admin]}\n")
	tokens, err := rest.ReadTokens(file)
	require.NoError(t, err)
	who, err := tokens.Authenticate(request("X-Auth-Token", "s3cret"))
	require.NoError(t, err)
	require.Equal(t, l3.Caller{Project: "p", User: "u", Roles: []string{"member"}}, who)
	who, err = tokens.Authenticate(request("X-Auth-Token", "other"))
	require.NoError(t, err)
	require.True(t, who.Admin)
	for _, wrong := range []string{"", "s3cre", "S3CRET"} {
		_, err = tokens.Authenticate(request("X-Auth-Token", wrong))
		var stranger *rest.Unauthorized
		require.ErrorAs(t, err, &stranger, wrong)
	}
	for bad, says := range map[string]string{
		"- {token: '', project: p}":                          ": entry 1: the token is missing",
		"- {token: x, project: p}\n- {token: y}":             ": entry 2: the project is missing",
		"- {token: x, project: p}\n- {token: x, project: q}": ": entry 2: an earlier entry has the same token",
		"- {token: x, project: p, role: admin}":              `unknown field "role"`,
		"- {token: x, project: p, roles: admin}":             ": it is not a list of entries",
		"token: x":                                           ": it is not a list of entries",
		"{":                                                  "line 1",
		"":                                                   ": it has no tokens",
		"[]":                                                 ": it has no tokens",
	} {
		write(bad)
		_, err := rest.ReadTokens(file)
		require.ErrorContains(t, err, file, bad)
		require.ErrorContains(t, err, says, bad)
	}
	write("- {token: x, project: p}")
	for mode, fine := range map[os.FileMode]bool{0o400: true, 0o640: true, 0o644: false, 0o604: false, 0o660: false, 0o602: false} {
		require.NoError(t, os.Chmod(file, mode))
		_, err := rest.ReadTokens(file)
		if fine {
			require.NoError(t, err, mode)
			continue
		}
		require.ErrorContains(t, err, "chmod", mode)
	}
	_, err = rest.ReadTokens(file + ".not")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestStrangersLearnNothing(t *testing.T) {
	h := rest.New(rest.Config{Service: &fake{}})
	for _, target := range []string{"/v2.0/routers", "/v2.0/nothing", "/v2.0/", "/v2.0/extensions", "//", "/v2.0/routers/x"} {
		for _, method := range []string{"GET", "PATCH"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, target, nil)
			r.Host = "127.0.0.1"
			h.ServeHTTP(w, r)
			require.Equal(t, http.StatusUnauthorized, w.Code, target)
			require.Equal(t, `Keystone uri="http://127.0.0.1"`, w.Header().Get("WWW-Authenticate"))
			require.JSONEq(t, `{"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}`, w.Body.String())
			require.NotEmpty(t, w.Header().Get("X-Openstack-Request-Id"))
		}
	}
	for _, open := range []string{"/", "/openapi.json"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, open, nil))
		require.Equal(t, http.StatusOK, w.Code, open)
	}
}

// identity is a Keystone with a service account, a user boss who is administrator of the project
// tenants, and whatever tokens a test adds.
type identity struct {
	*httptest.Server
	logins, questions atomic.Int32

	mu      sync.Mutex
	down    bool
	network string                    // URL in the catalog
	issued  string                    // the service account's present token
	tokens  map[string]map[string]any // what is said of a token
}

func newIdentity(t *testing.T) *identity {
	k := &identity{tokens: map[string]map[string]any{}}
	k.Server = httptest.NewServer(k)
	t.Cleanup(k.Close)
	return k
}

func (k *identity) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}
	type dict = map[string]any
	tenants := dict{"id": projectID, "name": "tenants", "domain_id": "default", "enabled": true}
	token := r.Header.Get("X-Auth-Token")
	switch {
	case k.down:
		w.WriteHeader(http.StatusInternalServerError)
	case r.URL.Path == "/v3" || r.URL.Path == "/v3/":
		answer(http.StatusOK, dict{"version": dict{"id": "v3.14", "status": "stable", "links": []dict{{"rel": "self", "href": k.URL + "/v3/"}}}})
	case r.URL.Path == "/v3/auth/tokens" && r.Method == http.MethodPost:
		var asked struct {
			Auth struct {
				Identity struct {
					Password struct{ User struct{ Name string } }
				}
			}
		}
		json.NewDecoder(r.Body).Decode(&asked)
		if asked.Auth.Identity.Password.User.Name == "boss" {
			service := func(kind, url string) dict {
				return dict{"type": kind, "name": kind, "id": kind, "endpoints": []dict{{"interface": "public", "url": url, "region": "r", "region_id": "r", "id": kind}}}
			}
			k.tokens["boss-token"] = dict{"expires_at": "2099-01-01T00:00:00.000000Z", "issued_at": "2020-01-01T00:00:00.000000Z", "methods": []string{"password"},
				"user":    dict{"id": "boss", "name": "boss", "domain": dict{"id": "default", "name": "Default"}},
				"project": dict{"id": projectID, "name": "tenants", "domain": dict{"id": "default", "name": "Default"}},
				"roles":   []dict{{"id": "1", "name": "admin"}}, "catalog": []dict{service("identity", k.URL+"/v3"), service("network", k.network),
					service("compute", k.URL+"/v2.1"), service("volumev3", k.URL+"/v3")}} // without which the client shows no quotas at all
			w.Header().Set("X-Subject-Token", "boss-token")
			answer(http.StatusCreated, dict{"token": k.tokens["boss-token"]})
			return
		}
		k.issued = fmt.Sprintf("service-%d", k.logins.Add(1))
		w.Header().Set("X-Subject-Token", k.issued)
		answer(http.StatusCreated, dict{"token": dict{"expires_at": "2099-01-01T00:00:00.000000Z"}})
	case token != k.issued && token != "boss-token":
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/v3/auth/tokens":
		k.questions.Add(1)
		said, ok := k.tokens[r.Header.Get("X-Subject-Token")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		answer(http.StatusOK, dict{"token": said})
	case r.URL.Path == "/v3/projects/"+projectID:
		answer(http.StatusOK, dict{"project": tenants})
	case r.URL.Path == "/v3/projects":
		answer(http.StatusOK, dict{"projects": []dict{tenants}})
	case strings.Contains(r.URL.Path, "/os-quota-sets/"):
		answer(http.StatusOK, dict{"quota_set": dict{}})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (k *identity) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

func TestKeystone(t *testing.T) {
	k := newIdentity(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	said := func(role string, expires time.Time) map[string]any {
		return map[string]any{"expires_at": expires.Format("2006-01-02T15:04:05.000000Z"), "user": map[string]any{"id": "u"},
			"project": map[string]any{"id": "p"}, "roles": []any{map[string]any{"id": "1", "name": role}}}
	}
	k.set(func() {
		k.tokens["member"] = said("member", now.Add(time.Hour))
		k.tokens["boss"] = said("admin", now.Add(time.Hour))
		k.tokens["soon"] = said("member", now.Add(10*time.Second))
		k.tokens["late"] = said("member", now.Add(-time.Second))
	})
	auth, err := rest.NewKeystone(rest.KeystoneConfig{
		Service: gophercloud.AuthOptions{IdentityEndpoint: k.URL + "/v3", Username: "neutron", Password: "x", DomainID: "default"},
		Now:     func() time.Time { return now },
	})
	require.NoError(t, err)
	ask := func(token string) (l3.Caller, error) { return auth.Authenticate(request("X-Auth-Token", token)) }
	var (
		stranger *rest.Unauthorized
		away     *rest.Unavailable
	)

	k.set(func() { k.down = true })
	_, err = ask("member")
	require.ErrorAs(t, err, &away, "a Keystone that is away at first says nothing about the token")
	k.set(func() { k.down = false })

	who, err := ask("member")
	require.NoError(t, err)
	require.Equal(t, l3.Caller{Project: "p", User: "u", Roles: []string{"member"}}, who)
	who, err = ask("boss")
	require.NoError(t, err)
	require.True(t, who.Admin)
	for _, bad := range []string{"", "unknown", "late"} {
		_, err = ask(bad)
		require.ErrorAs(t, err, &stranger, bad)
		require.Equal(t, k.URL+"/v3", stranger.KeystoneURL)
	}

	// What is known is not asked for again, until it must be.
	_, err = ask("soon")
	require.NoError(t, err)
	before := k.questions.Load()
	k.set(func() { k.down = true })
	for range 3 {
		_, err = ask("member")
		require.NoError(t, err)
		_, err = ask("soon")
		require.NoError(t, err)
	}
	require.Equal(t, before, k.questions.Load())
	now = now.Add(11 * time.Second)
	_, err = ask("member")
	require.NoError(t, err)
	_, err = ask("soon")
	require.ErrorAs(t, err, &away, "it has expired, and Keystone cannot be asked")
	now = now.Add(time.Minute)
	_, err = ask("member")
	require.ErrorAs(t, err, &away, "it may have been revoked in the meantime")

	// The service account's token is renewed when Keystone does not take it any more.
	k.set(func() { k.down, k.issued = false, "revoked" })
	logins := k.logins.Load()
	_, err = ask("member")
	require.NoError(t, err)
	require.Equal(t, logins+1, k.logins.Load())

	h := rest.New(rest.Config{Service: &fake{}, Auth: auth})
	get := func(token string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("X-Auth-Token", token))
		return w
	}
	require.Equal(t, http.StatusOK, get("member").Code)
	w := get("unknown")
	require.Equal(t, http.StatusUnauthorized, w.Code)
	require.Equal(t, `Keystone uri="`+k.URL+`/v3"`, w.Header().Get("WWW-Authenticate"))
	k.set(func() { k.down = true })
	require.Equal(t, http.StatusServiceUnavailable, get("boss").Code)
}

func TestKeystoneIsAskedOnceByManyAtOnce(t *testing.T) {
	k := newIdentity(t)
	k.set(func() {
		k.tokens["t"] = map[string]any{"expires_at": "2099-01-01T00:00:00.000000Z", "user": map[string]any{"id": "u"}, "project": map[string]any{"id": "p"}}
	})
	auth, err := rest.NewKeystone(rest.KeystoneConfig{
		Service: gophercloud.AuthOptions{IdentityEndpoint: k.URL, Username: "neutron", Password: "x", DomainID: "default"}})
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			who, err := auth.Authenticate(request("X-Auth-Token", "t"))
			require.NoError(t, err)
			require.Equal(t, "p", who.Project)
		})
	}
	all.Wait()
	require.EqualValues(t, 1, k.logins.Load())
	require.LessOrEqual(t, k.questions.Load(), int32(2)) // one may come between the answer and its being remembered
}
