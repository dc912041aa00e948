package host

import (
	"log/slog"
	"net/http"
	"net/url"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/metadata"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// Metadata is where routers pass workloads' requests for metadata on to, as flags for kong.
type Metadata struct {
	Socket string `placeholder:"PATH" help:"Unix socket of Neutron's metadata agent. Routers answer 169.254.169.254 and fe80::a9fe:a9fe by it."`
	URL    string `name:"url" placeholder:"URL" help:"The same by a service at an http or https URL; X-Neutron-Router-ID and X-Forwarded-For say who asks."`
}

// on reports whether routers answer at all.
func (m Metadata) on() bool { return m.Socket != "" || m.URL != "" }

// handler is nil if routers do not answer.
func (m Metadata) handler(log *slog.Logger) (http.Handler, error) {
	c := metadata.Config{Logger: log}
	switch {
	case m.Socket != "" && m.URL != "":
		return nil, setting.Errorf("--metadata-socket and --metadata-url exclude each other")
	case m.Socket != "":
		return metadata.Socket(m.Socket, c), nil
	case m.URL != "":
		to, err := url.Parse(m.URL)
		if err != nil {
			return nil, setting.For("--metadata-url", err)
		}
		h, err := metadata.URL(to, c)
		if err != nil {
			return nil, setting.For("--metadata-url", err)
		}
		return h, nil
	}
	return nil, nil
}

// addTo makes assignments what the agent realises.
func (m Metadata) addTo(kept agent.Cached) {
	for i := range kept.Routers {
		kept.Routers[i].Router.Metadata = kept.Routers[i].Router.Metadata || m.on()
	}
}
