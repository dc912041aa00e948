// Package shape holds the tests that guard the module's shape: which package may import which,
// which folders there are, and that each package says what it is for. It has no code of its own.
package shape
