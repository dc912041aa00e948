package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// dump writes testdata/version-N.{sqlite,postgres}.sql, of a database as this version makes it. It
// is run once, before the release of a version.
var dump = flag.String("dump", "", "write a dump of a database, as of the version with this number")

// fill puts something into every table.
func fill(t *testing.T, s l3.Store) {
	ctx := t.Context()
	require.NoError(t, addSubnet(ctx, s))
	require.NoError(t, s.Update(ctx, func(tx l3.Tx) error {
		p := l3.Port{Meta: testMeta("port"), NetworkID: netID, MAC: [6]byte{2, 0, 0, 0, 0, 1},
			FixedIPs: []l3.FixedIP{{SubnetID: subID, IPAddress: netip.MustParseAddr("10.0.0.2")}}}
		p.Name = `it's "é" \ ; --`
		require.NoError(t, tx.Ports().Insert(ctx, p))
		require.NoError(t, tx.Addresses().Claim(ctx, subID, p.FixedIPs[0].IPAddress, p.ID))
		vlan := l3.Segment{Type: "vlan", Physical: "one", ID: 7}
		require.NoError(t, tx.Networks().Insert(ctx, l3.Network{Meta: testMeta("vlan"), Segments: []l3.Segment{vlan}}))
		require.NoError(t, tx.Segments().Claim(ctx, vlan, "vlan"))
		require.NoError(t, tx.Routers().Insert(ctx, l3.Router{Meta: testMeta("router")}))
		require.NoError(t, tx.Agents().Insert(ctx, l3.Agent{ID: "agent", Host: "host"}))
		_, err := tx.Deployment().NextEpoch(ctx)
		require.NoError(t, err)
		state := l3.RouterState{ID: "router", Revision: 1, Wanted: true, AgentID: "agent", Host: "host", Epoch: 1}
		require.NoError(t, tx.RouterStates().Insert(ctx, state))
		require.NoError(t, tx.Outbox().Add(ctx, l3.Notice{Host: "host", RouterID: "router", Epoch: 1, At: minute}))
		require.NoError(t, tx.SecurityGroups().Insert(ctx, l3.SecurityGroup{Meta: testMeta("group")}))
		require.NoError(t, tx.SecurityGroupRules().Insert(ctx, l3.SecurityGroupRule{Meta: testMeta("rule"), SecurityGroupID: "group"}))
		require.NoError(t, tx.RBACPolicies().Insert(ctx, l3.RBACPolicy{Meta: testMeta("policy"), ObjectID: netID}))
		return tx.Quotas().Set(ctx, "p", map[string]int{"network": 7})
	}))
}

// intact says that what fill has put in is there and works.
func intact(t *testing.T, s l3.Store) {
	ctx := t.Context()
	require.NoError(t, l3test.Audit(ctx, s))
	require.NoError(t, s.Update(ctx, func(tx l3.Tx) error {
		for name, count := range map[string]func(context.Context, ...l3.Filter) (int, error){
			"networks": tx.Networks().Count, "subnets": tx.Subnets().Count, "ports": tx.Ports().Count, "routers": tx.Routers().Count,
			"states": tx.RouterStates().Count, "agents": tx.Agents().Count, "groups": tx.SecurityGroups().Count,
			"rules": tx.SecurityGroupRules().Count, "policies": tx.RBACPolicies().Count,
		} {
			n, err := count(ctx)
			require.NoError(t, err)
			require.NotZero(t, n, name)
		}
		p, err := tx.Ports().Get(ctx, "port")
		require.NoError(t, err)
		require.Equal(t, `it's "é" \ ; --`, p.Name)
		hosted, err := tx.RouterStates().Hosted(ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"agent": 1}, hosted)
		limits, err := tx.Quotas().Get(ctx, "p")
		require.NoError(t, err)
		require.Equal(t, map[string]int{"network": 7}, limits)
		notices, err := tx.Outbox().Next(ctx, 10)
		require.NoError(t, err)
		require.Len(t, notices, 1)
		require.NoError(t, tx.Outbox().Add(ctx, l3.Notice{Host: "host", RouterID: "router", Epoch: 1}))
		return nil
	}))
	_, err := addPort(ctx, s)
	require.NoError(t, err)
}

// TestFromEveryVersion opens databases as every released version has left them. Afterwards they
// have what a new one has.
func TestFromEveryVersion(t *testing.T) {
	for name, address := range l3test.Databases() {
		files, err := filepath.Glob("testdata/version-*." + name + ".sql")
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				script, err := os.ReadFile(file)
				require.NoError(t, err)
				old, fresh := address(t), address(t)
				run(t, old, string(script))
				run(t, old, `INSERT INTO floatingips (id, doc) VALUES ('bound', '{"id": "bound", "port_id": "x", "tags": []}')`)
				s := l3test.Open(t, old)
				require.NoError(t, s.Update(t.Context(), func(tx l3.Tx) error {
					f, err := tx.FloatingIPs().Get(t.Context(), "bound")
					require.NoError(t, err)
					require.True(t, f.Distributed)
					return tx.FloatingIPs().Delete(t.Context(), "bound")
				}))
				intact(t, s)
				l3test.Open(t, fresh)
				require.Equal(t, shape(t, fresh), shape(t, old))
			})
		}
	}
}

// TestNewerVersion: what a later version has made is left alone.
func TestNewerVersion(t *testing.T) {
	for name, address := range l3test.Databases() {
		t.Run(name, func(t *testing.T) {
			database := address(t)
			require.NoError(t, l3test.Open(t, database).Close())
			run(t, database, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
			_, err := sqlstore.Open(t.Context(), database)
			require.ErrorIs(t, err, sqlstore.ErrNewer)
		})
	}
}

// TestWriteDump is what the flag is for.
func TestWriteDump(t *testing.T) {
	if *dump == "" {
		t.Skip("-dump is not given")
	}
	for name, address := range l3test.Databases() {
		database := address(t)
		s := l3test.Open(t, database)
		fill(t, s)
		require.NoError(t, s.Close())
		script := map[string]func(*testing.T, string) string{"sqlite": dumpSQLite, "postgres": dumpPostgres}[name](t, database)
		require.NoError(t, os.WriteFile("testdata/version-"+*dump+"."+name+".sql", []byte(script), 0o666))
	}
}

// raw opens an SQLite database without the store.
func raw(t *testing.T, address string) *sql.DB {
	path, _, _ := strings.Cut(strings.TrimPrefix(address, "sqlite:"), "?")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func run(t *testing.T, address, script string) {
	if strings.HasPrefix(address, "sqlite:") {
		_, err := raw(t, address).Exec(script)
		require.NoError(t, err)
		return
	}
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), script)
	require.NoError(t, err)
}

// shape is the definition of every table and index.
func shape(t *testing.T, address string) (lines []string) {
	if strings.HasPrefix(address, "sqlite:") {
		rows, err := raw(t, address).Query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			lines = append(lines, line)
		}
		return lines
	}
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes WHERE schemaname = current_schema()
		UNION SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable, column_default, is_identity)
		FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1`)
	require.NoError(t, err)
	lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return lines
}

func dumpSQLite(t *testing.T, address string) string {
	db := raw(t, address)
	script := "-- A database as it was when this version was released. It does not change.\n"
	texts := func(query string) (list []string) {
		rows, err := db.Query(query)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var s string
			require.NoError(t, rows.Scan(&s))
			list = append(list, s)
		}
		return list
	}
	for _, definition := range texts("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, name") {
		script += definition + ";\n"
	}
	for _, table := range texts("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name") {
		columns := texts("SELECT name FROM pragma_table_info('" + table + "')")
		values := "quote(" + strings.Join(columns, ") || ', ' || quote(") + ")"
		for _, row := range texts("SELECT " + values + " FROM " + table) {
			script += fmt.Sprintf("INSERT INTO %s VALUES (%s);\n", table, row)
		}
	}
	return script
}

func dumpPostgres(t *testing.T, address string) string {
	u, err := url.Parse(address)
	require.NoError(t, err)
	schema := u.Query().Get("search_path")
	tools, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	require.NoError(t, err)
	require.NotEmpty(t, tools)
	out, err := exec.Command(tools[len(tools)-1], "--host="+u.Query().Get("host"), "--username=postgres", "--schema="+schema, "--inserts", "--no-owner",
		"--no-privileges", "--no-comments", "postgres").Output()
	require.NoError(t, err)
	script := "-- A database as it was when this version was released. It does not change.\n"
	for line := range strings.Lines(string(bytes.ReplaceAll(out, []byte(schema+"."), nil))) {
		switch {
		case strings.HasPrefix(line, "--"), strings.HasPrefix(line, `\`), strings.HasPrefix(line, "SET "), strings.TrimSpace(line) == "":
		case strings.Contains(line, "'search_path'"), strings.HasPrefix(line, "CREATE SCHEMA"):
		default:
			script += line
		}
	}
	return script
}
