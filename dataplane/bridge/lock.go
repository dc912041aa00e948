package bridge

import "sync"

// locks is a readers-writer lock for each network. Who plugs into a network that is complete holds
// it for reading; who builds or sweeps the network's bridges, for writing.
type locks struct {
	mu sync.Mutex
	m  map[string]*lock
}

type lock struct {
	sync.RWMutex
	users int
}

// get returns the network's lock, and a function to call when it is not needed any more.
func (l *locks) get(network string) (*lock, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.m[network]
	if k == nil {
		if l.m == nil {
			l.m = map[string]*lock{}
		}
		k = &lock{}
		l.m[network] = k
	}
	k.users++
	return k, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.m, network)
		}
	}
}
