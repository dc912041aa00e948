package agent

import (
	"fmt"
)

// maxHostName is what the database and Neutron's clients hold.
const maxHostName = 255

// CheckHostName returns why a name cannot be a host's. A host name has 1 to 255 characters, which
// are letters, digits, dots, hyphens and underscores, and begins with a letter or a digit. So it
// can be written into flags, logs, queries and subjects as it is.
func CheckHostName(name string) error {
	if name == "" {
		return fmt.Errorf("a host has no name")
	}
	if len(name) > maxHostName {
		return fmt.Errorf("the host name %.20q… has %d characters, and may have %d", name, len(name), maxHostName)
	}
	for i := range len(name) {
		c := name[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && (i == 0 || c != '.' && c != '-' && c != '_') {
			return fmt.Errorf("the host name %q has other characters than A–Z a–z 0–9 . _ -, or does not begin with a letter or a digit", name)
		}
	}
	return nil
}
