package l3

import (
	"net/netip"
	"strings"
)

// DefaultDNSDomain is the domain of a port's names if the port has none.
const DefaultDNSDomain = "openstacklocal."

// DNSAssignment is the name that belongs to one address of a port.
type DNSAssignment struct {
	Hostname  string     `json:"hostname"`
	IPAddress netip.Addr `json:"ip_address"`
	FQDN      string     `json:"fqdn"` // with the dot at its end
}

// DNSAssignments lists the names of a port's addresses: the port's DNSName for all of them, or one
// made of each address. l3kit serves no DNS; this is for whoever does.
func (p *Port) DNSAssignments() []DNSAssignment {
	all := make([]DNSAssignment, len(p.FixedIPs))
	for i, f := range p.FixedIPs {
		name := p.DNSName
		if name == "" {
			name = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(f.IPAddress.String())
		}
		all[i] = DNSAssignment{Hostname: name, IPAddress: f.IPAddress, FQDN: qualified(name, p.DNSDomain)}
	}
	return all
}

func qualified(name, domain string) string {
	switch {
	case strings.HasSuffix(name, "."):
		return name
	case domain == "":
		domain = DefaultDNSDomain
	}
	return name + "." + domain
}
