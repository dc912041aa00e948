package iptables

import "github.com/l3kit/l3kit/dataplane/namespace"

// New makes a dataplane that realises routers as network namespaces and translates with iptables.
// It sets cfg.Firewall, to a [Firewall] with its defaults unless it is one already.
func New(cfg namespace.Config) (*namespace.Dataplane, error) {
	if _, ours := cfg.Firewall.(*Firewall); !ours {
		cfg.Firewall = &Firewall{}
	}
	return namespace.New(cfg)
}
