package rest

import (
	"context"
	"crypto/sha256"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"golang.org/x/sync/singleflight"

	"github.com/l3kit/l3kit/l3"
)

// KeystoneConfig is how to ask Keystone v3.
type KeystoneConfig struct {
	// Service is the account that asks: IdentityEndpoint, a user or an application credential, and
	// a scope. Its role must let it validate tokens.
	Service gophercloud.AuthOptions
	// PublicURL is where clients get tokens; empty: Service.IdentityEndpoint.
	PublicURL string
	// Fresh bounds how long a token is believed without asking again, and so how long a revoked one
	// still works; 0: 1 minute.
	Fresh time.Duration
	// Timeout bounds a question; 0: 10 s.
	Timeout time.Duration
	Client  *http.Client     // nil: http.DefaultClient
	Now     func() time.Time // nil: time.Now
}

// Keystone knows callers by the tokens of Keystone v3 in X-Auth-Token.
type Keystone struct {
	config   KeystoneConfig
	provider *gophercloud.ProviderClient
	identity *gophercloud.ServiceClient
	asking   singleflight.Group // by token: requests that come together ask once
	login    singleflight.Group // of the service account
	loggedIn atomic.Bool

	mu    sync.Mutex
	known map[[sha256.Size]byte]knownToken
}

type knownToken struct {
	who   l3.Caller
	until time.Time
}

// maxKnown bounds the tokens that are remembered. One that was forgotten is asked for again.
const maxKnown = 10_000

// NewKeystone makes an Auth. It does not connect: whether Keystone is there shows when requests
// come.
func NewKeystone(c KeystoneConfig) (*Keystone, error) {
	provider, err := openstack.NewClient(c.Service.IdentityEndpoint)
	if err != nil {
		return nil, err
	}
	if c.PublicURL == "" {
		c.PublicURL = c.Service.IdentityEndpoint
	}
	if c.Fresh == 0 {
		c.Fresh = time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Client != nil {
		provider.HTTPClient = *c.Client
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Service.AllowReauth = true
	identity, err := openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{})
	if err != nil {
		return nil, err
	}
	return &Keystone{config: c, provider: provider, identity: identity, known: map[[sha256.Size]byte]knownToken{}}, nil
}

// Authenticate asks Keystone for the token, or remembers what it said.
func (k *Keystone) Authenticate(r *http.Request) (l3.Caller, error) {
	token := r.Header.Get("X-Auth-Token")
	if token == "" {
		return l3.Caller{}, k.unauthorized("no token")
	}
	key := sha256.Sum256([]byte(token))
	if who, ok := k.remembered(key); ok {
		return who, nil
	}
	// Others may wait for the same answer, so the first of them going away does not end the
	// question.
	answer := k.asking.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), k.config.Timeout)
		defer cancel()
		return k.ask(ctx, token)
	})
	select {
	case <-r.Context().Done():
		return l3.Caller{}, r.Context().Err()
	case a := <-answer:
		if a.Err != nil {
			return l3.Caller{}, a.Err
		}
		t := a.Val.(knownToken)
		k.remember(key, t)
		return t.who, nil
	}
}

func (k *Keystone) unauthorized(why string) error {
	return &Unauthorized{KeystoneURL: k.config.PublicURL, Reason: why}
}

func (k *Keystone) ask(ctx context.Context, token string) (knownToken, error) {
	if err := k.logIn(ctx); err != nil {
		return knownToken{}, &Unavailable{err}
	}
	result := tokens.Get(ctx, k.identity, token)
	switch {
	case gophercloud.ResponseCodeIs(result.Err, http.StatusNotFound), gophercloud.ResponseCodeIs(result.Err, http.StatusBadRequest):
		return knownToken{}, k.unauthorized("Keystone does not know the token")
	case result.Err != nil:
		return knownToken{}, &Unavailable{result.Err}
	}
	var said struct {
		ExpiresAt time.Time       `json:"expires_at"`
		User      tokens.User     `json:"user"`
		Project   *tokens.Project `json:"project"`
		Roles     []tokens.Role   `json:"roles"`
	}
	if err := result.ExtractInto(&said); err != nil {
		return knownToken{}, &Unavailable{err}
	}
	now := k.config.Now()
	if !said.ExpiresAt.After(now) {
		return knownToken{}, k.unauthorized("the token has expired")
	}
	var project string
	if said.Project != nil {
		project = said.Project.ID
	}
	roles := make([]string, len(said.Roles))
	for i, role := range said.Roles {
		roles[i] = role.Name
	}
	until := now.Add(k.config.Fresh)
	if said.ExpiresAt.Before(until) {
		until = said.ExpiresAt
	}
	return knownToken{caller(project, said.User.ID, roles), until}, nil
}

// logIn gets a token for the service account. Once it has one, gophercloud renews it.
func (k *Keystone) logIn(ctx context.Context) error {
	if k.loggedIn.Load() {
		return nil
	}
	_, err, _ := k.login.Do("", func() (any, error) {
		err := openstack.AuthenticateV3(ctx, k.provider, &k.config.Service, gophercloud.EndpointOpts{})
		k.loggedIn.Store(err == nil)
		return nil, err
	})
	return err
}

func (k *Keystone) remembered(key [sha256.Size]byte) (l3.Caller, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.known[key]
	return t.who, ok && k.config.Now().Before(t.until)
}

func (k *Keystone) remember(key [sha256.Size]byte, t knownToken) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= maxKnown {
		now := k.config.Now()
		maps.DeleteFunc(k.known, func(_ [sha256.Size]byte, t knownToken) bool { return !now.Before(t.until) })
	}
	if len(k.known) >= maxKnown {
		clear(k.known)
	}
	k.known[key] = t
}
