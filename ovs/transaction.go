package ovs

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/ovn-org/libovsdb/ovsdb"
)

// errConflict says that the database is not what it was when the transaction was thought out.
var errConflict = errors.New("somebody else changed Open vSwitch at the same time, again and again")

// transaction is a change to the database, made of verbs. It takes effect as a whole, and only on
// the database that it was thought out for: each change of ours, and each of ovs-vsctl's, counts
// next_cfg up, and the transaction begins by comparing that. So two processes cannot give one VLAN
// to two networks, and nothing can be added to a bridge that has just gone.
type transaction struct {
	s      *session
	seen   switchRow // as of the view that the transaction follows from
	ops    []ovsdb.Operation
	made   []made
	verify []string // names of the interfaces that ovs-vswitchd has to take up
	named  int
}

// made is what a transaction has put into the database, for taking it back.
type made struct {
	table  string
	name   string
	bridge string // of a port: the bridge's name
	op     int    // its index in ops
	uuid   string // known when it is committed
}

func row(uuid string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
}

func textMap(m map[string]string) ovsdb.OvsMap {
	out := ovsdb.OvsMap{GoMap: make(map[any]any, len(m))}
	for k, v := range m {
		out.GoMap[k] = v
	}
	return out
}

func uuids(list ...string) ovsdb.OvsSet {
	var s ovsdb.OvsSet
	for _, u := range list {
		s.GoSet = append(s.GoSet, ovsdb.UUID{GoUUID: u})
	}
	return s
}

// insert adds a row, and returns what the rest of the transaction can call it by.
func (t *transaction) insert(table string, columns ovsdb.Row) string {
	t.named++
	name := "row" + strconv.Itoa(t.named)
	t.ops = append(t.ops, ovsdb.Operation{Op: ovsdb.OperationInsert, Table: table, Row: columns, UUIDName: name})
	return name
}

// mutate changes a part of a column.
func (t *transaction) mutate(table, uuid, column string, m ovsdb.Mutator, value any) {
	t.ops = append(t.ops, mutation(table, uuid, column, m, value))
}

func mutation(table, uuid, column string, m ovsdb.Mutator, value any) ovsdb.Operation {
	return ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: table, Where: row(uuid), Mutations: []ovsdb.Mutation{*ovsdb.NewMutation(column, m, value)},
	}
}

// set changes columns of a row.
func (t *transaction) set(table, uuid string, columns ovsdb.Row) {
	t.ops = append(t.ops, ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: table, Where: row(uuid), Row: columns})
}

// newPort is a port with its one interface, which have one name.
type newPort struct {
	name        string
	kind        string // type of the interface
	tag         uint16 // 0: none
	mtu         int    // 0: no request
	protected   bool   // from other ports of the bridge that are so; see [Driver.protect]
	options     map[string]string
	portIDs     map[string]string
	interfaceID map[string]string
}

// addPort puts a port on a bridge. The bridge's UUID may be the name of one that the transaction
// adds.
func (t *transaction) addPort(bridge, uuid string, p newPort) {
	columns := ovsdb.Row{"name": p.name, "type": p.kind, "options": textMap(p.options), "external_ids": textMap(p.interfaceID)}
	if p.mtu > 0 {
		columns["mtu_request"] = p.mtu
	}
	iface := t.insert(interfaceTable, columns)
	columns = ovsdb.Row{"name": p.name, "interfaces": uuids(iface), "external_ids": textMap(p.portIDs)}
	if p.tag > 0 {
		columns["tag"] = int(p.tag)
	}
	if p.protected {
		columns["protected"] = true
	}
	t.made = append(t.made, made{table: portTable, name: p.name, bridge: bridge, op: len(t.ops)})
	port := t.insert(portTable, columns)
	t.mutate(bridgeTable, uuid, "ports", ovsdb.MutateOperationInsert, uuids(port))
	t.verify = append(t.verify, p.name)
}

// addBridge makes a bridge with its local port, whose device is the host's own, and returns what
// the rest of the transaction can call it by.
func (t *transaction) addBridge(name string, datapath Datapath, ids map[string]string) string {
	t.made = append(t.made, made{table: bridgeTable, name: name, op: len(t.ops)})
	bridge := t.insert(bridgeTable, ovsdb.Row{
		"name": name, "datapath_type": string(datapath), "fail_mode": "secure", "external_ids": textMap(ids),
	})
	t.mutate(switchTable, t.seen.UUID, "bridges", ovsdb.MutateOperationInsert, uuids(bridge))
	t.addPort(name, bridge, newPort{name: name, kind: "internal"})
	return bridge
}

// removePort takes a port off its bridge, and so deletes it with its interface: nothing refers to
// them any more.
func (t *transaction) removePort(bridge, port string) {
	t.mutate(bridgeTable, bridge, "ports", ovsdb.MutateOperationDelete, uuids(port))
}

func (t *transaction) removeBridge(bridge string) {
	t.mutate(switchTable, t.seen.UUID, "bridges", ovsdb.MutateOperationDelete, uuids(bridge))
}

// commit brings the transaction into the database.
func (t *transaction) commit(ctx context.Context) error {
	now := 0
	unchanged := ovsdb.Operation{
		Op: ovsdb.OperationWait, Table: switchTable, Where: row(t.seen.UUID), Timeout: &now,
		Columns: []string{"next_cfg"}, Until: string(ovsdb.WaitConditionEqual), Rows: []ovsdb.Row{{"next_cfg": t.seen.NextCfg}},
	}
	count := mutation(switchTable, t.seen.UUID, "next_cfg", ovsdb.MutateOperationAdd, 1)
	results, err := t.s.transact(ctx, slices.Concat([]ovsdb.Operation{unchanged}, t.ops, []ovsdb.Operation{count}))
	if err != nil {
		return err
	}
	for i := range t.made {
		t.made[i].uuid = results[t.made[i].op+1].UUID.GoUUID
	}
	return nil
}

// carriedOut waits until ovs-vswitchd has acted on the transaction. What it has to say about that
// is in the view then.
func (t *transaction) carriedOut(ctx context.Context) error {
	err := t.s.view.wait(ctx, func() bool { return t.s.view.sw.CurCfg > t.seen.NextCfg })
	if err == nil {
		err = t.s.view.settle(ctx)
	}
	return err
}
