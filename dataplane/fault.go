package dataplane

import "strconv"

// Fault is one thing that is wrong with a router.
type Fault struct {
	Path    string `json:"path"`    // where, in Go's notation: FloatingIPs[3].Fixed
	Problem string `json:"problem"` // what: "10.0.9.7 is in no subnet of the router"
}

func (f Fault) String() string { return f.Path + ": " + f.Problem }

// Faults is everything that is wrong with a router. As an error it is [ErrInvalid].
type Faults []Fault

// Error lists all faults, one a line when there are several.
func (f Faults) Error() string {
	if len(f) == 1 {
		return ErrInvalid.Error() + ": " + f[0].String()
	}
	return ErrInvalid.Error() + ":\n  " + list(f, "\n  ")
}

// Unwrap makes errors.Is(f, ErrInvalid) true.
func (f Faults) Unwrap() error { return ErrInvalid }

// quote makes foreign text safe to print, and short.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
