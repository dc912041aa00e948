package powerloss

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Operations of the FUSE protocol, as <linux/fuse.h> has them.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opMkdir       = 9
	opUnlink      = 10
	opRmdir       = 11
	opRename      = 12
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opFsyncdir    = 30
	opCreate      = 35
	opInterrupt   = 36
	opBatchForget = 42
	opRename2     = 45
)

const (
	maxWrite   = 128 << 10
	inHeader   = 40
	setSize    = 1 << 3
	protoMinor = 31
)

var order = binary.NativeEndian

// server answers the kernel.
type server struct {
	tree *tree
	fd   int
}

func (s *server) serve() {
	buffer := make([]byte, maxWrite+4096)
	for {
		n, err := unix.Read(s.fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return // it was unmounted
		}
		r := request{server: s, op: order.Uint32(buffer[4:]), node: order.Uint64(buffer[16:]), body: buffer[inHeader:n]}
		reply, errno := r.answer()
		if r.op == opForget || r.op == opBatchForget || r.op == opInterrupt {
			continue
		}
		if errno != 0 {
			reply = nil
		}
		out := make([]byte, 16, 16+len(reply))
		order.PutUint32(out, uint32(16+len(reply)))
		order.PutUint32(out[4:], uint32(-int32(errno)))
		copy(out[8:16], buffer[8:16])                  // which request it answers
		_, _ = unix.Write(s.fd, append(out, reply...)) // who asked may have gone
	}
}

// request is one request of the kernel.
type request struct {
	*server
	op   uint32
	node uint64
	body []byte
}

// writer appends the fields of an answer.
type writer struct{ b []byte }

func (w *writer) u64(all ...uint64) *writer {
	for _, v := range all {
		w.b = order.AppendUint64(w.b, v)
	}
	return w
}

func (w *writer) u32(all ...uint32) *writer {
	for _, v := range all {
		w.b = order.AppendUint32(w.b, v)
	}
	return w
}

func (w *writer) attr(id uint64, n *node) *writer {
	mode, size := n.mode|unix.S_IFREG, uint64(len(n.data))
	if n.entries != nil {
		mode, size = n.mode|unix.S_IFDIR, 4096
	}
	now := uint64(time.Now().Unix())
	w.u64(id, size, (size+511)/512, now, now, now)
	return w.u32(0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
}

func (w *writer) entry(id uint64, n *node) *writer {
	w.u64(id, 1, 0, 0)
	return w.u32(0, 0).attr(id, n)
}

func (r request) name(at int) string {
	name, _, _ := bytes.Cut(r.body[at:], []byte{0})
	return string(name)
}

func (r request) answer() ([]byte, unix.Errno) {
	t := r.tree
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &writer{}
	switch r.op {
	case opInit:
		w.u32(7, protoMinor, maxWrite, 0, 0, maxWrite, 1, 0)
		return append(w.b, make([]byte, 64-len(w.b))...), 0
	case opForget, opBatchForget, opInterrupt:
		return nil, 0
	}
	if t.off {
		return nil, unix.EIO
	}
	n := t.nodes[r.node]
	if n == nil {
		return nil, unix.ESTALE
	}
	switch r.op {
	case opLookup:
		id, there := n.entries[r.name(0)]
		if !there {
			return nil, unix.ENOENT
		}
		return w.entry(id, t.nodes[id]).b, 0
	case opGetattr:
		return w.u64(0).u32(0, 0).attr(r.node, n).b, 0
	case opSetattr:
		if order.Uint32(r.body)&setSize != 0 {
			n.resize(order.Uint64(r.body[16:]))
		}
		return w.u64(0).u32(0, 0).attr(r.node, n).b, 0
	case opMkdir:
		return r.make(w, n, r.name(8), &node{entries: map[string]uint64{}, mode: 0o755})
	case opCreate:
		if _, errno := r.make(w, n, r.name(16), &node{mode: 0o600}); errno != 0 {
			return nil, errno
		}
		return w.u64(0).u32(0, 0).b, 0
	case opUnlink, opRmdir:
		id, there := n.entries[r.name(0)]
		switch {
		case !there:
			return nil, unix.ENOENT
		case r.op == opRmdir && len(t.nodes[id].entries) > 0:
			return nil, unix.ENOTEMPTY
		}
		delete(n.entries, r.name(0))
		return nil, 0
	case opRename, opRename2:
		at := 8
		if r.op == opRename2 {
			at = 16
		}
		return nil, r.rename(n, t.nodes[order.Uint64(r.body)], r.name(at), r.name(at+len(r.name(at))+1))
	case opOpen, opOpendir:
		return w.u64(0).u32(0, 0).b, 0
	case opRead:
		from := min(order.Uint64(r.body[8:]), uint64(len(n.data)))
		return n.data[from:min(from+uint64(order.Uint32(r.body[16:])), uint64(len(n.data)))], 0
	case opWrite:
		return r.write(w, n)
	case opReaddir:
		return n.list(order.Uint64(r.body[8:]), int(order.Uint32(r.body[16:]))), 0
	case opFsync:
		t.sync(n)
		return nil, 0
	case opFsyncdir:
		t.commit()
		return nil, 0
	case opStatfs:
		w.u64(1<<20, 1<<19, 1<<19, 1<<20, 1<<19).u32(4096, 255, 4096, 0)
		return append(w.b, make([]byte, 80-len(w.b))...), 0
	case opRelease, opReleasedir, opFlush:
		return nil, 0
	default:
		return nil, unix.ENOSYS
	}
}

func (r request) make(w *writer, dir *node, name string, made *node) ([]byte, unix.Errno) {
	if _, there := dir.entries[name]; there {
		return nil, unix.EEXIST
	}
	id := r.tree.next
	r.tree.next++
	r.tree.nodes[id], dir.entries[name] = made, id
	return w.entry(id, made).b, 0
}

// rename brings the data of a file that replaces another to disk, as ext4 does.
func (r request) rename(from, to *node, was, is string) unix.Errno {
	id, there := from.entries[was]
	if !there {
		return unix.ENOENT
	}
	if _, replaced := to.entries[is]; replaced {
		r.tree.nodes[id].synced = bytes.Clone(r.tree.nodes[id].data)
	}
	delete(from.entries, was)
	to.entries[is] = id
	return 0
}

func (r request) write(w *writer, n *node) ([]byte, unix.Errno) {
	offset, size := order.Uint64(r.body[8:]), uint64(order.Uint32(r.body[16:]))
	if end := offset + size; end > uint64(len(n.data)) {
		n.resize(end)
	}
	copy(n.data[offset:], r.body[40:40+size])
	return w.u32(uint32(size), 0).b, 0
}

func (n *node) resize(size uint64) {
	if size <= uint64(len(n.data)) {
		n.data = n.data[:size]
		return
	}
	n.data = append(n.data, make([]byte, size-uint64(len(n.data)))...)
}

// list writes the entries of a directory from a position on.
func (n *node) list(from uint64, size int) []byte {
	w := &writer{}
	names := slices.Sorted(maps.Keys(n.entries))
	for i := from; i < uint64(len(names)); i++ {
		name := names[i]
		padded := (24 + len(name) + 7) &^ 7
		if len(w.b)+padded > size {
			break
		}
		start := len(w.b)
		w.u64(n.entries[name], i+1).u32(uint32(len(name)), 0)
		w.b = append(w.b, name...)
		w.b = append(w.b, make([]byte, padded-(len(w.b)-start))...)
	}
	return w.b
}
