package dataplane

import "sync/atomic"

// Flow is a connection through a router of a [FakeHost], from [FakeHost.Open].
type Flow struct {
	Trace Trace // of its first packet, at the time when it began
	ended atomic.Bool
}

// Alive says that packets of the connection pass, both ways. A connection ends when its router is
// deleted, or would no longer translate and forward its first packet as it did; it does not come
// back. One whose first packet did not arrive, or got no answer from the router that it was for,
// never lived.
func (f *Flow) Alive() bool { return !f.ended.Load() }

// stands says that the first packet found somebody to talk to.
func (f *Flow) stands() bool {
	return f.Trace.Verdict == Forwarded || f.Trace.Verdict == Local && f.Trace.Answered
}

// keeps says that a router of this model would translate and forward a connection as it was: to the
// same receiver, from the same sender. By which port is not asked; a port that is no longer there
// is that by which the sender is reached now.
func (m *Model) keeps(was Trace) bool {
	p := was.Packet
	if p.In != "" && m.ports[p.In] == nil {
		if p.In, _ = m.PortTo(p.Src); p.In == "" {
			return false
		}
	}
	for _, t := range m.Paths(p) {
		if t.Verdict == was.Verdict && t.Src == was.Src && t.Dst == was.Dst && t.DstPort == was.DstPort {
			return true
		}
	}
	return false
}
