package daemon

import (
	"context"
	"net"
	"net/http"
	"net/netip"
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
