package bridge

import (
	"iter"

	"github.com/l3kit/l3kit/internal/nlmsg"
)

// after returns the attributes behind a message's family header of n bytes.
func after(n int, payload []byte) iter.Seq2[uint16, []byte] {
	return nlmsg.Attributes(payload[min(n, len(payload)):])
}
