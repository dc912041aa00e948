package agent

import (
	"cmp"

	"github.com/l3kit/l3kit/l3"
)

// version orders what is said of one router: by epoch first, then by revision.
type version struct{ epoch, revision uint64 }

func versionOf(a l3.Assignment) version { return version{a.Epoch, a.Revision} }

func (v version) newer(than version) bool {
	return cmp.Or(cmp.Compare(v.epoch, than.epoch), cmp.Compare(v.revision, than.revision)) > 0
}
