// Package intrusion is for tests: it holds the login of one agent at the message queue, and sends
// everything that could reach something else. It knows the subjects of package natsbus.
package intrusion

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Intrusion is an attempt of one host's login to reach another host. Names are tokens of subjects.
type Intrusion struct {
	Host   string // whose login it is
	Router string // of that host
	Victim string // another host
	Theirs string // a router of the victim

	// Acks are the reply subjects of messages that wait to be acknowledged, as far as they are
	// known.
	Acks []string
}

// Own returns the subjects of the control plane's account that the host's own agent reaches.
func (i Intrusion) Own() []string {
	return []string{
		"session." + i.Host, "reports." + i.Host, "$KV.agents." + i.Host, "answers." + i.Host,
		"$JS.API.CONSUMER.MSG.NEXT.KV_routers." + i.Host, "$JS.API.CONSUMER.MSG.NEXT.KV_peers." + i.Host,
	}
}

// Streams are those of the control plane.
var Streams = []string{"KV_routers", "KV_agents", "KV_peers", "reports"}

// subjects lists all subjects of the system, as far as they can do or tell anything.
func (i Intrusion) subjects() (all []string) {
	for _, s := range append(slices.Clone(Streams), "*", "mine") {
		for _, verb := range []string{
			"STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.INFO", "STREAM.SNAPSHOT", "STREAM.RESTORE", "STREAM.MSG.GET",
			"STREAM.MSG.DELETE", "STREAM.PEER.REMOVE", "STREAM.LEADER.STEPDOWN", "STREAM.CANCEL.MOVE", "CONSUMER.CREATE", "CONSUMER.LIST", "CONSUMER.NAMES",
			"DIRECT.GET",
		} {
			all = append(all, "$JS.API."+verb+"."+s)
		}
		for _, c := range []string{i.Host, i.Victim, "control", "*"} {
			for _, verb := range []string{"CREATE", "DURABLE.CREATE", "DELETE", "INFO", "MSG.NEXT", "PAUSE", "UNPIN", "RESET", "LEADER.STEPDOWN"} {
				all = append(all, "$JS.API.CONSUMER."+verb+"."+s+"."+c)
			}
			all = append(all, "$JS.FC."+s+"."+c+".x", "$JS.ACK."+s+"."+c+".1.1.1.1.0")
		}
		for _, key := range []string{"$KV.routers." + i.Victim + "." + i.Theirs, "$KV.routers.complete", "$KV.agents." + i.Victim, "$KV.peers." + i.Victim} {
			all = append(all, "$JS.API.DIRECT.GET."+s+"."+key, "$JS.API.CONSUMER.CREATE."+s+"."+i.Host+"."+key)
		}
	}
	for _, host := range []string{i.Host, i.Victim, "*"} {
		all = append(all, "$KV.routers."+host+"."+i.Theirs, "$KV.routers."+host+"."+i.Router, "$KV.routers."+host+".=", "$KV.agents."+host,
			"$KV.peers."+host, "reports."+host, "session."+host, "questions."+host, "answers."+host)
	}
	all = append(all, i.Acks...)
	all = append(all, local...)
	return append(all,
		"$KV.routers.complete", "$KV.routers.identity", "$KV.peers.=", "$KV.agents.control.probe",
		">", "*", "_INBOX.x", "_R_.x", "_R_.x.y", "_GR_.x.y", "$JSC.R.x", "$NRG.V.x",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE.L3KIT",
		"$JS.API.ACCOUNT.PURGE.$G", "$JS.EVENT.ADVISORY.API", "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.PING.JSZ",
		"$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.ACCOUNT.$G.CONNZ", "$SYS.REQ.SERVER.PING.KICK",
		"$SYS.ACCOUNT.$G.CONNECT", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.DEBUG.SUBSCRIBERS", "$SRV.PING",
	)
}

// local are the subjects of the host's own account that lead to the control plane, or come from it.
var local = []string{"session", "report", "heartbeat", "routers.next", "peers.next", "answer", "question"}

// bodies make JetStream answer: with nothing, at once or late, with an error, or somewhere else.
func (i Intrusion) bodies() []string {
	return []string{
		"", "{}", `{"batch":1,"no_wait":true}`, `{"batch":100,"no_wait":true}`, `{"batch":1,"expires":1000000}`,
		`{"batch":2,"expires":300000000,"idle_heartbeat":100000000}`,
		fmt.Sprintf(`{"host":%q,"router_id":%q,"epoch":9,"revision":9}`, i.Victim, i.Theirs), fmt.Sprintf(`{"host":%q,"machine":"m"}`, i.Victim), "+TERM", "-NAK",
		fmt.Sprintf(`{"stream_name":"KV_routers","config":{"name":%q,"durable_name":%q,"filter_subject":"$KV.routers.>","deliver_subject":"$KV.peers.%s",`+
			`"ack_policy":"none"}}`, i.Host, i.Host, i.Victim),
		`{"name":"mine","subjects":["session.*"]}`, fmt.Sprintf(`{"last_by_subj":"$KV.routers.%s.%s"}`, i.Victim, i.Theirs), `{"seq":1}`,
		fmt.Sprintf(`{"filter":"$KV.peers.%s"}`, i.Victim),
	}
}

// headers are those that servers obey.
func headers(subject string) []nats.Header {
	return []nats.Header{
		{"Nats-Trace-Dest": {subject}}, {"Nats-Trace-Dest": {subject}, "Nats-Trace-Only": {"true"}},
		{"Nats-Rollup": {"all"}}, {"Nats-Rollup": {"sub"}}, {"Nats-TTL": {"1s"}}, {"Nats-Msg-Id": {subject}}, {"Nats-Expected-Stream": {"KV_routers"}},
		{"Nats-Schedule": {"@at 2020-01-01T00:00:00Z"}, "Nats-Schedule-Target": {subject}},
		{"Nats-Batch-Id": {"1"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}},
		{"Nats-Incr": {"1"}}, {"Nats-Marker-Reason": {"Purge"}}, {"Status": {"503"}}, {"Nats-Required-Api-Level": {"0"}},
		{"Nats-Request-Info": {`{"acc":"$G","svc":"$G","user":"control","rtt":1}`}},
	}
}

// flushTime is for how long the server may be busy with what was sent.
const flushTime = 30 * time.Second

// Run sends everything: every subject as target, with replies that would do harm if they were
// obeyed, and what the host may send with each subject as reply, with every body and every header.
// Then it subscribes to every subject. It returns the number of messages, and an error if the
// connection did not outlive that.
func (i Intrusion) Run(nc *nats.Conn) (sent int, err error) {
	nc.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // thousands of refusals
	all, bodies := i.subjects(), i.bodies()
	send := func(m *nats.Msg) error {
		if err := nc.PublishMsg(m); err != nil && !errors.Is(err, nats.ErrBadSubject) {
			return err
		}
		if sent++; sent%1000 == 0 {
			return nc.FlushTimeout(flushTime)
		}
		return nil
	}
	for _, to := range all {
		mine := slices.Contains(local, to)
		replies := []string{"", "_INBOX.x", "$KV.peers." + i.Victim, "$JS.API.STREAM.DELETE.KV_agents"}
		if mine {
			replies = append(all, "")
		}
		for _, reply := range replies {
			for _, body := range bodies {
				if err := send(&nats.Msg{Subject: to, Reply: reply, Data: []byte(body)}); err != nil {
					return sent, err
				}
			}
			if !mine {
				continue
			}
			for _, h := range headers(reply) {
				if err := send(&nats.Msg{Subject: to, Reply: reply, Header: h, Data: []byte("{}")}); err != nil {
					return sent, err
				}
			}
		}
	}
	for _, subject := range all {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			continue // it is not a subject that can be subscribed to
		}
		if err := sub.Unsubscribe(); err != nil {
			return sent, err
		}
	}
	return sent, nc.FlushTimeout(flushTime)
}
