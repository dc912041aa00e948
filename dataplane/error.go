package dataplane

import "errors"

// Sentinels to branch on with [errors.Is]. Everything else that a dataplane returns is the kernel's own error, wrapped in an [OpError].
var (
	ErrInvalid     = errors.New("invalid router")             // see [Faults] for what is wrong; trying again cannot help
	ErrForeign     = errors.New("exists and is not ours")     // a namespace, device or table of that name belongs to somebody else
	ErrUnsupported = errors.New("not supported on this host") // the kernel or a tool lacks something; the error says what
	ErrPermission  = errors.New("needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN)")
	ErrClosed      = errors.New("dataplane is closed")
)

// OpError says what was being done, to which object, and why it failed.
type OpError struct {
	Op     string // "add address"
	Object string // "203.0.113.5/32 on qg-4f0c"
	Err    error
}

func (e *OpError) Error() string {
	if e.Object == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Object + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }
