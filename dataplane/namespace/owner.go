package namespace

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// On whose behalf a router runs is an alternative name of the namespace's lo, beside the alias that
// makes the namespace ours: older versions compare the alias as a whole. An alternative name has up
// to 127 characters, and is unique within its namespace only.
const ownerPrefix = "l3kit-"

func ownerName(owner string) string { return ownerPrefix + owner }

// ownersOf picks the owners out of the alternative names of lo, sorted. There is more than one only
// if somebody else wrote.
func ownersOf(altNames []string) (owners []string) {
	for _, name := range altNames {
		if owner, ok := strings.CutPrefix(name, ownerPrefix); ok && owner != "" {
			owners = append(owners, owner)
		}
	}
	slices.Sort(owners)
	return owners
}

// owning knows whether the kernel has alternative names, which came with Linux 5.5.
type owning struct {
	log   *slog.Logger
	mu    sync.Mutex
	asked bool
	has   bool
}

// supported asks the kernel once, by taking away a name that is never given.
func (o *owning) supported(w *writer) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked {
		return o.has, nil
	}
	_, err := w.send(context.Background(), deleteAltName(ownerPrefix))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		o.log.Warn("this kernel cannot keep on whose behalf a router runs, which needs Linux 5.5: " +
			"an agent that loses its cache does not know which deployment its routers belong to")
	case err != nil:
		return false, opError("look for alternative names of links", "", err)
	}
	o.asked, o.has = true, err == nil
	return o.has, nil
}

// owns reports whether the namespace is to have an owner, and the kernel can keep it.
func (s *site) owns(o *owning, owner string) (bool, error) {
	if owner == "" {
		return false, nil
	}
	return o.supported(s.write)
}

// own writes on whose behalf the router runs.
func (l *long) own(context.Context) error {
	if l.fresh { // written before the namespace had a name
		return nil
	}
	want, have := l.router.Owner, l.have.owners
	if want == "" || slices.Equal(have, []string{want}) {
		return nil
	}
	if ok, err := l.owns(l.cfg.owning, want); !ok || err != nil {
		return err
	}
	l.add(action{
		steps: []dataplane.Step{ownerStep(l.Router, want, have)},
		do:    func(ctx context.Context) error { return l.changeOwners(ctx, have, []string{want}) },
		undo:  func(ctx context.Context) error { return l.changeOwners(ctx, []string{want}, have) },
	})
	return nil
}

// changeOwners adds before it removes, in one system call.
func (s *site) changeOwners(ctx context.Context, before, after []string) error {
	var requests []request
	for _, owner := range after {
		if !slices.Contains(before, owner) {
			requests = append(requests, addAltName(ownerName(owner)))
		}
	}
	for _, owner := range before {
		if !slices.Contains(after, owner) {
			requests = append(requests, deleteAltName(ownerName(owner)))
		}
	}
	_, err := s.write.send(ctx, requests...)
	return opError("change the owner of router", s.Router, err)
}

func ownerStep(router, owner string, before []string) dataplane.Step {
	s := dataplane.Step{Op: dataplane.Add, Kind: dataplane.KindOwner, Object: dataplane.NamespaceName(router), Detail: owner}
	if len(before) > 0 {
		s.Op, s.Detail = dataplane.Change, owner+", was "+strings.Join(before, ", ")
	}
	return s
}
