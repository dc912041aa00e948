package workload

import "strings"

// mark is the interface alias of a workload's device; see the package comment.
type mark struct{ port, network string }

const markPrefix = "l3kit-workload"

func (m mark) String() string { return markPrefix + " port=" + m.port + " network=" + m.network }

func parseMark(alias string) (m mark, ok bool) {
	words := strings.Split(alias, " ")
	if words[0] != markPrefix {
		return mark{}, false
	}
	for _, w := range words[1:] {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "port":
			m.port = value
		case "network":
			m.network = value
		}
	}
	return m, m.port != ""
}
