package namespace

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// mark is what makes a namespace ours: the interface alias of lo, and the content of the file it is
// mounted on.
func mark(router string) string { return "l3kit router=" + router }

const (
	loopback      = "lo"
	loopbackIndex = 1 // LOOPBACK_IFINDEX: lo has this index in every namespace
)

// claim marks the namespace that the calling thread is in, and readies it for its first device. It
// returns the settings that the kernel has not.
func claim(router, owner string, owning *owning) (late []sysctl, err error) {
	w, err := newWriter()
	if err != nil {
		return nil, opError("open netlink socket", "", err)
	}
	defer w.close()
	_, err = w.send(context.Background(), markLoopback(mark(router)))
	if err == nil && owner != "" {
		var supported bool
		if supported, err = owning.supported(w); supported && err == nil {
			_, err = w.send(context.Background(), addAltName(ownerName(owner)))
		}
	}
	if err != nil {
		return nil, opError("mark namespace of router", router, err)
	}
	return writeSysctls(sysctls)
}

// find opens the router's namespace. A namespace that is not there is [os.ErrNotExist]; one that is
// not ours, [dataplane.ErrForeign]. A name that a dying process left without a namespace is taken
// away, and does not exist.
func find(dir, router string) (*os.File, error) {
	name := dataplane.NamespaceName(router)
	path := filepath.Join(dir, name)
	f, err := netns.Open(path)
	if errors.Is(err, netns.ErrNotNamespace) {
		if ours, err := halfMade(path, router); err != nil || !ours {
			return nil, foreign(name, err)
		}
		return nil, errors.Join(os.ErrNotExist, netns.Remove(dir, name))
	}
	if err != nil {
		return nil, err
	}
	if ours, err := claimed(int(f.Fd()), router); err != nil || !ours {
		return nil, errors.Join(foreign(name, err), f.Close())
	}
	return f, nil
}

func foreign(name string, err error) error {
	if err == nil {
		err = dataplane.ErrForeign
	}
	return &dataplane.OpError{Op: "open namespace", Object: name, Err: err}
}

func claimed(fd int, router string) (bool, error) {
	var lo netlink.Link
	err := netns.Do(fd, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		lo, err = h.LinkByIndex(loopbackIndex)
		return err
	})
	return err == nil && lo.Attrs().Alias == mark(router), err
}

func halfMade(path, router string) (bool, error) {
	content, err := netns.Mark(path)
	return content == mark(router), err
}

// owned names the routers that have a namespace of ours in dir, half-made ones too.
func owned(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &dataplane.OpError{Op: "list namespaces in", Object: dir, Err: err}
	}
	var routers []string
	for _, e := range entries {
		router, ok := routerNamed(e.Name())
		// A name of ours is a file. A link may lead anywhere, and what cannot be examined there
		// must not keep the others from being listed.
		if !ok || !e.Type().IsRegular() {
			continue
		}
		ours, err := ownedEntry(filepath.Join(dir, e.Name()), router)
		if errors.Is(err, os.ErrNotExist) { // removed since
			continue
		}
		if err != nil {
			return nil, &dataplane.OpError{Op: "examine namespace", Object: e.Name(), Err: err}
		}
		if ours {
			routers = append(routers, router)
		}
	}
	return routers, nil
}

// routerNamed returns the router whose namespace would have a name.
func routerNamed(namespace string) (router string, ok bool) {
	id := strings.TrimPrefix(namespace, dataplane.NamespaceName("")) // that of a centre has no such prefix
	return id, id != "" && dataplane.NamespaceName(id) == namespace
}

func ownedEntry(path, router string) (bool, error) {
	f, err := netns.Open(path)
	if errors.Is(err, netns.ErrNotNamespace) {
		return halfMade(path, router)
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	return claimed(int(f.Fd()), router)
}
