package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/alecthomas/kong"

	"github.com/l3kit/l3kit/examples/internal/daemon"
)

// unitConfig is the file that l3kit-agent.service names.
const unitConfig = "/etc/l3kit/agent.yaml"

// besideTag marks the commands that take the settings of the agent beside which they run.
const besideTag = "beside"

// Beside gives commands the settings of the agent that runs on the host, or where none runs, those of
// the file that l3kit-agent.service names. What is on the command line, in the environment or in
// the file of --config takes precedence.
func Beside() kong.Option { return kong.Resolvers(&beside{file: unitConfig}) }

// beside is a [kong.Resolver].
type beside struct {
	file string

	once   sync.Once
	values map[string]any // of the running agent; nil: none runs
	unit   kong.Resolver  // nil: there is no file
	err    error
}

// Validate is called by kong.
func (*beside) Validate(*kong.Application) error { return nil }

// Resolve is called by kong for each flag that is not on the command line.
func (b *beside) Resolve(ctx *kong.Context, path *kong.Path, flag *kong.Flag) (any, error) {
	if path.Command == nil || !path.Command.Tag.Has(besideTag) || daemon.InEnvironment(flag) || len(flag.Envs) == 0 {
		return nil, nil
	}
	b.once.Do(b.find)
	if b.err != nil {
		return nil, b.err
	}
	if value, known := b.values[flag.Name]; known {
		return value, nil
	}
	if b.values == nil && b.unit != nil {
		return b.unit.Resolve(ctx, path, flag)
	}
	return nil, nil
}

func (b *beside) find() {
	if a, err := new(Machine).ask(request{Settings: true}); err == nil {
		b.values = a.Settings
		return
	} else if !errors.Is(err, errNoAgent) {
		b.err = err
		return
	}
	s, err := daemon.ReadSettings(b.file)
	switch {
	case err == nil:
		b.unit = s
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		b.err = err
	}
}

// settings are those of the agent that commands beside it need, by the names of their flags. Paths are
// absolute, because a command may run in another directory.
func (a *Agent) settings(host string) map[string]any {
	m := a.Machine
	all := map[string]any{
		"host": host, "dataplane": m.Dataplane, "wiring": m.Wiring, "physical": pairs(m.Physical), "tunnel-peers": texts(m.TunnelPeers),
		"vxlan-port": fmt.Sprint(m.VXLANPort), "cache": absolute(m.Cache), "namespaces": absolute(m.Namespaces),
		"ovs-endpoint": strings.Join(m.OVS.Endpoint, ","), "ovs-run-dir": m.OVS.RunDir, "ovs-datapath": m.OVS.Datapath, "ovs-device": m.OVS.Device,
		"ovs-integration": m.OVS.Integration, "ovs-tunnel": m.OVS.Tunnel, "ovs-checksum": fmt.Sprint(m.OVS.Checksum),
		"ovs-direct": strings.Join(m.OVS.Direct, ","), "ovs-ca": absolute(m.OVS.TLS.CA), "ovs-cert": absolute(m.OVS.TLS.Cert), "ovs-key": absolute(m.OVS.TLS.Key),
	}
	if m.TunnelAddress.IsValid() {
		all["tunnel-address"] = m.TunnelAddress.String()
	}
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == "" })
	return all
}

func pairs(m map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, key+"="+m[key])
	}
	return strings.Join(all, ",")
}

func texts(addrs []netip.Addr) string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return strings.Join(all, ",")
}

// absolute is the path itself where the working directory is unknown.
func absolute(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
