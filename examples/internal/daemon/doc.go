// Package daemon is what the binaries have in common: flags, logs, metrics, and how they start and
// end.
package daemon
