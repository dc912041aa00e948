package control

import (
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"github.com/l3kit/l3kit/l3/natsbus"
)

// Credential is the command that prints the password of a host's agent.
type Credential struct {
	Config kong.ConfigFlag `help:"YAML file to read flags from." placeholder:"FILE"`

	SecretFile string `name:"bus-secret-file" default:"l3kit-bus.secret" placeholder:"FILE" help:"As the server has it, which makes it."`
	Host       string `arg:"" help:"Name of the host, as its agent has it."`
}

// Run is kong's.
func (c *Credential) Run(out io.Writer) error {
	secret, err := readSecret(c.SecretFile)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, natsbus.Credential(secret, c.Host))
	return err
}

// Permissions is the command that prints what another NATS must grant to a host's agent.
type Permissions struct {
	Host string `arg:"" help:"Name of the host, as its agent has it."`
}

// Run is kong's.
func (c *Permissions) Run(out io.Writer) error {
	_, err := fmt.Fprintln(out, natsbus.AgentPermissions(c.Host))
	return err
}
