// Package l3test is what tests of an L3 service, its stores and its buses share: fresh databases of
// every kind, the conformance suites of [l3.Store] and [l3.Bus], and an auditor that looks for what
// no rule allows in a whole database. For programs that embed or use the service, [Start] starts a
// complete deployment that needs no root.
package l3test
