package server

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/l3kit/l3kit/internal/httpserver"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/membus"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// Config is what a [Server] is made of. The zero Config is a control plane in memory.
type Config struct {
	// Store keeps what clients ask for. The server does not close it. nil: SQLite in memory, which
	// is closed.
	Store l3.Store
	// Bus opens the bus that serves the control plane. It is called once, by [Open], when
	// everything else is there. The server closes the bus. nil: membus, for agents in this process.
	Bus func(ctx context.Context, control l3.ControlPlane) (l3.Bus, error)

	// Auth says who a request is from. nil: [rest.None], which believes what requests say of
	// themselves.
	Auth rest.Auth
	// Listener is where [Server.Run] serves the API. Run and Close close it, and nobody does if
	// Open fails. nil: the caller serves [Server.Handler]. With [rest.None] it must be a loopback
	// address, unless Exposed is true.
	Listener net.Listener
	Exposed  bool
	// Middleware wraps the API. What it does counts as time to answer a request. nil: nothing does.
	Middleware func(http.Handler) http.Handler
	URL        string // of the API's root as clients see it, for links; empty: each request's own Host
	Limits     Limits

	// The rules of the service; see [service.Config].
	Policy        l3.Policy              // nil: l3.DefaultPolicy
	Scheduler     l3.Scheduler           // nil: the candidate with the fewest routers
	SegmentRanges []service.SegmentRange // nil: VXLAN 1–16777215
	PhysicalMTU   int                    // bytes; 0: 1500
	MaxRoutes     int                    // 0: 30
	Quotas        map[string]int         // what is missing is as service.DefaultQuotas says
	RemoveOrphans bool
	Distributed   bool // routers are distributed whose callers do not say, or may not

	// AgentDownTime is the time since an agent's last heartbeat after which it is not alive, and
	// its routers move; 0: 75 s, otherwise at least [MinAgentDownTime]. Agents send at least three
	// heartbeats in this time.
	AgentDownTime time.Duration
	FailoverRate  int // routers moved away from dead agents in a second; 0: 100

	Metrics prometheus.Registerer // until Close; nil: nothing is registered
	Logger  *slog.Logger          // nil: nothing is logged
}

// MinAgentDownTime is the least [Config].AgentDownTime: less than a stream of the bus may need to
// find a new leader moves the routers of agents that are well.
const MinAgentDownTime = 3 * time.Second

// Limits bound what clients of the API can hold on to. A zero is replaced by the default.
type Limits struct {
	rest.Limits
	Request time.Duration // for a request when the database does not answer; then the answer is 503; 0: 30 s

	// Those of connections to the Listener.

	Connections int           // at once; requests on further ones are answered with 503; 0: 1000
	Read        time.Duration // that a client has to send a request; 0: 1 minute
	Write       time.Duration // that a client has to take an answer; 0: 1 minute
	Shutdown    time.Duration // that requests have to come to an end when Run is told to; 0: 10 s
}

func (c Config) withDefaults() (Config, error) {
	l := &c.Limits
	switch {
	case l.Request < 0 || l.Connections < 0 || l.Read < 0 || l.Write < 0 || l.Shutdown < 0,
		l.Body < 0, l.Items < 0, l.Bodies < 0, l.Answers < 0:
		return c, invalid("Config.Limits: a number or a time is negative")
	case c.AgentDownTime != 0 && c.AgentDownTime < MinAgentDownTime:
		return c, invalid("Config.AgentDownTime: %s is less than %s", c.AgentDownTime, MinAgentDownTime)
	case c.FailoverRate < 0:
		return c, invalid("Config.FailoverRate: %d is negative", c.FailoverRate)
	case c.URL != "" && !isRoot(c.URL):
		return c, invalid("Config.URL: %q is neither http://HOST:PORT nor https://HOST:PORT", c.URL)
	}
	l.Request = cmp.Or(l.Request, 30*time.Second)
	l.Connections = cmp.Or(l.Connections, 1000)
	l.Read = cmp.Or(l.Read, time.Minute)
	l.Write = cmp.Or(l.Write, time.Minute)
	l.Shutdown = cmp.Or(l.Shutdown, 10*time.Second)
	c.AgentDownTime = cmp.Or(c.AgentDownTime, 75*time.Second)
	if c.Auth == nil {
		c.Auth = rest.None{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Bus == nil {
		c.Bus = func(ctx context.Context, control l3.ControlPlane) (l3.Bus, error) {
			return membus.Open(ctx, control, membus.Options{Logger: c.Logger})
		}
	}
	return c, c.checkListener()
}

// isRoot reports whether a URL can be that of the API's root.
func isRoot(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.RawQuery == "" && u.Fragment == ""
}

// checkListener refuses to serve everybody who can reach an address as administrator.
func (c Config) checkListener() error {
	var none rest.None
	switch auth := c.Auth.(type) {
	case rest.None:
		none = auth
	case *rest.None:
		none = *auth
	default:
		return nil
	}
	if c.Listener == nil || c.Exposed {
		return nil
	}
	tcp, ok := c.Listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil // such as a unix socket, which has permissions
	}
	if err := none.MayListen(tcp.String()); err != nil {
		return invalid("Config.Listener: %s", err)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return l3.Refuse(l3.ErrInvalid, "InvalidInput", format, args...)
}

// limits are those of the Listener.
func (c Config) limits() httpserver.Limits {
	l := c.Limits
	return httpserver.Limits{
		Connections: l.Connections, Busy: http.HandlerFunc(rest.Busy), Read: l.Read, Write: l.Write, Shutdown: l.Shutdown,
	}
}

// service returns the configuration of the rules.
func (c Config) service() service.Config {
	return service.Config{
		Store: c.Store, Scheduler: c.Scheduler, Policy: c.Policy, SegmentRanges: c.SegmentRanges, PhysicalMTU: c.PhysicalMTU,
		MaxRoutes: c.MaxRoutes, Quotas: c.Quotas, AgentDownTime: c.AgentDownTime, RemoveOrphans: c.RemoveOrphans,
		Distributed: c.Distributed, Logger: c.Logger,
	}
}
