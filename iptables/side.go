package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// side is one variant's rules in one namespace.
type side struct {
	firewall *Firewall
	variant  Variant
	ns       namespace.NS
	store    store
	// known is the stamp at which the tables were last known to be what Apply was asked for; zero:
	// they are not. While the store is at the same one, nobody has written.
	known stamp
	// seen is what Plan found at a stamp, so that an Apply which follows need not read it again.
	seen   ruleset
	seenAt stamp
}

// Somebody else may write all the time. So many times we look for a quiet moment, and start over so
// many times before we give up.
const (
	maxPatience = 3
	maxRaces    = 20
)

func (s *side) tool(ctx context.Context) (*tool, error) { return s.firewall.tool(ctx, s.variant) }

// unchanged says that the tables are known to be what Apply was last asked for.
func (s *side) unchanged() (bool, error) {
	if s.known == (stamp{}) {
		return false, nil
	}
	now, err := s.store.stamp()
	return now == s.known, err
}

func (s *side) present() (bool, error) {
	names, err := s.store.chains()
	return len(names) > 0, err
}

// towards says what leads to a router, and at which stamp.
func (s *side) towards(ctx context.Context, want dataplane.Router) (difference, stamp, error) {
	t, err := s.tool(ctx)
	if err != nil {
		return difference{}, stamp{}, err
	}
	have, at, err := s.read(ctx)
	if err != nil {
		return difference{}, stamp{}, err
	}
	if s.seen, s.seenAt = have, at; at == (stamp{}) {
		s.seen = nil
	}
	return compare(have, render(want, t.random)), at, nil
}

// look returns what the tables hold, and at which stamp: what Plan saw, if nobody wrote since.
func (s *side) look(ctx context.Context) (ruleset, stamp, error) {
	if s.seen != nil {
		now, err := s.store.stamp()
		if err != nil || now == s.seenAt {
			return s.seen, now, err
		}
	}
	return s.read(ctx)
}

// read returns what the tables hold, and the stamp at which all of it was so; a zero stamp if
// somebody wrote all the time, so that each table was so at some time. Where nothing is ours it
// starts no process.
func (s *side) read(ctx context.Context) (rs ruleset, at stamp, err error) {
	for range maxPatience {
		if err := ctx.Err(); err != nil {
			return nil, stamp{}, err
		}
		before, err := s.store.stamp()
		if err != nil {
			return nil, stamp{}, err
		}
		names, err := s.store.chains()
		if err != nil {
			return nil, stamp{}, err
		}
		rs = ruleset{}
		if len(names) > 0 {
			if rs, err = s.save(ctx, names); err != nil {
				return nil, stamp{}, err
			}
		}
		after, err := s.store.stamp()
		if err != nil || before == after {
			return rs, after, err
		}
	}
	return rs, stamp{}, nil
}

// save reads by iptables-save and ip6tables-save. Of a table that they cannot tell, the names of
// our chains are known nevertheless.
func (s *side) save(ctx context.Context, names map[string][]string) (ruleset, error) {
	t, err := s.tool(ctx)
	if err != nil {
		return nil, err
	}
	rs := ruleset{}
	for _, f := range families {
		if !holdsOf(names, f) {
			continue
		}
		t, err := t.of(ctx, f)
		if err != nil {
			return nil, err
		}
		saved, err := t.save(ctx, s.ns)
		if err != nil {
			return nil, err
		}
		if err := rs.parse(saved, f); err != nil {
			return nil, &dataplane.OpError{Op: "read rules with", Object: t.saver(), Err: err}
		}
	}
	rs.attribute()
	illegible, err := s.store.illegible()
	if err != nil {
		return nil, err
	}
	for table, t := range rs {
		if t.opaque = t.opaque || slices.Contains(illegible, table); t.opaque {
			t.chains = map[string][]rule{}
			for _, name := range names[table] {
				t.chains[name] = nil
			}
		}
	}
	return rs, nil
}

// holdsOf says whether any of the tables named is of a family.
func holdsOf(names map[string][]string, f family) bool {
	for table := range names {
		if of, _ := splitTable(table); of == f {
			return true
		}
	}
	return false
}

// applyDelta acts on a difference to what was last applied, without looking. It is proven if the
// tables are known to be what was asked for, then.
func (s *side) applyDelta(ctx context.Context, d difference, done *undoer) (proven bool, err error) {
	if s.known == (stamp{}) {
		return false, nil
	}
	if d.empty() {
		return s.unchanged()
	}
	if err := s.write(ctx, d, s.known, done); err != nil {
		return false, err
	}
	return s.known != stamp{}, nil
}

// converge makes the tables hold what is wanted. It looks again after each writing that somebody
// else may have written into.
func (s *side) converge(ctx context.Context, wanted func(*tool) ruleset, done *undoer) error {
	t, err := s.tool(ctx)
	if err != nil {
		return err
	}
	want, rewritten := wanted(t), false
	for round := range maxRaces {
		have, at, err := s.look(ctx)
		if err != nil {
			return err
		}
		d := compare(have, want)
		if d.empty() {
			s.known = at
			return nil
		}
		illegible := have.opaque()
		if illegible != "" && rewritten {
			err := fmt.Errorf("%w: a rule that iptables cannot show stands in a chain which is not ours", dataplane.ErrForeign)
			return &dataplane.OpError{Op: "read", Object: "table " + illegible + " of " + s.variant.String(), Err: err}
		}
		if round >= maxPatience {
			at = stamp{} // the next look shows what has become of it
		}
		if err = s.write(ctx, d, at, done); err != nil && !errors.Is(err, errMoved) {
			return err
		}
		if s.known != (stamp{}) && illegible == "" {
			return nil
		}
		rewritten = err == nil
	}
	return &dataplane.OpError{Op: "write rules of", Object: s.variant.String(), Err: errMoved}
}

// write makes a difference to what the tables hold at a stamp, or, if that is zero, to what they
// may hold. If that fails between tables, what was written is taken back.
//
// A script for several tables is tested first, because a line that the tool does not understand
// would stop it between tables. That is not needed for a script for floating IPs only: its lines
// are like some that the tool has carried out before.
func (s *side) write(ctx context.Context, d difference, at stamp, done *undoer) error {
	s.known = stamp{}
	l, err := s.store.hold(ctx)
	if err != nil {
		return err
	}
	defer l.release()
	now, err := s.store.stamp()
	if err != nil {
		return err
	}
	if at != (stamp{}) && now != at {
		return errMoved
	}
	tables := d.tables()
	if tables > 1 && !d.partial {
		err := s.feed(ctx, d, func(t *tool, script string) error { return t.test(ctx, s.ns, script) })
		if err != nil {
			return err
		}
	}
	if err := s.restore(ctx, d, l); err != nil {
		if after, stampErr := s.store.stamp(); stampErr == nil && after == now {
			return err
		}
		return errors.Join(err, s.retreat(context.WithoutCancel(ctx), d, l))
	}
	done.all = append(done.all, undone{s, d})
	if at != (stamp{}) {
		s.known, err = s.store.settled(at, tables)
	}
	return err
}

// retreat leads from wherever the tables are back to before a difference, without touching what was
// no part of it.
func (s *side) retreat(ctx context.Context, d difference, l lock) error {
	s.known = stamp{}
	now, _, err := s.read(ctx)
	if err != nil {
		return err
	}
	if d.partial {
		now = now.among(d.have, d.want)
	}
	return s.restore(ctx, compare(now, d.have), l)
}

// restore makes a difference, under a lock.
func (s *side) restore(ctx context.Context, d difference, l lock) error {
	err := s.feed(ctx, d, func(t *tool, script string) error { return t.restore(ctx, s.ns, script, l) })
	if err == nil && d.leaves(ipv6) { // IPv4 is left with the router, see Clear
		err = s.store.tidy(ipv6)
	}
	return err
}

// feed hands each family's part of a difference to its tool.
func (s *side) feed(ctx context.Context, d difference, to func(*tool, string) error) error {
	t, err := s.tool(ctx)
	if err != nil {
		return err
	}
	for _, f := range families {
		script := d.script(f)
		if script == "" {
			continue
		}
		t, err := t.of(ctx, f)
		if err == nil {
			err = to(t, script)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// undone is a difference that was made, and can be taken back.
type undone struct {
	*side
	difference
}

// undoer takes back what was written, the last first.
type undoer struct{ all []undone }

func (u *undoer) run(ctx context.Context) error {
	var errs []error
	for _, w := range slices.Backward(u.all) {
		l, err := w.store.hold(ctx)
		if err == nil {
			err = w.retreat(ctx, w.difference, l)
			l.release()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// undo is nil if nothing was written.
func (u *undoer) undo() func(context.Context) error {
	if len(u.all) == 0 {
		return nil
	}
	return u.run
}
