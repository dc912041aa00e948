package host

import (
	"os"

	"golang.org/x/sys/unix"
)

// kernel is what the heartbeat says of the kernel: its release, and which of the parts that routers
// can use it has shown to have.
func kernel() map[string]any {
	features := []string{}
	for _, f := range []struct{ name, path string }{
		{"ipv6", "/proc/net/if_inet6"},
		{"conntrack", "/proc/sys/net/netfilter/nf_conntrack_max"},
		{"openvswitch", "/sys/module/openvswitch"},
	} {
		if _, err := os.Stat(f.path); err == nil {
			features = append(features, f.name)
		}
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return map[string]any{"kernel_features": features}
	}
	return map[string]any{"kernel": unix.ByteSliceToString(u.Release[:]), "kernel_features": features}
}
