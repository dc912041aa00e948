package natsbus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/intrusion"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestLoginReachesOnlyItsHost holds the login of one agent and sends everything that could reach
// something else: every verb of JetStream and every subject of the system as target, and each of
// them as reply, with bodies that make JetStream answer with nothing, and with headers that it
// obeys. Afterwards all streams, keys and consumers of others are byte for byte what they were, and
// nobody but the host itself has received a message.
func TestLoginReachesOnlyItsHost(t *testing.T) {
	servers := map[string]func(t *testing.T) (control, host func(name string) natsbus.Login){
		"embedded": func(t *testing.T) (control, host func(name string) natsbus.Login) {
			s := start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: loopback})
			urls := []string{s.URL()}
			return func(string) natsbus.Login {
					return natsbus.Login{URLs: urls, Password: natsbus.ControlCredential(secret)}
				}, func(name string) natsbus.Login {
					return natsbus.Login{URLs: urls, Host: name, Password: natsbus.Credential(secret, name)}
				}
		},
	}
	servers["embedded cluster"] = func(t *testing.T) (control, host func(name string) natsbus.Login) {
		c := newCluster(t)
		return func(string) natsbus.Login {
				return natsbus.Login{URLs: c.urls[:1], Password: natsbus.ControlCredential(secret)}
			}, func(name string) natsbus.Login { // by way of another server than the control plane
				return natsbus.Login{URLs: c.urls[nodes-1:], Host: name, Password: natsbus.Credential(secret, name)}
			}
	}
	for name, c := range map[string]struct{ version, jetstream string }{
		"external":                   {"", "sync_interval: always"},
		"external without strict":    {"", "strict: false"},
		"external in an old version": {oldest, "sync_interval: always"},
	} {
		servers[name] = func(t *testing.T) (control, host func(name string) natsbus.Login) {
			urls := []string{external(t, c.version, c.jetstream, accountsConfig(t, "h1", "h2"))}
			return func(string) natsbus.Login { return natsbus.Login{URLs: urls, Password: "control"} },
				func(name string) natsbus.Login {
					return natsbus.Login{URLs: urls, Host: name, Password: natsbus.AgentUser(name)}
				}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		t.Run(name, func(t *testing.T) {
			control, host := servers[name](t)
			attacked(t, control("")).by(connect(t, host("h1")), host("h2"))
		})
	}
}

// target is a bus that is attacked.
type target struct {
	*rig
	js jetstream.JetStream
}

// mine is what the attacker knows.
var mine = intrusion.Intrusion{Host: "h1", Router: "mine", Victim: "h2", Theirs: "theirs"}

func attacked(t *testing.T, control natsbus.Login) *target {
	r := &rig{T: t, nc: connect(t, control)}
	r.open(natsbus.Options{})
	js, err := jetstream.New(r.nc)
	require.NoError(t, err)
	return &target{r, js}
}

func (a *target) by(attacker *nats.Conn, victim natsbus.Login) {
	w, h := newWorld("h1", "h2"), &hosting{}
	w.put("h1", "mine")
	w.put("h2", "theirs", "deleted")
	p := a.publisher(w)
	stopPublisher := background(a.T, p.Run)
	stopConsumer := background(a.T, natsbus.NewConsumer(h, a.bus).Run)
	source := func(nc *nats.Conn, host string) *natsbus.Source {
		s, err := natsbus.NewSource(nc, host, nil)
		require.NoError(a, err)
		return s
	}
	theirs := source(connect(a.T, victim), "h2")
	own := watch(a.T, source(attacker, "h1"))
	seen := watch(a.T, theirs)
	for host, s := range map[string]*natsbus.Source{"192.0.2.2": theirs, "192.0.2.1": source(attacker, "h1")} {
		require.NoError(a, s.Heartbeat(a.Context(), agent.Heartbeat{Capabilities: agent.Capabilities{Other: map[string]any{"tunneling_ip": host}}}))
	}
	w.put("", "deleted")
	seen.until("everything is there", func() bool { return seen.synced == 1 && len(seen.have) == 1 && len(seen.peers) == 2 })
	own.until("the attacker's own", func() bool { return own.synced == 1 && len(own.have) == 1 })
	own.stop() // what it may break of its own is of no interest
	stopConsumer()
	for i := range uint64(3) {
		require.NoError(a, theirs.Report(a.Context(), agent.Report{RouterID: "theirs", Epoch: 2, Revision: i + 1}))
	}
	unread, err := a.js.Consumer(a.Context(), "reports", "control")
	require.NoError(a, err)
	fetched, err := unread.Fetch(2) // which wait to be acknowledged
	require.NoError(a, err)
	var acks []string
	for m := range fetched.Messages() {
		acks = append(acks, m.Reply())
	}
	require.Len(a, acks, 2)
	// First without the control plane, which would repair what was damaged.
	stopPublisher()
	a.untouched("while no control plane runs", func() { a.assault(attacker, acks) })
	background(a.T, p.Run)
	require.Eventually(a, func() bool { return a.serves(attacker) }, patience, 10*time.Millisecond)
	a.untouched("while the control plane answers", func() { a.assault(attacker, acks) })
	seen.mu.Lock()
	defer seen.mu.Unlock()
	require.Contains(a, seen.have, "theirs")
	require.Empty(a, slices.DeleteFunc(slices.Collect(maps.Keys(seen.gone)), func(id string) bool { return id == "deleted" }))
	require.Len(a, seen.peers, 2)
	require.False(a, seen.closed, "the victim's watch goes on")
}

// serves says whether a control plane answers.
func (a *target) serves(nc *nats.Conn) bool {
	m, err := nc.Request("session", []byte(`{"host":"h1"}`), time.Second)
	return err == nil && strings.Contains(string(m.Data), `"filling"`)
}

// untouched finds out what an attack changes, and who hears of it.
func (a *target) untouched(when string, attack func()) {
	a.Helper()
	var mu sync.Mutex
	heard := map[string]int{}
	sub, err := a.nc.Subscribe(">", func(m *nats.Msg) {
		if strings.HasPrefix(m.Reply, "$JS.ACK.") {
			return // a consumer's delivery, which bears the subject of what it delivers
		}
		mu.Lock()
		defer mu.Unlock()
		heard[m.Subject]++
	})
	require.NoError(a, err)
	require.NoError(a, sub.SetPendingLimits(-1, -1))
	before := a.snapshot()
	attack()
	time.Sleep(time.Second) // for what is on its way
	require.NoError(a, a.nc.Flush())
	after := a.snapshot()
	require.NoError(a, sub.Unsubscribe())
	mu.Lock()
	defer mu.Unlock()
	reached := 0
	for subject, n := range heard {
		if slices.Contains(mine.Own(), subject) {
			reached += n
		}
		require.True(a, a.expected(subject), "%s: subject %s has received %d messages", when, subject, n)
	}
	require.Greater(a, reached, 1000, "the attack has reached what it may reach")
	for what, is := range before {
		require.Equal(a, is, after[what], "%s: %s", when, what)
	}
	for what, is := range after {
		require.Contains(a, before, what, "%s: %s", when, is)
	}
}

// expected says whether a message in the control plane's account may come from the attacker's
// agent, or comes from the control plane, from this test or from the victim.
func (a *target) expected(subject string) bool {
	if slices.Contains(mine.Own(), subject) {
		return true
	}
	for _, prefix := range []string{
		"_R_.", "_INBOX.", "$JS.EVENT.", // answers, and notices
		"relay.", // on its way to what an agent may reach
		"$JS.API.STREAM.INFO.", "$JS.API.STREAM.MSG.GET.", "$JS.API.CONSUMER.", "$JS.API.DIRECT.GET.", "$JS.API.STREAM.LIST", "$JS.ACK.",
		"$KV.routers.h1.=", "$KV.peers.=", "$KV.agents.control.probe", "$JS.FC.",
		"$JS.API.CONSUMER.MSG.NEXT.KV_routers.h2", "$JS.API.CONSUMER.MSG.NEXT.KV_peers.h2",
	} {
		if strings.HasPrefix(subject, prefix) {
			return true // that none of these did harm is what the snapshots say
		}
	}
	return strings.HasPrefix(subject, "refused.h1.") // nobody listens there
}

// ordered is the name of a consumer with which the control plane compares, and which ends by
// itself.
var ordered = regexp.MustCompile(`^[A-Za-z0-9]{22}_[0-9]+$`)

// snapshot has everything that the bus has, but what is the attacker's own.
// subject returns that of a message, whatever its headers are.
func (a *target) subject(ctx context.Context, stream string, sequence uint64) string {
	a.Helper()
	m, err := a.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, fmt.Appendf(nil, `{"seq":%d}`, sequence))
	require.NoError(a, err)
	var got struct {
		Message struct {
			Subject string `json:"subject"`
		} `json:"message"`
	}
	require.NoError(a, json.Unmarshal(m.Data, &got), "%s", m.Data)
	return got.Message.Subject
}

func (a *target) snapshot() map[string]string {
	a.Helper()
	// The servers may still be busy with the attack.
	ctx, cancel := context.WithTimeout(a.Context(), 4*patience)
	defer cancel()
	all := map[string]string{}
	list := a.js.ListStreams(ctx)
	for s := range list.Info() {
		name := s.Config.Name
		config, err := json.Marshal(s.Config)
		require.NoError(a, err)
		all["stream "+name] = fmt.Sprintf("%s %s", s.Created, config)
		stream, err := a.js.Stream(ctx, name)
		require.NoError(a, err)
		for sequence := s.State.FirstSeq; sequence <= s.State.LastSeq; sequence++ {
			m, err := stream.GetMsg(ctx, sequence)
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				// The client takes the headers of a refusal that NATS sent to a subject of the
				// stream for an answer to itself.
				require.Contains(a, mine.Own(), a.subject(ctx, name, sequence), err)
			}
			if err != nil {
				continue
			}
			if slices.Contains(mine.Own(), m.Subject) || strings.HasSuffix(m.Subject, "=") || strings.HasSuffix(m.Subject, "probe") {
				continue
			}
			all[fmt.Sprintf("message %s %d", name, sequence)] = fmt.Sprintf("%s %s %v %q", m.Subject, m.Time, m.Header, m.Data)
		}
		consumers := stream.ListConsumers(ctx)
		for c := range consumers.Info() {
			if c.Name == "h1" || ordered.MatchString(c.Name) {
				continue
			}
			config, err := json.Marshal(c.Config)
			require.NoError(a, err)
			all["consumer "+name+" "+c.Name] = fmt.Sprintf("%s %s", c.Created, config)
			if name == "reports" { // of which two messages of the victim wait to be acknowledged
				all["acknowledged "+name] = fmt.Sprint(c.AckFloor.Stream)
			}
		}
		require.NoError(a, consumers.Err())
	}
	require.NoError(a, list.Err())
	return all
}

// assault sends everything.
func (a *target) assault(nc *nats.Conn, acks []string) {
	a.Helper()
	all := mine
	all.Acks = acks
	sent, err := all.Run(nc)
	require.NoError(a, err, "the attacker still has its connection")
	a.Logf("%d messages", sent)
}

// TestAgentWithAwkwardName: dots and wildcards in the name of a host widen nothing.
func TestAgentWithAwkwardName(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1.example", "h1", "*", ">")
	r.publish(w)
	w.put("h1.example", "dotted")
	w.put("h1", "plain")
	for host, has := range map[string][]string{"h1.example": {"dotted"}, "h1": {"plain"}, "*": {}, ">": {}} {
		seen := watch(t, r.source(host))
		seen.until(host+" is synced and has its own", func() bool { return seen.synced == 1 && len(seen.have) == len(has) })
		for _, id := range has {
			require.Contains(t, seen.have, id)
		}
	}
}
