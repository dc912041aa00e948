package rest

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// Auth says who a request is from.
type Auth interface {
	// Authenticate fails with *[Unauthorized] for a caller that it does not believe, with
	// *[Unavailable] while it cannot know. It is called concurrently, once for a request, and
	// before anything of the request's body is read.
	Authenticate(r *http.Request) (l3.Caller, error)
}

// Unauthorized is the answer to a caller who is not believed: 401.
type Unauthorized struct {
	KeystoneURL string // where to get a token; empty: the API's own URL is named
	Reason      string // for the log
}

func (e *Unauthorized) Error() string { return "unauthorized: " + e.Reason }

// Unavailable is why a caller could not be asked for: 503.
type Unavailable struct{ Err error }

func (e *Unavailable) Error() string { return "identity service: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Unavailable) Unwrap() error { return e.Err }

// adminRole is the role that makes an administrator.
const adminRole = "admin"

func caller(project, user string, roles []string) l3.Caller {
	return l3.Caller{Project: project, User: user, Roles: roles, Admin: slices.Contains(roles, adminRole)}
}

// None believes what a request says of itself in X-Project-Id, X-User-Id and X-Roles (separated by
// commas; without roles a caller may do nothing). A proxy that has authenticated the client may set
// these; whoever else can reach the API can claim to be anybody. See [None.MayListen].
//
// A web page can have its visitor's browser reach the API on the visitor's machine, by a name that
// its own DNS server resolves to 127.0.0.1 (DNS rebinding). So a request must be for a host that no
// page can choose: an IP address, localhost, or one of Names.
type None struct {
	// Default is who sends requests without any of these headers, which is all that the openstack
	// client sends with its auth type none. The zero Caller: nobody, they are answered with 401.
	Default l3.Caller
	// Names are the host names, without ports, that clients call the API by.
	Names []string
}

// Authenticate reads the headers.
func (n None) Authenticate(r *http.Request) (l3.Caller, error) {
	if !n.serves(r.Host) {
		return l3.Caller{}, &l3.Error{Kind: l3.ErrForbidden, Name: "HTTPForbidden",
			Message: fmt.Sprintf("The API is not served as '%s': call it by an IP address, as localhost, or by a name that it is configured with.", show(r.Host))}
	}
	project, user, words := r.Header.Get("X-Project-Id"), r.Header.Get("X-User-Id"), r.Header.Get("X-Roles")
	if project == "" && user == "" && words == "" {
		if n.Default.Project == "" && !n.Default.Admin {
			return l3.Caller{}, &Unauthorized{Reason: "no identity headers"}
		}
		return n.Default, nil
	}
	if !clean(project) || !clean(user) || !clean(words) {
		return l3.Caller{}, &Unauthorized{Reason: "identity headers that are not text"}
	}
	var roles []string
	for word := range strings.SplitSeq(words, ",") {
		if word = strings.TrimSpace(word); word != "" {
			roles = append(roles, word)
		}
	}
	return caller(project, user, roles), nil
}

// serves reports whether a request's Host is one that only a client with a connection to this API
// can have meant. HTTP/1.0 has none, and no browser speaks it.
func (n None) serves(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "" || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(n.Names, func(name string) bool { return strings.EqualFold(name, host) })
}

// MayListen refuses addresses that others than this machine can reach: whoever reaches an API that
// believes everybody owns it. It takes what [net.Listen] takes. Names are looked up, and all of
// their addresses must be loopback.
func (None) MayListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	addresses := []string{host}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		if addresses, err = net.LookupHost(host); err != nil {
			return err
		}
	}
	for _, s := range addresses {
		if a, err := netip.ParseAddr(s); err != nil || !a.Unmap().IsLoopback() {
			return fmt.Errorf("%q is not a loopback address, and without authentication whoever reaches it is administrator", address)
		}
	}
	return nil
}
