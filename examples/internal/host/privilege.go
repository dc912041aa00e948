package host

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// Privileged fails when this process may not change the network of the host, whatever else is
// right.
func Privileged() error {
	var have [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0]); err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	for _, c := range []int{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN} {
		if have[0].Effective&(1<<c) == 0 {
			return fmt.Errorf("%w, because it makes network devices and enters network namespaces: run it as root", dataplane.ErrPermission)
		}
	}
	return nil
}
