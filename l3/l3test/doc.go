// Package l3test is what tests of an L3 service and of its stores share: fresh databases of every
// kind, the conformance suite of [l3.Store], and an auditor that looks for what no rule allows in a
// whole database.
package l3test
