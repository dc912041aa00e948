package nftables

import "github.com/l3kit/l3kit/dataplane/namespace"

// New makes a dataplane that realises routers as network namespaces and translates with nftables.
// It sets cfg.Firewall.
func New(cfg namespace.Config) (*namespace.Dataplane, error) {
	cfg.Firewall = Firewall{}
	return namespace.New(cfg)
}
