package rest

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

var errCrossSite = &l3.Error{Kind: l3.ErrForbidden, Name: "HTTPForbidden",
	Message: "The request comes from a web page of another site."}

// crossSite reports whether a browser sent a request for a web page of another site. Browsers say
// so in Sec-Fetch-Site, older ones leave it at Origin; other clients send neither. Such a request
// is refused even where it would need a token, which no page has: a browser may have been given a
// way in that this package knows nothing of, such as a certificate or a proxy's cookie.
func (a *api) crossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none": // none: the user, by the address bar
		return false
	case "":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return true
	}
	own, err := url.Parse(a.url)
	return !strings.EqualFold(u.Host, r.Host) && (err != nil || !strings.EqualFold(u.Host, own.Host))
}
