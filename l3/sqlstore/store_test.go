package sqlstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

func TestConformance(t *testing.T) {
	for name, address := range l3test.Databases() {
		t.Run(name, func(t *testing.T) {
			l3test.RunStore(t, func(t *testing.T) l3.Store { return l3test.Open(t, address(t)) })
		})
	}
}

// TestPath: whatever a path has in it, it is the file's.
func TestPath(t *testing.T) {
	for _, name := range []string{"a b.db", "a%20b.db", "a#b.db", "日本.db", "a&b=c;d.db"} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, addSubnet(t.Context(), l3test.Open(t, "sqlite:"+path)))
		require.FileExists(t, path)
	}
	t.Chdir(t.TempDir())
	require.NoError(t, addSubnet(t.Context(), l3test.Open(t, "sqlite:relative.db")))
	require.FileExists(t, "relative.db")
}

func TestRefusedURLs(t *testing.T) {
	for _, address := range []string{"", "sqlite:", "mysql://h/d", "sqlite:/tmp/x?synchronous=off", "sqlite:/tmp/x?other=1", "sqlite:/no/such/directory/x.db",
		"postgres://h:port/d"} {
		_, err := sqlstore.Open(t.Context(), address)
		require.Error(t, err, address)
	}
	_, err := sqlstore.Open(t.Context(), "mysql://user:secret@h/d")
	require.NotContains(t, err.Error(), "secret")
}

// TestMemory: a database that has no file is as good as any.
func TestMemory(t *testing.T) {
	l3test.RunStore(t, func(t *testing.T) l3.Store { return l3test.Open(t, "sqlite::memory:") })
}
