package iptables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/namespace"
)

// legacyStore is ip_tables, which iptables-legacy writes into: three blobs of rules, each replaced whole.
type legacyStore struct {
	ns      namespace.NS
	limit   time.Duration // for waiting
	seed    maphash.Seed
	buffers *sync.Pool // of *[]byte, for what is read: tables are large, and read often
	names   *os.File   // tables that exist in the namespace; nil until first used
	fd      int        // a socket in the namespace, to ask with; -1 until first used
}

func newLegacyStore(ns namespace.NS, limit time.Duration, buffers *sync.Pool) *legacyStore {
	return &legacyStore{ns: ns, limit: limit, seed: maphash.MakeSeed(), buffers: buffers, fd: -1}
}

// Layouts of linux/netfilter_ipv4/ip_tables.h and linux/netfilter/x_tables.h.
const (
	ipEntryCounters = 96  // offset of counters in struct ipt_entry
	ipEntrySize     = 112 // struct ipt_entry
	ipEntryTarget   = 88  // offset of target_offset
	ipEntryNext     = 90  // offset of next_offset
	countersSize    = 16  // struct xt_counters
	targetName      = 2   // offset of the name in struct xt_entry_target
	targetData      = 32  // size of struct xt_entry_target
	nameSize        = 29  // XT_EXTENSION_MAXNAMELEN
	getInfo         = 64  // IPT_SO_GET_INFO
	getEntries      = 65  // IPT_SO_GET_ENTRIES
	infoSize        = 84  // struct ipt_getinfo
	infoBytes       = 80  // offset of its size
	entriesBytes    = 32  // offset of size in struct ipt_get_entries
	entriesHeader   = 40  // struct ipt_get_entries without entries
)

// stamp is a fingerprint of each table: of all the bytes that a tool reads to know the rules, less the counters.
func (s *legacyStore) stamp() (at stamp, err error) {
	err = s.each(func(i int, _ string, entries []byte) {
		for e := range split(entries) {
			clear(e[ipEntryCounters : ipEntryCounters+countersSize])
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
	err := s.each(func(_ int, table string, entries []byte) {
		for e := range split(entries) {
			// A chain begins with an entry whose target is ERROR and carries the chain's name.
			t := e[binary.NativeEndian.Uint16(e[ipEntryTarget:]):]
			if len(t) < targetData+nameSize || text(t[targetName:targetName+nameSize]) != "ERROR" {
				continue
			}
			if name := text(t[targetData:]); ours(name) {
				names[table] = append(names[table], name)
			}
		}
	})
	return names, err
}

func (s *legacyStore) illegible() ([]string, error) { return nil, nil }

// split yields the entries of a table.
func split(entries []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(entries) >= ipEntrySize {
			n := int(binary.NativeEndian.Uint16(entries[ipEntryNext:]))
			if n < ipEntrySize || n > len(entries) || !yield(entries[:n]) {
				return
			}
			entries = entries[n:]
		}
	}
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// each calls fn with the entries of those of our tables that exist; fn must not keep them. To ask for a table that does not exist would
// make it.
func (s *legacyStore) each(fn func(i int, table string, entries []byte)) error {
	exist, err := s.existing()
	if err != nil {
		return failure("list", "ip_tables", err)
	}
	buffer, _ := s.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	defer s.buffers.Put(buffer)
	for i, table := range []string{filter, mangle, nat} {
		if !exist[table] {
			continue
		}
		entries, err := s.entries(table, buffer)
		if err != nil {
			return failure("read", "table "+table+" of ip_tables", err)
		}
		fn(i, table, entries)
	}
	return nil
}

// existing lists the tables that exist in the namespace. A kernel without ip_tables has no list.
func (s *legacyStore) existing() (map[string]bool, error) {
	if s.names == nil {
		err := s.ns.Do(func() (err error) {
			s.names, err = os.Open("/proc/thread-self/net/ip_tables_names")
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
	n, err := s.names.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	exist := map[string]bool{}
	for _, name := range bytes.Fields(b[:n]) {
		exist[string(name)] = true
	}
	return exist, nil
}

func (s *legacyStore) entries(table string, buffer *[]byte) ([]byte, error) {
	if s.fd < 0 {
		err := s.ns.Do(func() (err error) {
			s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for {
		info := make([]byte, infoSize)
		copy(info, table)
		if err := s.ask(getInfo, info); err != nil {
			return nil, err
		}
		size := entriesHeader + int(binary.NativeEndian.Uint32(info[infoBytes:]))
		*buffer = slices.Grow((*buffer)[:0], size)
		b := (*buffer)[:size]
		clear(b) // the kernel leaves gaps
		copy(b, table)
		copy(b[entriesBytes:], info[infoBytes:infoBytes+4])
		err := s.ask(getEntries, b)
		if errors.Is(err, unix.EAGAIN) {
			continue // the table has another size by now
		}
		return b[entriesHeader:], err
	}
}

// ask is getsockopt(2) for an option whose value is a question and then the answer.
func (s *legacyStore) ask(option int, value []byte) error {
	size := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_IP, uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// settled trusts in the lock.
func (s *legacyStore) settled(stamp, int) (stamp, error) { return s.stamp() }

// tidy does nothing: an empty table of ip_tables stays for as long as its namespace.
func (s *legacyStore) tidy() error { return nil }

func (s *legacyStore) close() error {
	var errs []error
	if s.names != nil {
		errs = append(errs, s.names.Close())
		s.names = nil
	}
	if s.fd >= 0 {
		errs = append(errs, unix.Close(s.fd))
		s.fd = -1
	}
	return errors.Join(errs...)
}
