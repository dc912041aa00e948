package dataplane

import "net/netip"

// Validate returns nil, or [Faults] with every fault of the limit by itself.
func (l Limit) Validate() error {
	var c checker
	if why := unusable4(l.Addr); why != "" {
		c.fault("Limit.Addr", "%s", why)
	}
	c.bandwidths("Limit", l)
	return c.err()
}

func (c *checker) limits(r *Router) {
	if len(r.Limits) == 0 {
		return
	}
	answers := make(map[netip.Addr]bool, len(r.FloatingIPs)+len(r.PortForwardings))
	for _, f := range r.FloatingIPs {
		answers[f.Addr] = true
	}
	for _, f := range r.PortForwardings {
		answers[f.Addr] = true
	}
	known := make(map[netip.Addr]string, len(r.Limits))
	for i, l := range r.Limits {
		path := index("Limits", i)
		if why := unusable4(l.Addr); why != "" {
			c.fault(path+".Addr", "%s", why)
		} else if !answers[l.Addr] && !r.Gateway.has(l.Addr) {
			c.fault(path+".Addr", "%s is no address of the gateway, no floating IP, and no port of it is forwarded", l.Addr)
		} else if taken := unique(known, l.Addr, path); taken != "" {
			c.fault(path+".Addr", "%s is also %s.Addr", l.Addr, taken)
		}
		c.bandwidths(path, l)
	}
}

func (c *checker) bandwidths(path string, l Limit) {
	if l.Egress.IsZero() && l.Ingress.IsZero() {
		c.fault(path, "limits neither direction")
	}
	c.bandwidth(path+".Egress", l.Egress)
	c.bandwidth(path+".Ingress", l.Ingress)
}

func (c *checker) bandwidth(path string, b Bandwidth) {
	switch {
	case b.IsZero():
	case b.Rate == 0:
		c.fault(path+".Rate", "is missing")
	case b.Rate > maxRate:
		c.fault(path+".Rate", "%d kbit/s is more than %d", b.Rate, maxRate)
	}
	if b.Burst > maxBurst {
		c.fault(path+".Burst", "%d kbit is more than %d", b.Burst, maxBurst)
	}
}
