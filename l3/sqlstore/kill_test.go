package sqlstore_test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// killedWriter names the database to the process that is to be killed, which is a copy of the test's.
const killedWriter = "L3_TEST_WRITER"

// writeUntilKilled says the ID of every port that it was told is stored.
func writeUntilKilled(t *testing.T, address string) {
	s, err := sqlstore.Open(t.Context(), address)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for t.Context().Err() == nil {
				id, err := addPort(t.Context(), s)
				if err != nil {
					panic(err)
				}
				fmt.Println(id)
			}
		})
	}
	group.Wait()
}

var (
	pool   = []l3.AddressRange{{First: netip.MustParseAddr("10.0.0.2"), Last: netip.MustParseAddr("10.0.255.254")}}
	netID  = "11111111-0000-4000-8000-000000000000"
	subID  = "22222222-0000-4000-8000-000000000000"
	minute = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
)

func testMeta(id string) l3.Meta {
	return l3.Meta{ID: id, ProjectID: "p", Tags: []string{}, Revision: 1, CreatedAt: minute, UpdatedAt: minute}
}

// addSubnet makes what addPort needs.
func addSubnet(ctx context.Context, s l3.Store) error {
	return s.Update(ctx, func(tx l3.Tx) error {
		n := l3.Network{Meta: testMeta(netID), Segments: []l3.Segment{{Type: "local"}}}
		if err := tx.Networks().Insert(ctx, n); err != nil {
			return err
		}
		return tx.Subnets().Insert(ctx, l3.Subnet{Meta: testMeta(subID), NetworkID: netID, IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/16"),
			AllocationPools: pool})
	})
}

// addPort is a transaction over several tables: half of it would be noticed.
func addPort(ctx context.Context, s l3.Store) (id string, err error) {
	err = s.Update(ctx, func(tx l3.Tx) error {
		a, err := tx.Addresses().FirstFree(ctx, subID, pool)
		if err != nil {
			return err
		}
		id = uuid.NewString()
		p := l3.Port{Meta: testMeta(id), NetworkID: netID, FixedIPs: []l3.FixedIP{{SubnetID: subID, IPAddress: a}}}
		p.MAC = [6]byte{2, 0, 0, 0, a.As4()[2], a.As4()[3]}
		if err := tx.Ports().Insert(ctx, p); err != nil {
			return err
		}
		return tx.Addresses().Claim(ctx, subID, a, id)
	})
	return id, err
}

// TestKilledProcessLosesNothing: kill -9 in the middle of writing loses no answered change and
// leaves nothing half done.
func TestKilledProcessLosesNothing(t *testing.T) {
	if address := os.Getenv(killedWriter); address != "" {
		writeUntilKilled(t, address)
		return
	}
	for name, address := range map[string]func(testing.TB) string{
		"sqlite":        func(t testing.TB) string { return "sqlite:" + t.TempDir() + "/l3.db" },
		"sqlite-normal": l3test.SQLiteURL,
		"postgres":      l3test.PostgresURL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := address(t)
			s := l3test.Open(t, database)
			require.NoError(t, addSubnet(t.Context(), s))
			stored := map[string]bool{}
			for round := range 10 {
				for _, id := range writeAndDie(t, database, 5+7*round) {
					stored[id] = true
				}
				require.NoError(t, l3test.Audit(t.Context(), s), "after %d deaths", round+1)
				require.NoError(t, s.View(t.Context(), func(tx l3.Tx) error {
					found, err := tx.Ports().List(t.Context(), l3.Query{})
					for _, p := range found {
						delete(stored, p.ID)
					}
					return err
				}))
				require.Empty(t, stored, "answered, and not there")
			}
			_, err := addPort(t.Context(), s)
			require.NoError(t, err, "the database takes changes")
		})
	}
}

// writeAndDie runs the writer, and kills it when it has stored so many.
func writeAndDie(t *testing.T, database string, after int) (stored []string) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLosesNothing$", "-test.v")
	cmd.Env = append(os.Environ(), killedWriter+"="+database)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if uuid.Validate(lines.Text()) != nil {
			continue
		}
		stored = append(stored, lines.Text())
		if len(stored) == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // it was killed
	require.GreaterOrEqual(t, len(stored), after, "the writer ended by itself")
	return stored
}
