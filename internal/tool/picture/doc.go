// Command picture draws the picture of the README. Its source is overview.go; make picture writes
// overview.svg, and a test fails when that is stale.
package main
