package service

import (
	"context"
	"slices"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// intentCache keeps the last intents of distributed routers. A change concerns all hosts of a
// router, and each is told in a transaction of its own, in which otherwise everything that is bound
// on the router's networks would be read again.
type intentCache struct {
	reading chan struct{} // holds a token while somebody reads what is missing

	mu   sync.Mutex
	last []cachedIntent // the newest last
}

func newIntentCache() *intentCache { return &intentCache{reading: make(chan struct{}, 1)} }

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

// intentKeys are the keys of distributed routers' intents, by the states' IDs.
func intentKeys(ctx context.Context, tx l3.Tx, states []l3.RouterState) (map[string]intentKey, error) {
	keys := map[string]intentKey{}
	for _, st := range states {
		if st.RouterID == "" {
			continue
		}
		centre := st
		if st.Edge {
			var err error
			if centre, err = tx.RouterStates().Get(ctx, dataplane.CentreID(st.RouterID)); err != nil {
				return nil, err
			}
		}
		keys[st.ID] = intentKey{st.RouterID, st.Revision, centre.MAC, centre.Epoch}
	}
	return keys, nil
}

// get adds the intents that are known, by the states' IDs, and returns the states of the others.
func (c *intentCache) get(keys map[string]intentKey, states []l3.RouterState, intents map[string]Intent) (missing []l3.RouterState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range states {
		key, distributed := keys[st.ID]
		i := slices.IndexFunc(c.last, func(cached cachedIntent) bool { return cached.intentKey == key })
		if distributed && i >= 0 {
			intents[st.ID] = c.last[i].intent
		} else {
			missing = append(missing, st)
		}
	}
	return missing
}

// lock begins the reading of what is missing.
func (c *intentCache) lock(ctx context.Context) error {
	select {
	case c.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *intentCache) unlock() { <-c.reading }

func (c *intentCache) put(key intentKey, in Intent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) == mostIntents {
		c.last = c.last[1:]
	}
	c.last = append(c.last, cachedIntent{key, in})
}
