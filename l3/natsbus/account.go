package natsbus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"
)

// Subjects in a host's account. They are the same for every host, because a host sees no other.
const (
	localSession   = "session"
	localHeartbeat = "heartbeat"
	localReport    = "report"
	localRouters   = "routers.next"
	localPeers     = "peers.next"
	localQuestion  = "question"
	localAnswer    = "answer"
	localDiscard   = "discard" // which nobody imports; see relay
)

// Import is a service of the control plane's account that a host's account imports. A message to
// Local in the host's account arrives at Subject in the control plane's account.
type Import struct {
	Local   string
	Subject string
	// Stream says that a request has many answers ("response: stream" in nats-server's
	// configuration).
	Stream bool
}

// AgentImports lists the services that the account of a host imports. There are no others, and no
// exports: whatever subject an agent names, as target or as reply, is in its own account, so it
// reaches the control plane through one of these or it reaches nobody. The account also imports one
// stream; see [AgentQuestions].
func AgentImports(host string) []Import {
	h := Token(host)
	return []Import{
		{Local: localSession, Subject: subjectSession + h},
		{Local: localHeartbeat, Subject: subjectOf(bucketAgents, h)},
		{Local: localReport, Subject: subjectReports + h},
		{Local: localRouters, Subject: nextSubject(bucketRouters, h), Stream: true},
		{Local: localPeers, Subject: nextSubject(bucketPeers, h), Stream: true},
		{Local: localAnswer, Subject: subjectAnswers + h},
		// nats-server gives every account the API of JetStream, to answer that it has none.
		// Releases before 2.11.4 let any account purge any other through it. This import takes its
		// place, and leads to a subject that nobody listens to.
		{Local: "$JS.API.>", Subject: "refused." + h + ".>"},
	}
}

// AgentQuestions is the stream that the account of a host imports: what the control plane asks the
// host. A message to Subject in the control plane's account arrives at Local in the host's.
func AgentQuestions(host string) Import {
	return Import{Local: localQuestion, Subject: subjectQuestions + Token(host)}
}

// nextSubject returns the subject of requests to the consumer of a host.
func nextSubject(bucket, host string) string {
	return "$JS.API.CONSUMER.MSG.NEXT." + streamOf(bucket) + "." + host
}

// Permissions are the subjects that a user may use, in the form of nats-server's configuration.
type Permissions struct {
	Publish   Allowed `json:"publish"`
	Subscribe Allowed `json:"subscribe"`
}

// Allowed lists subjects; every other subject is denied.
type Allowed struct {
	Allow []string `json:"allow"`
}

// AgentPermissions returns the permissions of an agent's user in the account of its host. They are
// the second line of defence: they keep the agent from the subjects that nats-server adds to every
// account.
func AgentPermissions() Permissions {
	return Permissions{
		Publish:   Allowed{Allow: []string{localSession, localHeartbeat, localReport, localRouters, localPeers, localAnswer}},
		Subscribe: Allowed{Allow: []string{"_INBOX.>", localQuestion}},
	}
}

// Names of accounts in the configuration of another NATS.
const (
	controlAccount = "L3KIT"
	hostAccount    = "L3KIT-HOST-" // followed by the host's token
)

// AccountsConfig returns the part of nats-server's configuration that another NATS needs to serve a
// control plane and the agents of the hosts: one account for the control plane, with JetStream, and
// one for each host. password returns the password of a user; see [ControlUser] and [AgentUser].
func AccountsConfig(password func(user string) string, hosts ...string) (string, error) {
	type account struct {
		Name, User, Password string
		Imports              []Import
		Questions            Import
	}
	data := struct {
		Control     account
		Hosts       []account
		Permissions Permissions
		MaxPayload  int
	}{
		Control:     account{Name: controlAccount, User: ControlUser, Password: password(ControlUser)},
		Permissions: AgentPermissions(), MaxPayload: maxMessage,
	}
	for _, h := range hosts {
		user := AgentUser(h)
		data.Hosts = append(data.Hosts, account{
			Name: hostAccount + Token(h), User: user, Password: password(user), Imports: AgentImports(h), Questions: AgentQuestions(h),
		})
	}
	var b strings.Builder
	if err := accountsConfig.Execute(&b, data); err != nil {
		return "", fmt.Errorf("write the configuration of accounts: %w", err)
	}
	return b.String(), nil
}

// quote writes JSON that nats-server's configuration takes. It leaves > as it is, because
// nats-server does not read the escape that json.Marshal writes.
func quote(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSpace(b.String()), err
}

var accountsConfig = template.Must(template.New("accounts").Funcs(template.FuncMap{"quote": quote}).Parse(
	`# Add to the configuration, unless it is there:
#
#   max_payload: {{.MaxPayload}}
#   jetstream {store_dir: ..., sync_interval: always}
#
# Without "sync_interval: always" a power loss can take back changes that were acknowledged.
accounts {
  {{quote .Control.Name}}: {
    jetstream: enabled
    users: [{user: {{quote .Control.User}}, password: {{quote .Control.Password}}}]
    exports: [
{{- range .Hosts}}{{$host := .}}{{range .Imports}}
      {service: {{quote .Subject}}, accounts: [{{quote $host.Name}}]{{if .Stream}}, response: stream{{end}}}
{{- end}}
      {stream: {{quote .Questions.Subject}}, accounts: [{{quote .Name}}]}
{{- end}}
    ]
  }
{{- range .Hosts}}
  {{quote .Name}}: {
    users: [{user: {{quote .User}}, password: {{quote .Password}}, permissions: {{quote $.Permissions}}}]
    imports: [
{{- range .Imports}}
      {service: {account: {{quote $.Control.Name}}, subject: {{quote .Subject}}}, to: {{quote .Local}}}
{{- end}}
      {stream: {account: {{quote $.Control.Name}}, subject: {{quote .Questions.Subject}}}, to: {{quote .Questions.Local}}}
    ]
  }
{{- end}}
}
`))
