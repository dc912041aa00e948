package bridge

import (
	"errors"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
)

// repair gathers what is wrong with one device of the host, to be mended by one change.
type repair struct {
	link   *link
	faults []string
	batch  batch
	hush   bool
}

func (r *repair) add(fault string, m netlink.Message) {
	r.faults = append(r.faults, fault)
	r.batch = append(r.batch, m)
}

// silence keeps the host from speaking on the network through a device that has, or will have, that
// MTU.
func (r *repair) silence(mtu int) {
	if !r.link.quiet {
		r.faults = append(r.faults, "host speaks IPv6")
	}
	// A device that grows beyond the least MTU for IPv6 gets IPv6 anew.
	r.hush = !r.link.quiet || r.link.mtu < minIPv6MTU && mtu >= minIPv6MTU
}

func (d *Driver) mend(object string, r repair) []change {
	if len(r.faults) == 0 {
		return nil
	}
	return []change{{wiring.Step(dataplane.Change, object, strings.Join(r.faults, ", ")), func() error {
		if len(r.batch) > 0 {
			if err := d.host.write(r.batch...); err != nil {
				return err
			}
		}
		if r.hush && d.ipv6 {
			return d.hush(r.link.index)
		}
		return nil
	}}}
}

// hush stops a device from giving itself IPv6 addresses, and takes away those that it has given
// itself.
func (d *Driver) hush(index int) error {
	if err := d.host.write(setQuiet(index)); err != nil {
		if errors.Is(err, unix.EAFNOSUPPORT) {
			return nil // its MTU has become too small meanwhile
		}
		return err
	}
	addrs, err := d.host.addresses(index)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.linkLocal {
			if err := d.host.write(delAddress(index, a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return err
			}
		}
	}
	return nil
}
