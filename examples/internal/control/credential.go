package control

import (
	"fmt"
	"io"
	"os"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// Credential is the command that prints the password of a host's agent.
type Credential struct {
	SecretFile string `name:"bus-secret-file" default:"l3kit-bus.secret" placeholder:"FILE" help:"The server's --bus-secret-file; created if missing."`
	Host       string `arg:"" help:"Name of the host, as its agent has it."`
}

// Run is called by kong. It does not depend on whether the server has started yet.
func (c *Credential) Run(out io.Writer) error {
	if err := agent.CheckHostName(c.Host); err != nil {
		return setting.Invalid(err)
	}
	secret, made, err := makeSecret(c.SecretFile)
	if err != nil {
		return err
	}
	if made {
		fmt.Fprintf(os.Stderr, "there was no secret, so %s was created: the password is of use only for a server that has this file as its --bus-secret-file\n",
			files.Absolute(c.SecretFile))
	}
	_, err = fmt.Fprintln(out, natsbus.Credential(secret, c.Host))
	return err
}

// Accounts is the command that prints the accounts that another NATS needs.
type Accounts struct {
	SecretFile string   `name:"bus-secret-file" placeholder:"FILE" help:"Print passwords derived from it, as the command credential does. Default: placeholders."`
	Hosts      []string `arg:"" name:"host" help:"Names of the hosts, as their agents have them."`
}

// Run is called by kong.
func (c *Accounts) Run(out io.Writer) error {
	for _, host := range c.Hosts {
		if err := agent.CheckHostName(host); err != nil {
			return setting.Invalid(err)
		}
	}
	password := func(user string) string { return "<password of " + user + ">" }
	if c.SecretFile != "" {
		secret, err := readSecret(c.SecretFile)
		if err != nil {
			return err
		}
		password = func(user string) string { return natsbus.Password(secret, user) }
	}
	text, err := natsbus.AccountsConfig(password, c.Hosts...)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}
