package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/explain"
)

// Explain is the command that says what a router of this host does with a packet.
type Explain struct {
	Router string `arg:"" help:"ID of a router that was applied on this host, or enough of its beginning; or a file FILE.json with a router."`
	explain.HostQuestion
	Machine
}

// Run is called by kong. It answers for the router as it was applied last, or as the file has it;
// of a distributed one, for the parts that this host has.
func (e *Explain) Run(ctx context.Context, out io.Writer) error {
	router, others, err := e.router()
	if err != nil {
		return err
	}
	if router.Transit != nil {
		if e.Check {
			return errors.New("--check is for routers that are whole on this host, and this one is distributed: server explain --check sends the packet")
		}
		const here = "this host"
		instances := []explain.Instance{{Host: here, Router: router}}
		for _, o := range others {
			instances = append(instances, explain.Instance{Host: here, Router: o})
		}
		return e.AnswerAcross(out, instances, "")
	}
	return e.Answer(ctx, out, router, e.explained())
}

// router returns the router that was asked about. If that is a part of a distributed one, others
// are its other parts on this host.
func (e *Explain) router() (r dataplane.Router, others []dataplane.Router, err error) {
	if strings.HasSuffix(e.Router, ".json") {
		text, err := os.ReadFile(e.Router)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err == nil {
			err = r.Validate()
		}
		if err != nil {
			return r, nil, fmt.Errorf("read router from %s: %w", e.Router, err)
		}
		return r, nil, nil
	}
	kept, err := e.cached()
	if err != nil {
		return r, nil, err
	}
	id, err := one(ids(kept.Routers), e.Router)
	if err != nil {
		return r, nil, err
	}
	a, _ := byID(kept.Routers, id)
	other := dataplane.CentreID(id)
	if whole, centre := strings.CutPrefix(id, dataplane.CentreID("")); centre {
		other = whole
	}
	if o, has := byID(kept.Routers, other); has {
		o.Router.ClampMSS = o.Router.ClampMSS || e.ClampMSS
		others = append(others, o.Router)
	}
	a.Router.ClampMSS = a.Router.ClampMSS || e.ClampMSS
	return a.Router, others, nil
}

// explained is the host for package explain.
func (m *Machine) explained() explain.Host {
	h := explain.Host{NS: m.ns, Dir: m.Namespaces}
	if m.Wiring == "ovs" {
		h.Switch = cmp.Or(m.OVS.RunDir, "/run/openvswitch")
	}
	return h
}
