package service

import (
	"context"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// intentCache keeps the last intents of distributed routers. A change concerns all hosts of a
// router, and each is told in a transaction of its own, in which otherwise everything that is bound
// on the router's networks would be read again.
type intentCache struct {
	mu   sync.Mutex
	last []cachedIntent // the newest last
}

type cachedIntent struct {
	intentKey
	intent Intent
}

// intentKey is different for each intent of a router: every change of what its hosts must realise
// advances the revision, and a centre that is made anew, or bound anew because the database was
// restored, has another MAC address or a later epoch.
type intentKey struct {
	router   string
	revision uint64
	centre   dataplane.MAC
	epoch    uint64
}

// mostIntents bounds the cache. Changes of so many routers can be told to hosts in turns.
const mostIntents = 16

// get returns the intent of a state's router, if it is known.
func (c *intentCache) get(ctx context.Context, tx l3.Tx, st l3.RouterState) (key intentKey, in Intent, known bool, err error) {
	centre := st
	if st.Edge {
		if centre, err = tx.RouterStates().Get(ctx, dataplane.CentreID(st.RouterID)); err != nil {
			return key, in, false, err
		}
	}
	key = intentKey{st.RouterID, st.Revision, centre.MAC, centre.Epoch}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cached := range c.last {
		if cached.intentKey == key {
			return key, cached.intent, true, nil
		}
	}
	return key, in, false, nil
}

func (c *intentCache) put(key intentKey, in Intent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) == mostIntents {
		c.last = c.last[1:]
	}
	c.last = append(c.last, cachedIntent{key, in})
}
