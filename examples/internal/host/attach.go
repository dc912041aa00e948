package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/internal/netns"
)

// Attach is the command that joins a workload to a network.
type Attach struct {
	Port string `arg:"" help:"ID or name of a port of the API."`

	Netns  string `own:"" required:"" xor:"workload" placeholder:"NAME" help:"Attach the network namespace with this name (ip netns) or path."`
	PID    *int   `own:"" required:"" xor:"workload" name:"pid" placeholder:"PID" help:"Attach the container that this process is in."`
	Tap    bool   `own:"" required:"" xor:"workload" help:"Make a tap device for a virtual machine."`
	Device string `own:"" default:"eth0" placeholder:"NAME" help:"Name of the device in the namespace or container."`

	Host string `placeholder:"NAME" help:"This host's name. Default: that of the agent that runs here, or else the machine's."`
	API
	Machine
}

// attachTime is for all that an attachment waits for.
const attachTime = time.Minute

// Run is called by kong.
func (a *Attach) Run(ctx context.Context, out io.Writer) (err error) {
	if err := a.check(); err != nil {
		return err
	}
	if err := Privileged(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	host, err := (&Agent{Host: a.Host}).Name()
	if err != nil {
		return err
	}
	api, err := a.client()
	if err != nil {
		return err
	}
	port, err := portNamed(ctx, api, a.Port)
	if err != nil {
		return err
	}
	config, err := configOf(ctx, api, port)
	if err != nil {
		return err
	}
	switch before := port.HostID; {
	case port.service():
		return fmt.Errorf("attach port %s: it is the network service's own (%s)", port.ID, port.DeviceOwner)
	case before != "" && before != host:
		return fmt.Errorf("attach port %s: it is bound to host %s: detach it there, or if that host is gone, "+
			"set binding:host_id of the port to %s", port.ID, before, host)
	}
	w, err := a.wire(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	ns, err := a.workload()
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := a.elsewhere(ns, port.ID); err != nil {
		return err
	}
	was := port.HostID
	if err := bind(ctx, api, &port, host); err != nil {
		return err
	}
	text, err := a.attach(ctx, w, namespace.NS{FD: int(ns.Fd())}, config)
	if err != nil {
		return errors.Join(err, bind(context.WithoutCancel(ctx), api, &port, was))
	}
	if err := a.announce(); err != nil {
		text += fmt.Sprintf("the port stays DOWN in the API until the agent of this host reports it: %s\n", err)
	}
	_, err = io.WriteString(out, text)
	return err
}

// announce has the agent of this host report what is attached now, and not at its next heartbeat.
func (m *Machine) announce() error {
	_, err := m.ask(request{Announce: true})
	return err
}

// check refuses flags that are wrong on every host.
func (a *Attach) check() error {
	switch {
	case a.PID != nil && *a.PID <= 0:
		return setting.Errorf("--pid: %d is not the ID of a process", *a.PID)
	case !a.Tap && !deviceName.MatchString(a.Device) || a.Device == "." || a.Device == "..":
		return setting.Errorf("--device: %q is not the name of a network device: those have up to 15 characters, none of them white space, / or :", a.Device)
	}
	return nil
}

// deviceName is what Linux takes for a name (dev_valid_name in net/core/dev.c).
var deviceName = regexp.MustCompile(`^[^/:\s]{1,15}$`)

// attach returns what to tell the user.
func (a *Attach) attach(ctx context.Context, w wiring, ns namespace.NS, c workload.Config) (string, error) {
	p := c.Port
	if !a.Tap {
		if err := workload.Attach(ctx, w, ns, a.Device, c); err != nil {
			if errors.Is(err, dataplane.ErrForeign) {
				err = fmt.Errorf("%w: choose another --device", err)
			}
			return "", err
		}
		hops, err := workload.NextHops(ns, a.Device)
		if err != nil {
			return "", err
		}
		text := fmt.Sprintf("attached port %s as %s: %s%s, MAC %s, MTU %d\n", p.ID, a.Device, addresses(p.Addrs), via(hops), p.MAC, p.MTU)
		for _, hop := range c.NextHops {
			if !slices.Contains(hops, hop) {
				text += fmt.Sprintf("no default route via %s was added: there is one through another device\n", hop)
			}
		}
		return text, nil
	}
	tap, err := workload.AttachTap(ctx, w, ns, p)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("attached port %s as tap device %s, for QEMU:\n"+
		"  -netdev tap,id=net0,ifname=%s,script=no,downscript=no -device virtio-net-pci,netdev=net0,mac=%s,host_mtu=%d\n"+
		"configure in the virtual machine: %s%s\n", p.ID, tap, tap, p.MAC, p.MTU, addresses(p.Addrs), via(c.NextHops)), nil
}

func via(hops []netip.Addr) string {
	var b strings.Builder
	for _, h := range hops {
		fmt.Fprintf(&b, ", default via %s", h)
	}
	return b.String()
}

// wire opens the wiring of the host, with the peers that its agent knows.
func (m *Machine) wire(ctx context.Context) (wiring, error) {
	kept, err := m.cached()
	if err != nil {
		return nil, err
	}
	return m.openWiring(ctx, slog.New(slog.DiscardHandler), append(kept.Peers, m.TunnelPeers...))
}

// workload opens the namespace that the device goes into: for a tap device that is the host's.
func (a *Attach) workload() (*os.File, error) {
	if a.Tap {
		return netns.Open(a.ns)
	}
	flag, path := "--netns", a.Netns
	if !strings.Contains(path, "/") {
		path = filepath.Join(netns.Dir, path)
	}
	if a.PID != nil {
		flag, path = "--pid", fmt.Sprintf("/proc/%d/ns/net", *a.PID)
	}
	ns, err := netns.Open(path)
	if errors.Is(err, os.ErrNotExist) && flag == "--netns" {
		return nil, setting.Errorf("--netns: there is no network namespace %s: create it with ip netns add %s", a.Netns, a.Netns)
	}
	if err != nil {
		return nil, setting.For(flag, err)
	}
	if err := a.notHost(flag, ns); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// notHost refuses the host's own namespace, whose addresses and routes the workload's would mix
// with.
func (a *Attach) notHost(flag string, ns *os.File) error {
	host, err := netns.Open(a.ns)
	if err != nil {
		return err
	}
	defer host.Close()
	id, err := netns.IdentifyFD(int(host.Fd()))
	if err != nil {
		return err
	}
	same, err := place{id: id}.in(ns)
	if err == nil && same {
		err = setting.Errorf("%s: that is the network namespace of the host itself, whose addresses and routes would change: "+
			"name the one of a workload", flag)
	}
	return err
}

// elsewhere refuses a port that is attached on this host in another way than the one asked for.
func (a *Attach) elsewhere(ns *os.File, port string) error {
	places, err := a.places(port)
	if err != nil {
		return err
	}
	for _, p := range places {
		same, err := p.in(ns)
		if err != nil {
			return err
		}
		if p.tap == a.Tap && same && (p.tap || p.device == a.Device) {
			continue
		}
		return fmt.Errorf("attach port %s: it is attached on this host as %s: detach it first", port, p)
	}
	return nil
}
