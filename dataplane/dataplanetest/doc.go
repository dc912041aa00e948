// Package dataplanetest holds any [dataplane.Dataplane] to its contract, clause by clause, with
// packets.
//
// [Run] is the suite. What it cannot know about a host it is told by a [Harness]; [Kernel] is a
// ready one for everything that realises routers as network namespaces of a Linux machine, and
// [Fake] one for [dataplane.Fake]. A dataplane of your own passes if this does:
//
//	func TestConformance(t *testing.T) {
//		dataplanetest.Run(t, dataplanetest.Kernel(open))
//	}
//
// Every clause has a host to itself, says when it fails which promise was broken and why that
// matters, and compares each packet with the reference model ([dataplane.Router.Trace]) besides.
// The clauses P1 to P16 are rows of the table of what packets must experience; the others are the
// promises of the methods of Dataplane. Positive expectations have seconds to come true, so that a
// busy machine fails nothing; that something does not arrive is judged after a quarter of a second,
// and can only err to the dataplane's good.
package dataplanetest
