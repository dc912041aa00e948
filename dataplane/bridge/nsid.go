package bridge

import (
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
)

// The kernel names a namespace, in what it says about the host's links, by an ID that is valid in
// the host's namespace only. Besides those:
const (
	sameNS    = -1 // the host's own; the kernel says so by saying nothing
	noNS      = -2 // one that has no ID, so that nothing on the host leads into it; or one that does not exist yet
	unknownNS = -3 // the kernel has not been asked
)

// identify returns what tells a namespace from others while it is open: zero for one that does not
// exist yet.
func identify(ns namespace.NS) (netns.ID, error) {
	if ns.FD < 0 {
		return netns.ID{}, nil
	}
	return netns.IdentifyFD(ns.FD)
}

// nsid looks up a namespace's ID. The view is locked. What it has learned stays true: the kernel
// does not change the ID while the namespace lives, which it does while somebody holds it open, and
// announces its end before its inode number can be another's.
func (v *view) nsid(ident netns.ID) int {
	switch ident {
	case netns.ID{}:
		return noNS
	case v.host:
		return sameNS
	}
	if id, ok := v.nsids[ident]; ok {
		return id
	}
	return unknownNS
}

// learnNSID asks the kernel for a namespace's ID.
func (d *Driver) learnNSID(ns namespace.NS, ident netns.ID) (int, error) {
	id, err := d.host.nsid(ns.FD)
	if err != nil || id == noNS {
		return noNS, err
	}
	return id, d.view.read(func() { d.view.nsids[ident] = id })
}
