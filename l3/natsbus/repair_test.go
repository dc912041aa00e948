package natsbus_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestRunningServerRepairs damages everything that a bus is made of, one after the other. Without a
// restart, agents get changes again, heartbeats and reports arrive, and nobody is told that
// anything is gone.
func TestRunningServerRepairs(t *testing.T) {
	type damage struct {
		what string
		do   func(*rig, jetstream.JetStream) error
	}
	deletion := func(stream string) damage {
		return damage{"stream " + stream + " deleted", func(r *rig, js jetstream.JetStream) error {
			return js.DeleteStream(r.Context(), stream)
		}}
	}
	purge := func(stream string, options ...jetstream.StreamPurgeOpt) damage {
		return damage{"stream " + stream + " purged", func(r *rig, js jetstream.JetStream) error {
			s, err := js.Stream(r.Context(), stream)
			require.NoError(r, err)
			return s.Purge(r.Context(), options...)
		}}
	}
	consumer := func(stream, name string) damage {
		return damage{"consumer " + stream + " " + name + " deleted", func(r *rig, js jetstream.JetStream) error {
			return js.DeleteConsumer(r.Context(), stream, name)
		}}
	}
	config := func(what, stream string, change func(*jetstream.StreamConfig)) damage {
		return damage{what, func(r *rig, js jetstream.JetStream) error {
			s, err := js.Stream(r.Context(), stream)
			require.NoError(r, err)
			c := s.CachedInfo().Config
			change(&c)
			_, err = js.UpdateStream(r.Context(), c)
			return err
		}}
	}
	write := func(key, value string) damage {
		return damage{key + " overwritten", func(r *rig, js jetstream.JetStream) error {
			_, err := js.Publish(r.Context(), "$KV.routers."+key, []byte(value))
			return err
		}}
	}
	all := []damage{
		deletion("KV_routers"), deletion("KV_agents"), deletion("KV_peers"), deletion("reports"),
		purge("KV_routers"), purge("KV_agents"), purge("KV_peers"), purge("reports"),
		purge("KV_routers", jetstream.WithPurgeSubject("$KV.routers.complete")), purge("KV_routers", jetstream.WithPurgeSubject("$KV.routers.identity")),
		write("complete", ""), write("complete", `{"stream":"reports","seq":1}`), write("identity", ""), write("identity", "{}"),
		consumer("KV_routers", "h1"), consumer("KV_peers", "h1"), consumer("KV_agents", "control"), consumer("reports", "control"),
		config("reports of no use", "reports", func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere.*"} }),
		config("heartbeats bounded", "KV_agents", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 10 }),
		config("routers bounded", "KV_routers", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1; c.Discard = jetstream.DiscardOld }),
		config("peers sealed", "KV_peers", func(c *jetstream.StreamConfig) { c.Sealed = true }),
		{"another stream in its place", func(r *rig, js jetstream.JetStream) error {
			require.NoError(r, js.DeleteStream(r.Context(), "reports"))
			_, err := js.CreateStream(r.Context(), jetstream.StreamConfig{
				Name: "reports", Subjects: []string{"reports.*"}, Storage: jetstream.MemoryStorage, Retention: jetstream.InterestPolicy,
			})
			return err
		}},
	}
	for _, d := range all {
		t.Run(d.what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			w, h := newWorld("h1"), &hosting{}
			w.put("h1", "r1", "r2")
			p := r.publish(w)
			background(t, natsbus.NewConsumer(h, p.Bus()).Run)
			source := r.source("h1")
			beat := agent.Heartbeat{Capabilities: agent.Capabilities{TunnelAddress: netip.MustParseAddr("192.0.2.1")}}
			require.Eventually(t, func() bool { return source.Heartbeat(t.Context(), beat) == nil }, patience, 10*time.Millisecond)
			seen := watch(t, source)
			seen.until("everything is there", func() bool { return seen.synced == 1 && len(seen.have) == 2 && len(seen.peers) == 1 })
			id := p.Bus().ID()

			require.NoError(t, d.do(r, r.jetstream()))
			w.put("h1", "r1")
			now := seen
			require.Eventually(t, func() bool {
				now.mu.Lock()
				closed := now.closed
				now.mu.Unlock()
				if closed { // as an agent does
					now = watch(t, source)
				}
				now.mu.Lock()
				defer now.mu.Unlock()
				return now.synced == 1 && now.have["r1"].Revision == 2 && len(now.have) == 2
			}, patience, 10*time.Millisecond, "the change arrives")
			require.Empty(t, seen.gone)
			require.Empty(t, now.gone)
			started := time.Now().UTC().Truncate(time.Millisecond)
			beat.StartedAt = started
			require.Eventually(t, func() bool {
				_ = source.Heartbeat(t.Context(), beat)
				_ = source.Report(t.Context(), agent.Report{RouterID: "r1", Epoch: 1, Revision: 2})
				h.mu.Lock()
				defer h.mu.Unlock()
				return h.beats["h1"].StartedAt.Equal(started) && len(h.reports) > 0
			}, patience, 50*time.Millisecond, "heartbeats and reports arrive")
			require.Eventually(t, func() bool { return p.Bus().Ready(t.Context()) == nil }, patience, 10*time.Millisecond)
			require.Equal(t, id, p.Bus().ID())
			js := r.jetstream()
			require.Eventually(t, func() bool {
				_ = source.Heartbeat(t.Context(), beat) // as an agent does again and again
				for stream, subject := range map[string]string{"KV_routers": "$KV.routers.identity", "KV_peers": "$KV.peers.h1"} {
					s, err := js.Stream(t.Context(), stream)
					if err != nil || s.CachedInfo().Config.Sealed || s.CachedInfo().Config.MaxMsgs > 0 {
						return false
					}
					m, err := s.GetLastMsgForSubject(t.Context(), subject)
					if err != nil || len(m.Data) < 10 {
						return false
					}
				}
				return true
			}, patience, 10*time.Millisecond, "everything is as it was")
		})
	}
}
