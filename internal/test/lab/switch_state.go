package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Transactions counts what clients have committed to the database so far. Left out is what does not
// outlive ovsdb-server, such as statistics, and what ovs-vswitchd reports about what it was asked
// for.
func (s *Switch) Transactions() (int, error) {
	journal, err := s.journal()
	return len(journal), err
}

// reported are the columns that ovs-vswitchd writes, and that are kept (ovs-vswitchd.conf.db(5)).
var reported = map[string][]string{
	"Open_vSwitch": {"cur_cfg", "datapath_types", "iface_types", "dpdk_initialized", "dpdk_version"},
	"Bridge":       {"datapath_version"},
	"Port":         {"bond_active_slave"},
	"Interface":    {"ofport", "error"},
}

// journal is what clients have committed, a line for each transaction. The database's file is a log
// of just that: a line that tells of the next one, and a transaction; the first is the schema
// (ovsdb(5)).
func (s *Switch) journal() (lines []string, err error) {
	text, err := os.ReadFile(s.file())
	if err != nil {
		return nil, err
	}
	schema := true
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "OVSDB ") {
			continue
		}
		if schema {
			schema = false
			continue
		}
		byClient, err := asked(l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", s.file(), err, l)
		}
		if byClient {
			lines = append(lines, strings.TrimSpace(l))
		}
	}
	return lines, nil
}

// asked says whether a transaction changes anything but reports.
func asked(transaction string) (bool, error) {
	var tables map[string]json.RawMessage
	if err := json.Unmarshal([]byte(transaction), &tables); err != nil {
		return false, err
	}
	for name, text := range tables {
		if strings.HasPrefix(name, "_") { // the date, a comment
			continue
		}
		var rows map[string]map[string]any // nil for a row that is deleted
		if err := json.Unmarshal(text, &rows); err != nil {
			return false, err
		}
		for _, columns := range rows {
			others := slices.DeleteFunc(slices.Collect(maps.Keys(columns)), func(c string) bool { return slices.Contains(reported[name], c) })
			if len(others) > 0 || len(columns) == 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// State is the whole configuration, as text that is the same whenever the configuration is:
// bridges, ports, interfaces and flows. Numbers of ports, identities of rows, counters, and flows
// that end by themselves because they were learned are left out.
func (s *Switch) State() (string, error) {
	rows, err := s.rows()
	if err != nil {
		return "", err
	}
	flows, err := s.flows("--names")
	if err != nil {
		return "", err
	}
	lines := append(rows, slices.Collect(maps.Keys(flows))...)
	slices.Sort(lines)
	return strings.Join(append([]string{"# Open vSwitch"}, lines...), "\n") + "\n", nil
}

// Writes returns what fn changed, whoever did it: a line for each transaction of a client, and for
// each flow that went, came, or was written anew though it is the same.
func (s *Switch) Writes(fn func() error) (writes []string, err error) {
	journal, err := s.journal()
	if err != nil {
		return nil, err
	}
	was, err := s.flows()
	if err != nil {
		return nil, err
	}
	if err := fn(); err != nil {
		return nil, err
	}
	after, err := s.journal()
	if err != nil {
		return nil, err
	}
	for _, t := range after[len(journal):] {
		writes = append(writes, "Open vSwitch: "+t)
	}
	now, err := s.flows()
	for f, age := range now {
		before, ok := was[f]
		switch {
		case !ok:
			writes = append(writes, "Open vSwitch: new "+f)
		case age < before:
			writes = append(writes, "Open vSwitch: again "+f)
		}
	}
	for f := range was {
		if _, ok := now[f]; !ok {
			writes = append(writes, "Open vSwitch: gone "+f)
		}
	}
	return writes, err
}

// configured are the tables and columns that make a configuration; the others are reports, or
// nobody's here.
var configured = []struct{ table, columns string }{
	{"bridge", "_uuid,name,ports,datapath_type,fail_mode,protocols,controller,other_config,external_ids"},
	{"port", "_uuid,name,interfaces,tag,trunks,vlan_mode,other_config,external_ids"},
	{"interface", "_uuid,name,type,options,mac,mtu_request,other_config,external_ids,error"},
}

// rows describes each row of the tables that configured names, all as they were at one time.
func (s *Switch) rows() (lines []string, err error) {
	args := []string{"--format=json"}
	for _, c := range configured {
		args = append(args, "--", "--columns="+c.columns, "list", c.table)
	}
	text, err := s.Vsctl(args...)
	if err != nil {
		return nil, err
	}
	type table struct {
		Headings []string
		Data     [][]any
	}
	tables := make([]table, len(configured))
	names := map[string]string{} // of rows, by UUID
	in := json.NewDecoder(strings.NewReader(text))
	for i := range tables {
		if err := in.Decode(&tables[i]); err != nil {
			return nil, fmt.Errorf("table %s: %w", configured[i].table, err)
		}
		for _, row := range tables[i].Data {
			names[plain(row[0], nil)] = plain(row[1], nil)
		}
	}
	for i, t := range tables {
		for _, row := range t.Data {
			line := configured[i].table + " " + plain(row[1], nil)
			for i := 2; i < len(row); i++ {
				if value := plain(row[i], names); value != "" {
					line += fmt.Sprintf(" %s=%s", t.Headings[i], value)
				}
			}
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// plain writes a value of the database (RFC 7047, section 5.1) with names in place of UUIDs; empty
// for an empty set or map.
func plain(v any, names map[string]string) string {
	tagged, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	switch tagged[0] {
	case "uuid":
		id := plain(tagged[1], nil)
		if name, ok := names[id]; ok {
			return name
		}
		return id
	case "set", "map":
		var elements []string
		for _, e := range tagged[1].([]any) {
			if pair, ok := e.([]any); ok && tagged[0] == "map" {
				elements = append(elements, plain(pair[0], names)+":"+plain(pair[1], names))
			} else {
				elements = append(elements, plain(e, names))
			}
		}
		slices.Sort(elements)
		return strings.Join(elements, ",")
	}
	return fmt.Sprint(v)
}

var (
	flowAge   = regexp.MustCompile(` duration=([0-9.]+)s,`)
	flowStats = regexp.MustCompile(` (duration|n_packets|n_bytes|idle_age|hard_age)=[^ ,]+,`)
	learned   = regexp.MustCompile(`(idle|hard)_timeout=`)
)

// flows returns for each flow of every bridge, with the bridge's name before it, how many seconds
// it has been there.
func (s *Switch) flows(options ...string) (map[string]float64, error) {
	sockets, err := filepath.Glob(filepath.Join(s.RunDir, "*.mgmt"))
	if err != nil {
		return nil, err
	}
	ages := map[string]float64{}
	for _, socket := range sockets {
		bridge := strings.TrimSuffix(filepath.Base(socket), ".mgmt")
		args := append([]string{"--protocols=OpenFlow14"}, options...)
		text, err := s.Ofctl(append(args, "dump-flows", bridge)...)
		if err != nil {
			return nil, err
		}
		for l := range strings.Lines(text) {
			age := flowAge.FindStringSubmatch(l)
			if age == nil || learned.MatchString(l) {
				continue
			}
			flow := fmt.Sprintf("flow %s %s", bridge, strings.TrimSpace(flowStats.ReplaceAllString(l, "")))
			if ages[flow], err = strconv.ParseFloat(age[1], 64); err != nil {
				return nil, errors.New(l)
			}
		}
	}
	return ages, nil
}
