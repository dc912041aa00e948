package nftables

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/nfnetlink"
)

// socket reads and writes our tables in one namespace.
type socket struct{ nfnetlink.Conn }

func newSocket(ns int) socket { return socket{nfnetlink.Conn{NS: ns}} }

// errMoved says that somebody wrote since the generation that a batch was made for. The batch had
// no effect.
var errMoved = errors.New("the rules have changed meanwhile")

// commit carries out a batch, provided that the namespace is still at this generation (0: whatever
// it is at).
func (s *socket) commit(b *batch, generation uint32) error {
	switch {
	case b.err != nil:
		return failure.Of("encode", tableText, b.err)
	case len(b.messages) == 0:
		return nil
	}
	refused, err := s.Transact(b.messages, generation)
	switch {
	case errors.Is(err, unix.ERESTART):
		return errMoved
	case refused < 0:
		return failure.Of("write", tableText, err)
	}
	// What a message refers to is there if the batch was made for this generation; so it can only
	// be a part of the kernel that is not.
	kind := b.messages[refused].Header.Type & 0xff
	if errors.Is(err, unix.ENOENT) && generation != 0 && (kind == unix.NFT_MSG_NEWCHAIN || kind == unix.NFT_MSG_NEWRULE) {
		err = fmt.Errorf("%w: the kernel lacks a type of chain or expression of nf_tables: %w", dataplane.ErrUnsupported, err)
	}
	return failure.Of(fmt.Sprintf("write (message %d of %d)", refused+1, len(b.texts)), b.texts[refused], err)
}
