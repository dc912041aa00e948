package control

import (
	"net"
	"net/url"
	"os"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
)

// Auth is the flags that say who is believed.
type Auth struct {
	Auth         string   `enum:"none,token,keystone" default:"none" help:"How clients authenticate: ${enum}. None trusts X-Project-Id, X-User-Id, X-Roles."`
	AdminProject string   `placeholder:"PROJECT" help:"With --auth=none: clients without these headers are administrator, in this project."`
	ForceListen  bool     `help:"With --auth=none: allow --listen beyond loopback. Whoever reaches the address is administrator."`
	AllowedHosts []string `placeholder:"NAME" help:"With --auth=none: host names to serve beside localhost, this host's and that in --url."`

	TokenFile string `type:"existingfile" placeholder:"FILE" help:"With --auth=token: YAML list of {token, project, user, roles}, not readable by all."`

	KeystoneURL      string        `placeholder:"URL" help:"With --auth=keystone: URL of the Identity API v3 for this server."`
	KeystonePublic   string        `placeholder:"URL" help:"URL of the Identity API v3 for clients. Default: that of --keystone-url."`
	KeystoneUser     string        `default:"neutron" placeholder:"NAME" help:"Account that validates tokens."`
	KeystonePassword string        `placeholder:"PASSWORD" help:"Its password. Prefer the environment or the file."`
	KeystoneProject  string        `default:"service" placeholder:"NAME" help:"Its project."`
	KeystoneDomain   string        `default:"Default" placeholder:"NAME" help:"Domain of the account and of the project."`
	KeystoneFresh    time.Duration `default:"1m" help:"How long a validated token is cached."`
}

// check refuses values that are wrong, whether --auth uses them or not.
func (f *Auth) check() error {
	for _, c := range []struct{ flag, text string }{{"--keystone-url", f.KeystoneURL}, {"--keystone-public", f.KeystonePublic}} {
		if c.text == "" {
			continue
		}
		if err := daemon.CheckURL(c.flag, c.text); err != nil {
			return err
		}
	}
	if f.KeystoneFresh <= 0 {
		return setting.Errorf("--keystone-fresh: %s is not more than 0", f.KeystoneFresh)
	}
	return nil
}

// open makes what the flags say. It does not connect.
func (f *Auth) open(listen, publicURL string) (rest.Auth, error) {
	switch f.Auth {
	case "token":
		if f.TokenFile == "" {
			return nil, setting.Errorf("--auth=token needs --token-file")
		}
		tokens, err := rest.ReadTokens(f.TokenFile)
		if err != nil {
			return nil, setting.For("--token-file", err)
		}
		return tokens, nil
	case "keystone":
		if f.KeystoneURL == "" || f.KeystonePassword == "" {
			return nil, setting.Errorf("--auth=keystone needs --keystone-url and --keystone-password")
		}
		keystone, err := rest.NewKeystone(rest.KeystoneConfig{
			Service: gophercloud.AuthOptions{
				IdentityEndpoint: f.KeystoneURL, Username: f.KeystoneUser, Password: f.KeystonePassword, DomainName: f.KeystoneDomain,
				Scope: &gophercloud.AuthScope{ProjectName: f.KeystoneProject, DomainName: f.KeystoneDomain},
			},
			PublicURL: f.KeystonePublic, Fresh: f.KeystoneFresh,
		})
		if err != nil {
			return nil, setting.For("--keystone-url", err)
		}
		return keystone, nil
	}
	var none rest.None
	if f.AdminProject != "" {
		none.Default = l3.Caller{Project: f.AdminProject, Admin: true, Roles: []string{"admin"}}
	}
	none.Names = append(f.AllowedHosts, ownNames(listen, publicURL)...)
	if !f.ForceListen {
		if err := none.MayListen(listen); err != nil {
			return nil, setting.Errorf("%w: choose another --auth or --listen, or say --force-listen", err)
		}
	}
	return none, nil
}

// ownNames are the names that this server has without being told: its host's, and those of the
// addresses that it serves.
func ownNames(listen, publicURL string) []string {
	var names []string
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if name, _, err := net.SplitHostPort(listen); err == nil {
		names = append(names, name)
	}
	if u, err := url.Parse(publicURL); err == nil {
		names = append(names, u.Hostname())
	}
	return names
}
