package nftables

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// metadata are the chains of a router that answers at the metadata address. It does so inside only:
// neither the external network nor another instance asks for metadata, and a client whose way back
// leads there has lied about its address. At the IPv6 address the kernel sees to it.
func (i instance) metadata() []*chain {
	if !i.servesMetadata {
		return nil
	}
	ask := []rule{
		// ip daddr 169.254.169.254 iifname @external drop
		newRule("metadata is for hosts inside", daddr(), isMetadata(), iifname(), in(external), verdict(expr.VerdictDrop)),
	}
	answer := []rule{
		// ip saddr 169.254.169.254 oifname @external drop
		newRule("nor does anybody outside get an answer", saddr(), isMetadata(), oifname(), in(external), verdict(expr.VerdictDrop)),
	}
	if i.transit {
		// ip daddr 169.254.169.254 iifname @transit drop
		ask = append(ask, newRule("each instance answers its own", daddr(), isMetadata(), iifname(), in(transit), verdict(expr.VerdictDrop)))
		// ip saddr 169.254.169.254 oifname @transit drop
		answer = append(answer, newRule("each instance answers its own", saddr(), isMetadata(), oifname(), in(transit), verdict(expr.VerdictDrop)))
	}
	return []*chain{
		{"metadata_in", hook{"filter", unix.NF_INET_LOCAL_IN, 0, accept}, ask},
		{"metadata_out", hook{"filter", unix.NF_INET_LOCAL_OUT, 0, accept}, answer},
	}
}

// isMetadata compares the address that is loaded.
func isMetadata() []expr.Any {
	four, _ := dataplane.MetadataAddrs()
	return []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: four.AsSlice()}}
}
