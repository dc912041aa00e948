package iptables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/failure"
)

// legacyStore is ip_tables and ip6_tables, which iptables-legacy writes into: blobs of rules, each
// replaced whole.
type legacyStore struct {
	ns      namespace.NS
	limit   time.Duration // for waiting
	seed    maphash.Seed
	buffers *sync.Pool      // of *[]byte, for what is read: tables are large, and read often
	of      [2]legacyFamily // by family
}

// legacyFamily is what tables of one address family are read by.
type legacyFamily struct {
	layout
	names *os.File // tables that exist in the namespace; nil until first used
	fd    int      // a socket in the namespace, to ask with; -1 until first used
}

func newLegacyStore(ns namespace.NS, limit time.Duration, buffers *sync.Pool) *legacyStore {
	return &legacyStore{
		ns: ns, limit: limit, seed: maphash.MakeSeed(), buffers: buffers,
		of: [2]legacyFamily{ipv4: {layout: layout4, fd: -1}, ipv6: {layout: layout6, fd: -1}},
	}
}

// layout is where struct ipt_entry, or struct ip6t_entry, has what.
type layout struct {
	domain, level int    // of the socket to ask with
	names         string // file that lists tables

	target   int // offset of target_offset
	next     int // offset of next_offset
	counters int // offset of counters
	size     int // of all
}

// Of linux/netfilter_ipv4/ip_tables.h and linux/netfilter_ipv6/ip6_tables.h.
var (
	layout4 = layout{domain: unix.AF_INET, level: unix.SOL_IP, names: "ip_tables_names", target: 88, next: 90, counters: 96, size: 112}
	layout6 = layout{domain: unix.AF_INET6, level: unix.SOL_IPV6, names: "ip6_tables_names", target: 140, next: 142, counters: 152, size: 168}
)

// The same for both families, and in linux/netfilter/x_tables.h.
const (
	countersSize  = 16 // struct xt_counters
	targetName    = 2  // offset of the name in struct xt_entry_target
	targetData    = 32 // size of struct xt_entry_target
	nameSize      = 29 // XT_EXTENSION_MAXNAMELEN
	getInfo       = 64 // IPT_SO_GET_INFO
	getEntries    = 65 // IPT_SO_GET_ENTRIES
	infoSize      = 84 // struct ipt_getinfo
	infoBytes     = 80 // offset of its size
	entriesBytes  = 32 // offset of size in struct ipt_get_entries
	entriesHeader = 40 // struct ipt_get_entries without entries
)

// stamp is a fingerprint of each table: of all the bytes that a tool reads to know the rules, less
// the counters.
func (s *legacyStore) stamp() (at stamp, err error) {
	err = s.each(func(i int, l layout, entries []byte) {
		for e := range l.split(entries) {
			clear(e[l.counters : l.counters+countersSize])
		}
		at[i] = max(maphash.Bytes(s.seed, entries), absent+1)
	})
	if err != nil {
		return stamp{}, err
	}
	for i := range at {
		at[i] = max(at[i], absent)
	}
	return at, nil
}

// absent is the fingerprint of a table that is not there.
const absent = 1

func (s *legacyStore) chains() (map[string][]string, error) {
	names := map[string][]string{}
	err := s.each(func(i int, l layout, entries []byte) {
		for e := range l.split(entries) {
			// A chain begins with an entry whose target is ERROR and carries the chain's name.
			t := e[binary.NativeEndian.Uint16(e[l.target:]):]
			if len(t) < targetData+nameSize || unix.ByteSliceToString(t[targetName:targetName+nameSize]) != "ERROR" {
				continue
			}
			if name := unix.ByteSliceToString(t[targetData:]); ours(name) {
				names[tables[i]] = append(names[tables[i]], name)
			}
		}
	})
	return names, err
}

func (s *legacyStore) illegible() ([]string, error) { return nil, nil }

// split yields the entries of a table.
func (l layout) split(entries []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(entries) >= l.size {
			n := int(binary.NativeEndian.Uint16(entries[l.next:]))
			if n < l.size || n > len(entries) || !yield(entries[:n]) {
				return
			}
			entries = entries[n:]
		}
	}
}

// each calls fn with the entries of those of our tables that exist, by their places in the list of
// tables; fn must not keep them. To ask for a table that does not exist would make it.
func (s *legacyStore) each(fn func(i int, l layout, entries []byte)) error {
	buffer, _ := s.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	defer s.buffers.Put(buffer)
	var exist [2]map[string]bool
	for _, f := range families {
		var err error
		if exist[f], err = s.of[f].existing(s.ns); err != nil {
			return failure.Of("list", "ip_tables", failure.Lack("ip_tables", err))
		}
	}
	for i, table := range tables {
		f, name := splitTable(table)
		if !exist[f][name] {
			continue
		}
		entries, err := s.of[f].entries(s.ns, name, buffer)
		if err != nil {
			return failure.Of("read", "table "+table+" of ip_tables", failure.Lack("ip_tables", err))
		}
		fn(i, s.of[f].layout, entries)
	}
	return nil
}

// existing lists the tables that exist in the namespace. A kernel without ip_tables has no list.
func (l *legacyFamily) existing(ns namespace.NS) (map[string]bool, error) {
	if l.names == nil {
		err := ns.Do(func() (err error) {
			l.names, err = os.Open("/proc/thread-self/net/" + l.layout.names)
			return err
		})
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	b := make([]byte, 256)
	n, err := l.names.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	exist := map[string]bool{}
	for _, name := range bytes.Fields(b[:n]) {
		exist[string(name)] = true
	}
	return exist, nil
}

func (l *legacyFamily) entries(ns namespace.NS, table string, buffer *[]byte) ([]byte, error) {
	if l.fd < 0 {
		err := ns.Do(func() (err error) {
			l.fd, err = unix.Socket(l.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for {
		info := make([]byte, infoSize)
		copy(info, table)
		if err := l.ask(getInfo, info); err != nil {
			return nil, err
		}
		size := entriesHeader + int(binary.NativeEndian.Uint32(info[infoBytes:]))
		*buffer = slices.Grow((*buffer)[:0], size)
		b := (*buffer)[:size]
		clear(b) // the kernel leaves gaps
		copy(b, table)
		copy(b[entriesBytes:], info[infoBytes:infoBytes+4])
		err := l.ask(getEntries, b)
		if errors.Is(err, unix.EAGAIN) {
			continue // the table has another size by now
		}
		return b[entriesHeader:], err
	}
}

// ask is getsockopt(2) for an option whose value is a question and then the answer.
func (l *legacyFamily) ask(option int, value []byte) error {
	size := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.fd), uintptr(l.level), uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// settled trusts in the lock.
func (s *legacyStore) settled(stamp, int) (stamp, error) { return s.stamp() }

// tidy does nothing: an empty table of ip_tables stays for as long as its namespace.
func (s *legacyStore) tidy(family) error { return nil }

func (s *legacyStore) close() error {
	var errs []error
	for _, f := range families {
		l := &s.of[f]
		if l.names != nil {
			errs = append(errs, l.names.Close())
			l.names = nil
		}
		if l.fd >= 0 {
			errs = append(errs, unix.Close(l.fd))
			l.fd = -1
		}
	}
	return errors.Join(errs...)
}
