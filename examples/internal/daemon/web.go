package daemon

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/internal/httpserver"
)

// webLimits are those of what a process serves about itself.
func webLimits() httpserver.Limits {
	return httpserver.Limits{Connections: 100, Read: time.Minute, Write: time.Minute, Shutdown: 10 * time.Second,
		Busy: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many connections", http.StatusServiceUnavailable)
		})}
}

// web is a [Part] that serves at an address which is taken already.
func web(l net.Listener, h http.Handler) Part {
	return func(ctx context.Context, p *Process) error {
		return httpserver.New(l, h, webLimits(), p.Log).Serve(ctx)
	}
}

// CheckAddress refuses what can never be an address to listen at: HOST:PORT, where HOST may be
// empty.
func CheckAddress(flag, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return setting.Errorf("%s: %q is not HOST:PORT", flag, address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return setting.Errorf("%s: %q has no port: %w", flag, address, err)
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Trim(host, "0123456789.") == "" && host != "" {
		return setting.Errorf("%s: %q is not an IP address", flag, host)
	}
	return nil
}

// Listener is an address to listen at, and the flag that gives it.
type Listener struct{ Flag, Address string }

// CheckDistinct refuses addresses of which two cannot be listened at together.
func CheckDistinct(listeners ...Listener) error {
	for i, a := range listeners {
		for _, b := range listeners[:i] {
			if overlap(a.Address, b.Address) {
				return setting.Errorf("%s %s and %s %s are the same address: give each flag one of its own", b.Flag, b.Address, a.Flag, a.Address)
			}
		}
	}
	return nil
}

// overlap reports whether two addresses have a port and a host in common.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || wildcard(hostA) || wildcard(hostB))
}

func wildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// CheckURL refuses what is not the URL of an HTTP service.
func CheckURL(flag, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return setting.Errorf("%s: %q is neither http://HOST:PORT nor https://HOST:PORT", flag, text)
	}
	return nil
}
