package natsbus_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// foreign starts a NATS server that is not ours.
func foreign(t *testing.T, o *server.Options) (url string) {
	t.Helper()
	o.Host, o.Port, o.JetStream, o.StoreDir, o.NoSigs, o.MaxPayload = "127.0.0.1", server.RANDOM_PORT, true, t.TempDir(), true, 8<<20
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(patience))
	return "nats://" + s.Addr().String()
}

// whole exchanges everything with an agent: routers, reports and peers. And the agent may do no
// more than with an embedded server.
func whole(t *testing.T, control, login natsbus.Login) {
	t.Helper()
	r := &rig{T: t, nc: connect(t, control)}
	r.open(natsbus.Options{})
	w, h := newWorld("h.1"), &hosting{}
	w.put("h.1", "r1")
	r.publish(w)
	background(t, natsbus.NewConsumer(h, r.bus).Run)
	nc := connect(t, login)
	refused := make(chan error, 1)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	source, err := natsbus.NewSource(nc, "h.1", nil)
	require.NoError(t, err)
	seen := watch(t, source)
	seen.until("the router", func() bool { return seen.synced == 1 && len(seen.have) == 1 })
	require.NoError(t, source.Report(t.Context(), agent.Report{RouterID: "r1", Epoch: 1}))
	require.NoError(t, source.Heartbeat(t.Context(), agent.Heartbeat{Capabilities: agent.Capabilities{TunnelAddress: netip.MustParseAddr("192.0.2.1")}}))
	seen.until("itself as a peer", func() bool { return len(seen.peers) == 1 && seen.peers[0] == netip.MustParseAddr("192.0.2.1") })
	answer(t, source, func(q []byte) []byte { return q })
	require.Equal(t, `"up?"`, ask(t, r.nc, "h.1", `"up?"`))
	require.Empty(t, refused)
	require.NoError(t, nc.Publish("reports.h2", nil))
	require.ErrorIs(t, <-refused, nats.ErrPermissionViolation)
}

// accountsConfig is what an operator adds to the configuration, with passwords that are the users'
// names.
func accountsConfig(t *testing.T, hosts ...string) string {
	t.Helper()
	text, err := natsbus.AccountsConfig(func(user string) string { return user }, hosts...)
	require.NoError(t, err)
	return text
}

// TestForeignNATSWithPasswords: the operator adds the accounts to the configuration as they are
// printed.
func TestForeignNATSWithPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nats.conf")
	require.NoError(t, os.WriteFile(file, []byte(accountsConfig(t, "h2", "h.1", "*")), 0o600))
	options, err := server.ProcessConfigFile(file)
	require.NoError(t, err)
	urls := []string{foreign(t, options)}
	whole(t, natsbus.Login{URLs: urls, Password: "control"}, natsbus.Login{URLs: urls, Host: "h.1", Password: "agent:h.1"})
}

// TestForeignNATSWithCredentials runs NATS by JWT, with an operator, the control plane's account, a
// host's account, and their users.
func TestForeignNATSWithCredentials(t *testing.T) {
	operator, account, system := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	host := newKey(t, nkeys.CreateAccount)
	signed := jwt.NewOperatorClaims(operator.public)
	signed.SystemAccount = system.public
	resolver := &server.MemAccResolver{}
	for _, k := range []key{account, system, host} {
		c := jwt.NewAccountClaims(k.public)
		for _, i := range natsbus.AgentImports("h.1") {
			switch k {
			case account:
				e := &jwt.Export{Subject: jwt.Subject(i.Subject), Type: jwt.Service}
				if i.Stream {
					e.ResponseType = jwt.ResponseTypeStream
				}
				c.Exports.Add(e)
			case host:
				c.Imports.Add(&jwt.Import{
					Account: account.public, Subject: jwt.Subject(i.Subject), LocalSubject: jwt.RenamingSubject(i.Local), Type: jwt.Service,
				})
			}
		}
		switch q := natsbus.AgentQuestions("h.1"); k {
		case host:
			c.Imports.Add(&jwt.Import{
				Account: account.public, Subject: jwt.Subject(q.Subject), LocalSubject: jwt.RenamingSubject(q.Local), Type: jwt.Stream,
			})
		case account:
			c.Exports.Add(&jwt.Export{Subject: jwt.Subject(q.Subject), Type: jwt.Stream})
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
		}
		text, err := c.Encode(operator.pair)
		require.NoError(t, err)
		require.NoError(t, resolver.Store(k.public, text))
	}
	urls := []string{foreign(t, &server.Options{
		TrustedOperators: []*jwt.OperatorClaims{signed}, AccountResolver: resolver, SystemAccount: system.public,
	})}
	may := natsbus.AgentPermissions()
	whole(t,
		natsbus.Login{URLs: urls, CredentialsFile: account.user(t, jwt.Permissions{})},
		natsbus.Login{URLs: urls, Host: "h.1", CredentialsFile: host.user(t, jwt.Permissions{
			Pub: jwt.Permission{Allow: may.Publish.Allow}, Sub: jwt.Permission{Allow: may.Subscribe.Allow},
		})},
	)
	_, err := natsbus.Connect(natsbus.Login{URLs: urls, Host: "h.1", Password: "a"})
	require.Error(t, err)
}

// TestForeignNATSWithoutJetStream: that is an error at once, not something to wait for.
func TestForeignNATSWithoutJetStream(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nats.conf")
	require.NoError(t, os.WriteFile(file, []byte(`accounts: {L3: {users: [{user: control, password: c}]}}`), 0o600))
	options, err := server.ProcessConfigFile(file)
	require.NoError(t, err)
	_, err = natsbus.Open(t.Context(), connect(t, natsbus.Login{URLs: []string{foreign(t, options)}, Password: "c"}), newWorld(), natsbus.Options{})
	require.ErrorContains(t, err, "JetStream not enabled")
}

type key struct {
	pair   nkeys.KeyPair
	public string
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (k key) {
	t.Helper()
	var err error
	k.pair, err = create()
	require.NoError(t, err)
	k.public, err = k.pair.PublicKey()
	require.NoError(t, err)
	return k
}

// user makes the credentials file of a user of an account.
func (k key) user(t *testing.T, may jwt.Permissions) (file string) {
	t.Helper()
	own := newKey(t, nkeys.CreateUser)
	c := jwt.NewUserClaims(own.public)
	c.Permissions = may
	text, err := c.Encode(k.pair)
	require.NoError(t, err)
	seed, err := own.pair.Seed()
	require.NoError(t, err)
	creds, err := jwt.FormatUserConfig(text, seed)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "user.creds")
	require.NoError(t, os.WriteFile(file, creds, 0o600))
	return file
}
