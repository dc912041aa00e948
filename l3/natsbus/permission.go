package natsbus

import (
	"encoding/json"
	"strings"
)

// Permissions are the subjects that a user may use, in the words of nats-server's configuration: {"publish": {"allow": […]}, "subscribe": {"allow": […]}}.
type Permissions struct {
	Publish   Allowed `json:"publish"`
	Subscribe Allowed `json:"subscribe"`
}

// Allowed are subjects; every other is denied.
type Allowed struct {
	Allow []string `json:"allow"`
}

// String is JSON that nats-server's configuration takes. It has > as it is, which nats-server does not read as json.Marshal escapes it.
func (p Permissions) String() string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return err.Error() // strings can be encoded
	}
	return strings.TrimSpace(b.String())
}

// AgentPermissions are what the agent of a host needs and may have. An embedded server grants exactly these; the operator of another cluster configures
// them as they are, all agents and the control plane in one account.
//
// A consumer has the name of the host, and the filter is part of the subject that makes it, so an agent makes, reads and deletes no other's. Neither
// STREAM.INFO nor STREAM.MSG.GET is among them, because what they are asked for is in the body, where no permission reaches.
//
// NATS does not look at the subject that an answer is asked to go to. An agent that was broken into can therefore have acknowledgements and its own routers
// sent to any subject of the account, and so spoil another host's key. It cannot forge one: what a reader accepts names the host and the router of
// the key, and no bucket that agents read has bytes of an agent's choosing. [Publisher.ReconcileNow] puts back what was spoilt, and until then the host
// keeps what it has.
func AgentPermissions(host string) Permissions {
	h := Token(host)
	routers, peers := streamOf(bucketRouters), streamOf(bucketPeers)
	return Permissions{
		Publish: Allowed{Allow: []string{
			subjectReports + h,
			subjectListing + h,
			subjectOf(bucketAgents, h),
			"$JS.API.CONSUMER.CREATE." + routers + "." + h + "." + subjectOf(bucketRouters, h+".>"),
			"$JS.API.CONSUMER.DELETE." + routers + "." + h,
			"$JS.API.CONSUMER.INFO." + routers + "." + h,
			"$JS.API.CONSUMER.MSG.NEXT." + routers + "." + h,
			"$JS.API.DIRECT.GET." + routers + "." + subjectOf(bucketRouters, keyComplete),
			"$JS.API.CONSUMER.CREATE." + peers + "." + h + "." + subjectOf(bucketPeers, ">"),
			"$JS.API.CONSUMER.DELETE." + peers + "." + h,
			"$JS.API.CONSUMER.INFO." + peers + "." + h,
			"$JS.API.CONSUMER.MSG.NEXT." + peers + "." + h,
		}},
		Subscribe: Allowed{Allow: []string{inboxOf(host) + ".>"}},
	}
}

// inboxOf is what the answers to an agent's requests begin with.
func inboxOf(host string) string { return inboxes + "agent-" + Token(host) }
