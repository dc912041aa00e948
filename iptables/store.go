package iptables

import (
	"context"
	"errors"
	"os"
)

// store is the part of the kernel that one variant writes into, in one namespace. It is asked
// directly, because a question to iptables costs a process.
type store interface {
	// stamp is another one after every change to the tables; what they count is no change.
	stamp() (stamp, error)

	// chains lists the names of our chains, by table. Where nobody ever used this variant nothing
	// is made by asking.
	chains() (map[string][]string, error)

	// illegible lists the tables that iptables-save shows wrongly, without saying so.
	illegible() ([]string, error)

	// hold waits until nobody else writes, and keeps it so for as long as the lock is open
	// anywhere, as far as that is possible.
	hold(ctx context.Context) (lock, error)

	// settled is the stamp after we have changed so many tables at a stamp, with the store held. It
	// is zero if somebody else may have written too.
	settled(before stamp, tables int) (stamp, error)

	// tidy takes away what is left empty of a family's tables, and of use to nobody.
	tidy(f family) error

	close() error
}

// stamp tells states of the tables apart. The zero stamp is that of no state.
type stamp [5]uint64

// lock keeps others from writing. A process that is started with its files keeps it too: if ours
// dies, nobody writes at the same time as the tool that it has left behind.
type lock []*os.File

func (l lock) release() {
	for _, f := range l {
		f.Close()
	}
}

// errMoved says that somebody wrote since we looked. Nothing was written then.
var errMoved = errors.New("the rules have changed meanwhile")
