package service

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// maxFQDN is how long a domain name may be, in characters (RFC 1035 2.3.4).
const maxFQDN = 255

var (
	dnsLabel   = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	onlyDigits = regexp.MustCompile(`^[0-9]+$`)
)

// setDNS takes over a name of the DNS, whose letters have no case (RFC 4343).
func setDNS(attribute *string, given *string) {
	if given != nil {
		*attribute = strings.ToLower(*given)
	}
}

// dnsName holds a name to RFC 1123 2.1. It may be empty. With a dot at its end it is fully
// qualified.
func dnsName(attribute, name string) error {
	if name == "" {
		return nil
	}
	if reason := dnsFault(name); reason != "" {
		return invalid("Invalid input for %s. Reason: '%s' not a valid PQDN or FQDN. Reason: %s.", attribute, name, reason)
	}
	return nil
}

func dnsFault(name string) string {
	name = strings.TrimSuffix(name, ".")
	if len(name) > maxFQDN {
		return fmt.Sprintf("it exceeds the %d character FQDN limit", maxFQDN)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return "Encountered an empty component"
		case strings.HasPrefix(label, "-"), strings.HasSuffix(label, "-"):
			return fmt.Sprintf("Name '%s' must not start or end with a hyphen", label)
		case !dnsLabel.MatchString(label):
			return fmt.Sprintf("Name '%s' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen", label)
		}
	}
	if last := labels[len(labels)-1]; len(labels) > 1 && onlyDigits.MatchString(last) {
		return fmt.Sprintf("TLD '%s' must not be all numeric", last)
	}
	return ""
}

// dnsDomain is the same for a domain, which must be fully qualified, with room for a name before
// it.
func dnsDomain(attribute, domain string) error {
	switch {
	case domain == "":
		return nil
	case !strings.HasSuffix(domain, "."):
		return invalid("Invalid input for %s. Reason: '%s' is not a FQDN.", attribute, domain)
	case len(domain) > maxFQDN-2:
		return invalid("Invalid input for %s. Reason: with a name before it, '%s' exceeds the %d character FQDN limit.", attribute, domain, maxFQDN)
	}
	return dnsName(attribute, domain)
}

// portDNS checks the names of a port together.
func portDNS(p l3.Port) error {
	if err := dnsName("dns_name", p.DNSName); err != nil {
		return err
	}
	if err := dnsDomain("dns_domain", p.DNSDomain); err != nil {
		return err
	}
	domain := p.DNSDomain
	if domain == "" {
		domain = l3.DefaultDNSDomain
	}
	switch qualified := strings.HasSuffix(p.DNSName, "."); {
	case !qualified && len(p.DNSName)+1+len(domain) > maxFQDN:
		return invalid("Invalid input for dns_name. Reason: with its domain '%s' it exceeds the %d character FQDN limit.", domain, maxFQDN)
	case qualified && !strings.HasSuffix(p.DNSName, "."+domain):
		return invalid("Invalid input for dns_name. Reason: '%s' is a FQDN that is not in the domain '%s'.", p.DNSName, domain)
	}
	return nil
}

// floatingDNS checks the names of a floating IP, of which it has both or none.
func floatingDNS(name, domain string) error {
	switch {
	case strings.HasSuffix(name, "."):
		return invalid("Invalid input for dns_name. Reason: '%s' is a FQDN. It should be a relative domain name.", name)
	case name == "" && domain != "":
		return badRequest("BadRequest", "Bad floatingip request: dns_domain cannot be specified without a dns_name.")
	case name != "" && domain == "":
		return badRequest("BadRequest", "Bad floatingip request: dns_name cannot be specified without a dns_domain.")
	case len(name)+1+len(domain) > maxFQDN:
		return invalid("Invalid input for dns_name. Reason: with its domain '%s' it exceeds the %d character FQDN limit.", domain, maxFQDN)
	}
	if err := dnsName("dns_name", name); err != nil {
		return err
	}
	return dnsDomain("dns_domain", domain)
}
