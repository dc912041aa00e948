package sqlstore_test

import (
	"testing"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
)

func TestConformance(t *testing.T) {
	for name, address := range l3test.Databases() {
		t.Run(name, func(t *testing.T) {
			l3test.RunStore(t, func(t *testing.T) l3.Store { return l3test.Open(t, address(t)) })
		})
	}
}

// TestMemory: a database that has no file is as good as any.
func TestMemory(t *testing.T) {
	l3test.RunStore(t, func(t *testing.T) l3.Store { return l3test.Open(t, "sqlite::memory:") })
}
