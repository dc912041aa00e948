package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/wiring"
)

// Driver attaches ports to bridges of Open vSwitch.
type Driver struct {
	config Config
	hostNS *os.File
	hostID netns.ID
	host   *netlink.Handle
	db     *dbClient
	flows  *installer
	peers  peers
	vlans  vlans
	watch  watch
	// writing is held from the look at the database to the transaction that follows from it, so
	// that calls of one process do not run into each other's.
	writing sync.Mutex
}

var _ namespace.InterfaceDriver = (*Driver)(nil)

// New connects to ovsdb-server and reads what there is; ctx limits that. It changes nothing. A
// goroutine keeps the connection from then on, and another one the flows, until Close.
func New(ctx context.Context, c Config) (_ *Driver, err error) {
	if c, err = c.complete(); err != nil {
		return nil, opError("configure wiring", "", err)
	}
	d := &Driver{config: c, vlans: vlans{first: 1, last: 4094}}
	if d.peers.want, err = wiring.Peers(c.Tunnel.Local, c.Tunnel.Peers); err != nil {
		return nil, opError("configure wiring", "", err)
	}
	if d.hostNS, err = netns.Open(c.HostNS); err != nil {
		return nil, opError("open host namespace", c.HostNS, err)
	}
	d.flows = newInstaller(c)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.hostID, err = netns.IdentifyFD(int(d.hostNS.Fd())); err == nil {
		d.host, err = netlink.NewHandleAt(vnetns.NsHandle(d.hostNS.Fd()), unix.NETLINK_ROUTE)
	}
	if err != nil {
		return nil, opError("open host namespace", c.HostNS, err)
	}
	d.db, err = connect(ctx, c, func(s *session) {
		d.flows.follow(s)
		d.watch.follow(s)
	})
	if err != nil {
		return nil, opError("connect to Open vSwitch", "", err)
	}
	d.flows.start(d.db)
	return d, nil
}

// Close releases connections. Everything stays plugged. A second Close is fine.
func (d *Driver) Close() error {
	errs := []error{d.flows.close()}
	if d.db != nil {
		d.db.close()
	}
	if d.host != nil {
		d.host.Close()
	}
	if err := d.hostNS.Close(); !errors.Is(err, os.ErrClosed) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Plan says what Plug would do. When there is nothing to do it costs one message to ovsdb-server
// and back, and a few system calls for each device.
func (d *Driver) Plan(ctx context.Context, ns namespace.NS, what ...namespace.Attachment) ([][]dataplane.Step, error) {
	all, devices, err := attachments(ns, what, wiring.CheckPlan)
	var plans [][]dataplane.Step
	if err == nil && len(all) > 0 {
		plans, err = d.plan(ctx, all)
	}
	return plans, opError("plan wiring of", devices, err)
}

// attachments lists devices, if check and each other allow them, and names them all.
func attachments(
	ns namespace.NS, what []namespace.Attachment, check func(namespace.NS, dataplane.Port) error,
) (all []attachment, devices string, err error) {
	var names []string
	for _, a := range what {
		err := check(ns, a.Port)
		if err == nil && slices.Contains(names, a.Device) {
			err = fmt.Errorf("%w: two ports cannot be one device", dataplane.ErrInvalid)
		}
		if err != nil {
			return nil, a.Device, err
		}
		all, names = append(all, attachment{a.Port, ns, a.Device}), append(names, a.Device)
	}
	return all, strings.Join(names, ", "), nil
}

func (d *Driver) plan(ctx context.Context, what []attachment) ([][]dataplane.Step, error) {
	s, err := d.db.synced(ctx)
	if err != nil {
		return nil, err
	}
	c, err := d.survey(s, what...)
	if err != nil {
		return nil, err
	}
	plans := make([][]dataplane.Step, len(what))
	for i, w := range c.works {
		plans[i] = c.steps[w.begin:w.end:w.end]
	}
	if len(c.replace) > 0 || c.transacts() {
		return plans, d.config.datapathSupported() // what flows there must be follows from what the transaction makes
	}
	flows, err := d.flows.plan(ctx, s, d.bridges(c)...)
	for _, f := range flows {
		i := slices.IndexFunc(c.works, func(w *work) bool { return slices.Contains(d.config.bridges(w.segment), f.Object) })
		plans[max(i, 0)] = append(plans[max(i, 0)], f)
	}
	return plans, err
}

// datapathSupported asks the kernel for its own switch, if that is to be used. A module is loaded
// by that, if there is one.
func (c Config) datapathSupported() error {
	if c.Datapath != System {
		return nil
	}
	_, err := netlink.GenlFamilyGet("ovs_datapath")
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: the kernel has no switch of Open vSwitch's: load the module openvswitch (modprobe openvswitch), "+
			"or configure the datapath netdev", dataplane.ErrUnsupported)
	}
	return nil // what else is wrong, ovs-vswitchd will tell
}

// Plug attaches ports, by one transaction; see [namespace.InterfaceDriver]. It waits for
// ovs-vswitchd until ctx ends, and takes back what it made when that fails.
func (d *Driver) Plug(ctx context.Context, ns namespace.NS, what ...namespace.Attachment) error {
	all, devices, err := attachments(ns, what, wiring.CheckPlug)
	if err == nil && len(all) > 0 {
		err = d.plug(ctx, all)
	}
	return opError("plug", devices, err)
}

func (d *Driver) plug(ctx context.Context, what []attachment) error {
	for {
		c, err := d.commit(ctx, func(s *session) (*change, error) { return d.survey(s, what...) })
		if err != nil {
			return err
		}
		if len(c.replace) > 0 {
			if err := d.removePorts(ctx, c.replace); err != nil {
				return err
			}
			continue
		}
		if err := d.finish(ctx, c); err != nil {
			return d.takeBack(ctx, c, d.db.explain(err))
		}
		d.log(ctx, c.steps)
		return nil
	}
}

// commit has a transaction thought out, and brings it into the database, again if somebody else was
// faster.
func (d *Driver) commit(ctx context.Context, survey func(*session) (*change, error)) (*change, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	var veths []string // also of attempts that came to nothing
	c, err := d.attempt(ctx, survey, &veths)
	switch {
	case errors.Is(err, errOver): // it may have been committed: the next call will see
		return nil, d.db.explain(err)
	case err != nil:
		return nil, errors.Join(err, d.removeDevices(veths))
	case len(c.replace) > 0:
		return c, d.removeDevices(veths)
	}
	return c, nil
}

func (d *Driver) attempt(ctx context.Context, survey func(*session) (*change, error), veths *[]string) (c *change, err error) {
	const attempts = 50
	for i := range attempts {
		// The first attempt does not ask whether somebody else has written: if it ends in a
		// transaction, that fails if so. Whatever else it comes to may be out of date.
		look, received := d.db.synced, i == 0
		if received {
			look = d.db.received
		}
		s, err := look(ctx)
		if err != nil {
			return nil, err
		}
		c, err = survey(s)
		if received && (err != nil || len(c.replace) > 0 || !c.transacts()) {
			continue
		}
		if err != nil || len(c.replace) > 0 {
			return c, err
		}
		err = run(ctx, c.before)
		*veths = append(*veths, c.veths...)
		if err != nil || !c.transacts() {
			return c, err
		}
		if err = c.commit(ctx); !errors.Is(err, errConflict) {
			return c, err
		}
	}
	return nil, errConflict
}

func (d *Driver) log(ctx context.Context, steps []dataplane.Step) {
	for _, s := range steps {
		d.config.Logger.DebugContext(ctx, "wiring changed", "step", s.String())
	}
}

// finish does what follows from the transaction.
func (d *Driver) finish(ctx context.Context, c *change) error {
	if c.transacts() {
		if err := d.settled(ctx, c); err != nil {
			return err
		}
	}
	// Flows come before whoever called us sets the devices up.
	var err error
	if len(c.closed) > 0 {
		err = d.open(ctx, c)
	} else {
		err = d.flows.replace(ctx, c.s, d.bridges(c)...)
	}
	if err != nil {
		return err
	}
	return run(ctx, c.after)
}

// bridges are those whose flows may follow from a change: what a port leaves may have gone.
func (d *Driver) bridges(c *change) []string {
	var names []string
	for _, w := range c.works {
		names = append(names, d.config.bridges(w.segment)...)
		for _, name := range d.config.bridgesOf(w.was) {
			if c.s.bridge(name) != nil {
				names = append(names, name)
			}
		}
	}
	return unique(names, func(name string) string { return name })
}

// settled waits until ovs-vswitchd has carried out a transaction, and reads what it says about
// that.
func (d *Driver) settled(ctx context.Context, c *change) error {
	if err := c.carriedOut(ctx); err != nil {
		return d.stalled(ctx, err)
	}
	c.acted = true
	for _, name := range c.verify {
		if err := d.accepted(c.s, name); err != nil {
			if w := c.plugs(name); w != nil {
				err = about(w.dev, err)
			}
			return err
		}
	}
	return nil
}

// accepted reads what ovs-vswitchd says about a port.
func (d *Driver) accepted(s *session, name string) error {
	switch _, i := s.port(name); {
	case i == nil:
		return fmt.Errorf("port %s: somebody else removed it at once", name)
	case value(i.OFPort) > 0 && i.Type == "patch":
		return nil // while its pair is closed, and some time after, the error is that it has no peer
	case value(i.Error) != "":
		return fmt.Errorf("%w: port %s: ovs-vswitchd says: %s", dataplane.ErrDaemon, name, *i.Error)
	case value(i.OFPort) > 0:
		return nil
	case d.config.Datapath == System:
		return fmt.Errorf("%w: ovs-vswitchd cannot make port %s; its log says why. If the kernel lacks the module openvswitch: load that "+
			"(modprobe openvswitch), or configure the datapath netdev", dataplane.ErrUnsupported, name)
	}
	return fmt.Errorf("%w: ovs-vswitchd cannot make port %s; its log says why", dataplane.ErrDaemon, name)
}

// stalled explains why nobody knows whether a transaction was carried out.
func (d *Driver) stalled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: ovs-vswitchd has not acted on the change, is it running? %w", dataplane.ErrDaemon, err)
	}
	return d.db.explain(err)
}

// Unplug takes away a device; see [namespace.InterfaceDriver]. A device of a workload that Plug did
// not make is [dataplane.ErrForeign].
func (d *Driver) Unplug(ctx context.Context, ns namespace.NS, dev string) error {
	return opError("unplug", dev, d.unplug(ctx, ns, dev))
}

func (d *Driver) unplug(ctx context.Context, ns namespace.NS, dev string) error {
	s, err := d.db.synced(ctx)
	if err != nil {
		return err
	}
	p, err := d.portOf(s, ns, dev)
	if err != nil {
		return err
	}
	if p != nil {
		if err := d.removePorts(ctx, []*port{p}); err != nil {
			return err
		}
	}
	if ns.FD < 0 || ns.Router == "" {
		return nil
	}
	return evict(attachment{ns: ns, dev: dev}) // in a router's namespace also what Open vSwitch does not know of
}

// portOf finds the port that a device belongs to: by the device, or where that has gone, or is an
// internal port's, by its name.
func (d *Driver) portOf(s *session, ns namespace.NS, dev string) (*port, error) {
	ours := func(p *port) bool { return p != nil && p.mark.role == plugRole && p.mark.router == ns.Router }
	var inside netlink.Link
	if ns.FD >= 0 {
		same, err := d.isHost(ns)
		if err != nil {
			return nil, err
		}
		err = netdev.In(ns.FD, func(h *netlink.Handle) (err error) {
			inside, err = netdev.Find(h, dev)
			return err
		})
		if err != nil {
			return nil, err
		}
		if inside != nil && inside.Type() == "veth" {
			outside, err := d.host.LinkByIndex(inside.Attrs().ParentIndex)
			if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
				return nil, err
			}
			if err == nil && outside.Attrs().ParentIndex == inside.Attrs().Index {
				leads, err := d.leadsTo(outside, ns, same)
				if err != nil {
					return nil, err
				}
				if p, _ := s.port(outside.Attrs().Name); leads && p != nil && (ours(p) || p.mark.role == "") {
					return p, nil
				}
			}
		}
	}
	if ns.Router == "" {
		if inside != nil {
			return nil, fmt.Errorf("device of the workload %w", dataplane.ErrForeign)
		}
		return nil, nil
	}
	var found *port
	s.view.read(func() {
		for _, p := range s.view.routers[ns.Router] {
			if wiring.Named(p.mark.port, dev) {
				found = p
			}
		}
	})
	return found, nil
}

// Release takes away everything of a router; see [namespace.InterfaceDriver].
func (d *Driver) Release(ctx context.Context, router string) error {
	if router == "" {
		return opError("release", "router", fmt.Errorf("%w: it has no ID", dataplane.ErrInvalid))
	}
	s, err := d.db.synced(ctx)
	if err == nil {
		var ports []*port
		s.view.read(func() { ports = s.view.routers[router].sorted() })
		err = d.removePorts(ctx, ports)
	}
	return opError("release", "router "+router, err)
}

// Routers names every router that has a port here, sorted.
func (d *Driver) Routers(ctx context.Context) ([]string, error) {
	s, err := d.db.synced(ctx)
	if err != nil {
		return nil, opError("list wiring", "", err)
	}
	var routers []string
	s.view.read(func() { routers = slices.Sorted(maps.Keys(s.view.routers)) })
	return slices.DeleteFunc(routers, func(r string) bool { return r == "" }), nil
}

// opError names the device at fault, if an error tells it, instead of the object.
func opError(op, object string, err error) error {
	if f := (*fault)(nil); errors.As(err, &f) {
		object = f.dev
	}
	return failure.Of(op, object, err)
}
