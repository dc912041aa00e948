package sqlstore

import (
	"bytes"
	"context"
)

// runs is which numbers of a space are in use, as the longest runs of consecutive ones. So the
// lowest free number behind any is found by one look into an index, however many are taken: it
// follows the run, if there is one. A number is big-endian bytes, as many for all of a space.
type runs struct {
	tx    *tx
	space string
}

// run is all numbers from first to last.
type run struct{ first, last []byte }

// add puts a number in, which must not be there.
func (r runs) add(ctx context.Context, n []byte) error {
	before, after, err := r.around(ctx, n)
	switch {
	case err != nil:
		return err
	case before != nil && after != nil:
		if err := r.remove(ctx, after.first); err != nil {
			return err
		}
		return r.end(ctx, before.first, after.last)
	case before != nil:
		return r.end(ctx, before.first, n)
	case after != nil:
		_, err := r.tx.exec(ctx, "UPDATE runs SET first = $3 WHERE space = $1 AND first = $2", r.space, after.first, n)
		return err
	}
	return r.insert(ctx, run{n, n})
}

// around finds the runs that end before n and begin behind it.
func (r runs) around(ctx context.Context, n []byte) (before, after *run, err error) {
	from := n
	next, more := step(n, 1)
	if more {
		from = next
	}
	err = r.tx.query(ctx, func(row row) error {
		var found run
		if err := row.Scan(&found.first, &found.last); err != nil {
			return err
		}
		if more && bytes.Equal(found.first, next) {
			after = &found
		} else if end, ok := step(found.last, 1); ok && bytes.Equal(end, n) {
			before = &found
		}
		return nil
	}, "SELECT first, last FROM runs WHERE space = $1 AND first <= $2 ORDER BY first DESC LIMIT 2", r.space, from)
	return before, after, err
}

// drop takes a number out, which must be there.
func (r runs) drop(ctx context.Context, n []byte) error {
	in, err := r.at(ctx, n)
	if err != nil {
		return err
	}
	begins, ends := bytes.Equal(in.first, n), bytes.Equal(in.last, n)
	behind, _ := step(n, 1)
	before, _ := step(n, -1)
	switch {
	case begins && ends:
		return r.remove(ctx, n)
	case begins:
		_, err := r.tx.exec(ctx, "UPDATE runs SET first = $3 WHERE space = $1 AND first = $2", r.space, n, behind)
		return err
	}
	if err := r.end(ctx, in.first, before); err != nil || ends {
		return err
	}
	return r.insert(ctx, run{behind, in.last})
}

// free is the lowest number from first to last that is not in use; nil if there is none.
func (r runs) free(ctx context.Context, first, last []byte) ([]byte, error) {
	in, err := r.at(ctx, first)
	if err != nil {
		return nil, err
	}
	if bytes.Compare(in.last, first) < 0 || in.last == nil {
		return first, nil
	}
	if next, ok := step(in.last, 1); ok && bytes.Compare(next, last) <= 0 {
		return next, nil
	}
	return nil, nil
}

// at is the last run that begins at n or before.
func (r runs) at(ctx context.Context, n []byte) (found run, err error) {
	err = r.tx.query(ctx, func(row row) error { return row.Scan(&found.first, &found.last) },
		"SELECT first, last FROM runs WHERE space = $1 AND first <= $2 ORDER BY first DESC LIMIT 1", r.space, n)
	return found, err
}

func (r runs) insert(ctx context.Context, in run) error {
	_, err := r.tx.exec(ctx, "INSERT INTO runs (space, first, last) VALUES ($1, $2, $3)", r.space, in.first, in.last)
	return err
}

func (r runs) remove(ctx context.Context, first []byte) error {
	_, err := r.tx.exec(ctx, "DELETE FROM runs WHERE space = $1 AND first = $2", r.space, first)
	return err
}

func (r runs) end(ctx context.Context, first, last []byte) error {
	_, err := r.tx.exec(ctx, "UPDATE runs SET last = $3 WHERE space = $1 AND first = $2", r.space, first, last)
	return err
}

// step is the number that is by more than n, which is 1 or -1; ok is false beyond the ends.
func step(n []byte, by int) (_ []byte, ok bool) {
	n = bytes.Clone(n)
	for i := len(n) - 1; i >= 0; i-- {
		n[i] += byte(by)
		if by > 0 && n[i] != 0 || by < 0 && n[i] != 0xff {
			return n, true
		}
	}
	return nil, false
}
