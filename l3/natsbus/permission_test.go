package natsbus_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestAgentReachesItsOwnHostOnly tries what an agent that was broken into would try.
func TestAgentReachesItsOwnHostOnly(t *testing.T) {
	r := newRig(t)
	refused := make(chan error, 1)
	nc := r.agent("h1")
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	for _, subject := range []string{
		"reports.h2", "reports", "listing.h2", "$KV.routers.h1.=", "$KV.peers.=", "$KV.agents.h2", "$KV.routers.h1.r1", "$KV.routers.h2.r1", "$KV.routers.complete", "$KV.peers.h1",
		"_INBOX.agent-h2.x", "_INBOX.x",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.KV_routers", "$JS.API.STREAM.DELETE.KV_routers", "$JS.API.STREAM.PURGE.KV_routers",
		"$JS.API.STREAM.MSG.GET.KV_routers", "$JS.API.STREAM.MSG.DELETE.KV_routers", "$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.UPDATE.KV_routers",
		"$JS.API.DIRECT.GET.KV_routers", "$JS.API.DIRECT.GET.KV_routers.$KV.routers.h2.r1", "$JS.API.DIRECT.GET.KV_agents.$KV.agents.h2",
		"$JS.API.CONSUMER.CREATE.KV_routers", "$JS.API.CONSUMER.CREATE.KV_routers.h1", "$JS.API.CONSUMER.DURABLE.CREATE.KV_routers.h1",
		"$JS.API.CONSUMER.CREATE.KV_routers.h1.$KV.routers.h2.>", "$JS.API.CONSUMER.CREATE.KV_routers.h1.$KV.routers.>",
		"$JS.API.CONSUMER.CREATE.KV_routers.h2.$KV.routers.h1.>", "$JS.API.CONSUMER.DELETE.KV_routers.h2",
		"$JS.API.CONSUMER.MSG.NEXT.KV_routers.h2", "$JS.API.CONSUMER.CREATE.KV_agents.h1.$KV.agents.>", "$JS.API.CONSUMER.CREATE.reports.h1.reports.>",
		"$JS.API.CONSUMER.DELETE.reports.control", "$JS.API.CONSUMER.MSG.NEXT.reports.control", "$JS.ACK.reports.control.1.1.1.1.0",
	} {
		require.NoError(t, nc.Publish(subject, nil))
		err := <-refused
		require.ErrorIs(t, err, nats.ErrPermissionViolation, subject)
		require.ErrorContains(t, err, subject)
	}
	for _, subject := range []string{">", "$KV.>", "$KV.routers.h2.>", "$KV.routers.h1.>", "reports.h2", "_INBOX.>", "_INBOX.agent-h2.>", "$JS.>"} {
		sub, err := nc.SubscribeSync(subject)
		require.NoError(t, err)
		require.ErrorIs(t, <-refused, nats.ErrPermissionViolation, subject)
		require.NoError(t, sub.Unsubscribe())
	}
	const own = "$JS.API.CONSUMER.CREATE.KV_routers.h1.$KV.routers.h1.>"
	for _, body := range []string{
		`{"stream_name":"KV_routers","config":{"name":"h1","filter_subject":"$KV.routers.h2.>","ack_policy":"none"}}`,
		`{"stream_name":"KV_routers","config":{"name":"h1","filter_subjects":["$KV.routers.h1.>","$KV.routers.h2.>"],"ack_policy":"none"}}`,
		`{"stream_name":"KV_routers","config":{"name":"h1","ack_policy":"none"}}`,
	} {
		answer, err := nc.Request(own, []byte(body), patience)
		require.NoError(t, err)
		require.Contains(t, string(answer.Data), `"error"`, body)
	}
	other := `{"stream_name":"KV_routers","config":{"name":"h2","filter_subject":"$KV.routers.h1.>","ack_policy":"none"}}`
	answer, err := nc.Request(own, []byte(other), patience)
	require.NoError(t, err)
	require.Contains(t, string(answer.Data), `"name":"h1"`, "the name in the subject counts")
	require.Empty(t, refused)
}

// TestAgentWithAwkwardName: dots and wildcards in a host's name widen nothing.
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

// TestAnswersSentAstray: NATS sends an answer wherever it is asked to, and there it does no harm that lasts.
func TestAnswersSentAstray(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1", "h2")
	p := r.publish(w)
	w.put("h1", "mine")
	w.put("h2", "theirs")
	victim := watch(t, r.source("h2"))
	victim.until("its router is there", func() bool { return victim.synced == 1 && len(victim.have) == 1 })
	nc := r.agent("h1")
	source, err := natsbus.NewSource(nc, "h1", nil)
	require.NoError(t, err)
	for _, astray := range []string{
		"$KV.routers.h2.theirs", "reports.h2", "$KV.agents.h2", "$JS.API.STREAM.DELETE.KV_routers", "$JS.API.STREAM.PURGE.KV_routers",
	} {
		require.NoError(t, nc.PublishRequest("reports.h1", astray, []byte(`{}`)))
		config := map[string]any{
			"name": "h1", "filter_subject": "$KV.routers.h1.>", "ack_policy": "none", "deliver_policy": "all", "deliver_subject": astray,
		}
		body, err := json.Marshal(map[string]any{"stream_name": "KV_routers", "config": config})
		require.NoError(t, err)
		_, err = nc.Request("$JS.API.CONSUMER.CREATE.KV_routers.h1.$KV.routers.h1.>", body, patience)
		require.NoError(t, err)
		_, err = nc.Request("$JS.API.CONSUMER.DELETE.KV_routers.h1", nil, patience)
		require.NoError(t, err)
	}
	require.NoError(t, source.Report(t.Context(), l3.Report{RouterID: "mine", Epoch: 1}))
	require.NoError(t, p.ReconcileNow(t.Context()))
	again := watch(t, r.source("h2"))
	again.until("a new listing is complete", func() bool { return again.synced == 1 })
	require.Contains(t, again.have, "theirs")
	require.Len(t, again.have, 1)
	victim.mu.Lock()
	defer victim.mu.Unlock()
	require.Contains(t, victim.have, "theirs")
	require.Len(t, victim.have, 1)
	require.Empty(t, victim.gone)
	js, err := jetstream.New(r.nc)
	require.NoError(t, err)
	_, err = js.Stream(t.Context(), "KV_routers")
	require.NoError(t, err)
}

// TestNoWipingByHeader: the header Nats-Rollup would have a bucket of NATS's own making forget every other key.
func TestNoWipingByHeader(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.source("h2").Heartbeat(t.Context(), l3.Heartbeat{}))
	m := nats.NewMsg("$KV.agents.h1")
	m.Header.Set("Nats-Rollup", "all")
	answer, err := r.agent("h1").RequestMsg(m, patience)
	require.NoError(t, err)
	require.Contains(t, string(answer.Data), `"error"`)
}

// TestPermissionsAreNATSConfiguration: what an embedded server grants is what the operator of another cluster copies.
func TestPermissionsAreNATSConfiguration(t *testing.T) {
	text := natsbus.AgentPermissions("node1.example").String()
	file := filepath.Join(t.TempDir(), "nats.conf")
	config := `{"port": -1, "authorization": {"users": [{"user": "agent:node1.example", "password": "secret", "permissions": ` + text + `}]}}`
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	options, err := server.ProcessConfigFile(file)
	require.NoError(t, err)
	require.Len(t, options.Users, 1)
	require.Equal(t, natsbus.AgentPermissions("node1.example").Publish.Allow, options.Users[0].Permissions.Publish.Allow)
	require.Equal(t, []string{"_INBOX.agent-node1=2Eexample.>"}, options.Users[0].Permissions.Subscribe.Allow)
}
