package powerloss

import (
	"bytes"
	"maps"
	"sync"
)

// node is a file or a directory.
type node struct {
	entries map[string]uint64 // of a directory; nil: a file
	mode    uint32
	data    []byte
	synced  []byte // data that is on disk
}

const rootID = 1

// tree is the content of a file system, as its users see it and as it is on disk.
type tree struct {
	mu    sync.Mutex
	nodes map[uint64]*node
	next  uint64
	disk  map[uint64]map[string]uint64 // entries of directories, on disk
	syncs int
	off   bool // there is no power
}

func newTree() *tree {
	t := &tree{nodes: map[uint64]*node{rootID: {entries: map[string]uint64{}, mode: 0o755}}, next: rootID + 1}
	t.commit()
	return t
}

// commit writes the names to disk, as a journal does with every sync.
func (t *tree) commit() {
	t.disk = map[uint64]map[string]uint64{}
	for id, n := range t.nodes {
		if n.entries != nil {
			t.disk[id] = maps.Clone(n.entries)
		}
	}
}

func (t *tree) sync(n *node) {
	n.synced = bytes.Clone(n.data)
	t.syncs++
	t.commit()
}

// restored returns what is on disk.
func (t *tree) restored() *tree {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &tree{nodes: map[uint64]*node{}, next: t.next, disk: t.disk}
	var add func(id uint64)
	add = func(id uint64) {
		was := t.nodes[id]
		n := &node{mode: was.mode, data: bytes.Clone(was.synced), synced: was.synced}
		r.nodes[id] = n
		if entries, is := t.disk[id]; is {
			n.entries = maps.Clone(entries)
			for _, child := range entries {
				add(child)
			}
		}
	}
	add(rootID)
	return r
}
