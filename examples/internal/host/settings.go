package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// unitConfig is the file that l3kit-agent.service names.
const unitConfig = "/etc/l3kit/agent.yaml"

// besideTag marks the commands that take the settings of the agent beside which they run.
const besideTag = "beside"

// Beside gives commands the settings of the agent that runs on the host. Where none runs, it gives
// those of the file that l3kit-agent.service names, and for what that does not set, those that the
// last agent noted in its cache. What is on the command line, in the environment or in the file of
// --config takes precedence.
func Beside() kong.Option { return kong.Resolvers(&beside{file: unitConfig}) }

// beside is a [kong.Resolver].
type beside struct {
	file string

	once   sync.Once
	values map[string]any // of the running agent; nil: none runs
	unit   kong.Resolver  // nil: there is no file
	noted  map[string]any // of the last agent; nil: there is no note
	err    error
}

// Validate is called by kong.
func (*beside) Validate(*kong.Application) error { return nil }

// Resolve is called by kong for each flag that is not on the command line.
func (b *beside) Resolve(ctx *kong.Context, path *kong.Path, flag *kong.Flag) (any, error) {
	if path.Command == nil || !path.Command.Tag.Has(besideTag) || daemon.InEnvironment(flag) || len(flag.Envs) == 0 {
		return nil, nil
	}
	b.once.Do(func() { b.find(ctx, path) })
	if b.err != nil {
		return nil, b.err
	}
	if value, known := b.values[flag.Name]; known {
		return value, nil
	}
	if b.values != nil {
		return nil, nil
	}
	if b.unit != nil {
		if value, err := b.unit.Resolve(ctx, path, flag); value != nil || err != nil {
			return value, err
		}
	}
	return b.noted[flag.Name], nil
}

func (b *beside) find(ctx *kong.Context, path *kong.Path) {
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
		return
	}
	cache, err := b.cache(ctx, path)
	if err == nil && cache != "" {
		b.noted, err = readNote(cache)
	}
	b.err = err
}

// cache returns the directory in which to look for a note; empty: none, because --config gives the
// settings.
func (b *beside) cache(ctx *kong.Context, path *kong.Path) (string, error) {
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			return "", nil
		}
	}
	for _, f := range path.Command.Flags {
		if f.Name != "cache" {
			continue
		}
		if b.unit == nil || daemon.InEnvironment(f) || slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Flag == f }) {
			return ctx.FlagValue(f).(string), nil
		}
		value, err := b.unit.Resolve(ctx, path, f)
		if value == nil || err != nil {
			return f.Default, err
		}
		return fmt.Sprint(value), nil
	}
	return "", nil
}

// noteFile is the name of the file in the cache with the settings of the agent that wrote it last.
const noteFile = "settings"

// writeNote notes settings for the commands that run when the agent has stopped.
func writeNote(cache string, settings map[string]any) error {
	text, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(cache, "."+noteFile+"-*") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(cache, noteFile))
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// readNote returns nil when there is no note, or none that this process may read.
func readNote(cache string) (settings map[string]any, err error) {
	path := filepath.Join(cache, noteFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, setting.For("--cache", err)
	}
	if err := files.Check("--cache", path, info); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, nil
	case err != nil:
		return nil, setting.For("--cache", err)
	}
	if err := json.Unmarshal(text, &settings); err != nil {
		return nil, setting.Errorf("--cache: %s is damaged: remove it, and give the command the flags of the agent: %w", path, err)
	}
	return settings, nil
}

// settings are those of the agent that commands beside it need, by the names of their flags. Paths
// are absolute, because a command may run in another directory.
func (a *Agent) settings(host string) map[string]any {
	m := a.Machine
	all := map[string]any{
		"host": host, "dataplane": m.Dataplane, "wiring": m.Wiring, "physical": pairs(m.Physical), "tunnel-peers": texts(m.TunnelPeers),
		"vxlan-port": fmt.Sprint(m.VXLANPort), "clamp-mss": fmt.Sprint(m.ClampMSS),
		"cache": files.Absolute(m.Cache), "namespaces": files.Absolute(m.Namespaces),
		"ovs-endpoint": strings.Join(m.OVS.Endpoint, ","), "ovs-run-dir": m.OVS.RunDir, "ovs-datapath": m.OVS.Datapath, "ovs-device": m.OVS.Device,
		"ovs-integration": m.OVS.Integration, "ovs-tunnel": m.OVS.Tunnel, "ovs-checksum": fmt.Sprint(m.OVS.Checksum),
		"metadata-socket": files.Absolute(m.Metadata.Socket), "metadata-url": m.Metadata.URL,
		"ovs-direct": strings.Join(m.OVS.Direct, ","), "ovs-ca": files.Absolute(m.OVS.TLS.CA),
		"ovs-cert": files.Absolute(m.OVS.TLS.Cert), "ovs-key": files.Absolute(m.OVS.TLS.Key),
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
