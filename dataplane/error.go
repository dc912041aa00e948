package dataplane

import "errors"

// Sentinels to branch on with [errors.Is]. What is none of them is an error of a context, or as the
// kernel, a tool or the standard library reported it. All come wrapped in an [OpError].
var (
	ErrInvalid     = errors.New("invalid router")              // see [Faults] for what is wrong; trying again cannot help
	ErrForeign     = errors.New("exists and is not ours")      // a namespace, device or table of that name belongs to somebody else
	ErrUnsupported = errors.New("not supported on this host")  // the kernel or a tool lacks something; the error says what
	ErrHostConfig  = errors.New("host is not set up for it")   // its operator has to act: an interface is missing, or used otherwise
	ErrExhausted   = errors.New("no room left on this host")   // of something that there is a limited number of
	ErrDaemon      = errors.New("daemon does not do its part") // such as ovs-vswitchd; trying again later may help
	ErrPermission  = errors.New("needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN)")
	ErrClosed      = errors.New("dataplane is closed")
)

// After an error of Apply or Delete, exactly one of these tells which router is in force. The old
// router is the one that was there before the call, which may be none; the new one is the one asked
// for, which is none for Delete.
var (
	ErrOldInForce  = errors.New("the old router is in force")
	ErrNewInForce  = errors.New("the new router is in force") // what is left of the old one goes with the next Apply or Delete
	ErrNoneInForce = errors.New("neither the old router nor the new one is in force")
)

// ChangeError is an error of Apply or Delete.
type ChangeError struct {
	InForce error // ErrOldInForce, ErrNewInForce or ErrNoneInForce
	Err     error // the cause
}

// Error prints the cause, and which router is in force unless nothing has changed.
func (e *ChangeError) Error() string {
	if e.InForce == ErrOldInForce { //nolint:errorlint // the sentinel itself
		return e.Err.Error()
	}
	return e.Err.Error() + " (" + e.InForce.Error() + ")"
}

// Unwrap returns the sentinel and the cause.
func (e *ChangeError) Unwrap() []error { return []error{e.InForce, e.Err} }

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
