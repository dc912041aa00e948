package natsbus

import (
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// maxConnections bounds the connections that one host's login has with one server. An agent needs
// one, and for a moment a second when it reconnects.
const maxConnections = 8

// guard authenticates connections to an embedded server by passwords that are derived from the
// secret, and gives each host an account of its own when its agent first logs in.
type guard struct {
	secret []byte
	server *server.Server
	log    *serverLog
	ready  chan struct{} // closed when agents may log in

	mu    sync.Mutex
	hosts map[string]*server.Account
}

// imports lists what the account of a host imports. What the relay takes goes through it.
func (g *guard) imports(host string) []Import {
	all := AgentImports(host)
	for n, i := range all {
		for _, b := range bounds {
			if i.Local == b.local && b.mode != count {
				all[n].Subject = relayed(g.server.ID(), i.Local, Token(host))
			}
		}
	}
	return all
}

// export offers the services that hosts import. No configuration but the guard's adds an import, so
// the exports need no list of accounts.
func (g *guard) export() error {
	control := g.server.GlobalAccount()
	for _, i := range g.imports("*") {
		subject := strings.Replace(i.Subject, Token("*"), "*", 1) // which Token has escaped
		response := server.Singleton
		if i.Stream {
			response = server.Streamed
		}
		if err := control.AddServiceExportWithResponse(subject, response, nil); err != nil {
			return fmt.Errorf("export %s to hosts: %w", subject, err)
		}
	}
	questions := subjectQuestions + "*"
	if err := control.AddStreamExport(questions, nil); err != nil {
		return fmt.Errorf("export %s to hosts: %w", questions, err)
	}
	return nil
}

// account returns the account of a host, with its imports.
func (g *guard) account(host string) (*server.Account, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.hosts[host]; a != nil {
		return a, nil
	}
	a, _ := g.server.LookupOrRegisterAccount(hostAccount + Token(host))
	for _, i := range g.imports(host) {
		if err := a.AddServiceImport(g.server.GlobalAccount(), i.Local, i.Subject); err != nil {
			return nil, fmt.Errorf("import %s into account %s: %w", i.Subject, a.GetName(), err)
		}
	}
	q := AgentQuestions(host)
	if err := a.AddMappedStreamImport(g.server.GlobalAccount(), q.Subject, q.Local); err != nil {
		return nil, fmt.Errorf("import %s into account %s: %w", q.Subject, a.GetName(), err)
	}
	g.hosts[host] = a
	return a, nil
}

// Check is called by nats-server for each connection.
func (g *guard) Check(c server.ClientAuthentication) bool {
	login := c.GetOpts()
	if !authentic(g.secret, login.Username, login.Password) {
		return false
	}
	user := &server.User{Username: login.Username}
	if login.Username == ControlUser {
		c.RegisterUser(user)
		return true
	}
	host, ok := hostOfUser(login.Username)
	if !ok {
		return false
	}
	<-g.ready
	account, err := g.account(host)
	if err != nil {
		g.log.Errorf("refuse the agent of host %s: %v", host, err)
		return false
	}
	if account.NumLocalConnections() >= maxConnections {
		g.log.Warnf("refuse the agent of host %s: its login has %d connections already", host, maxConnections)
		return false
	}
	user.Account = account
	may := AgentPermissions()
	user.Permissions = &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: append(may.Publish.Allow, localDiscard)},
		Subscribe: &server.SubjectPermission{Allow: may.Subscribe.Allow},
	}
	c.RegisterUser(user)
	return true
}
