package lab

import (
	"os"
	"strconv"
	"time"
)

// Patience is how long a test may take here for what takes at most d on an ordinary machine: d
// times the number in the environment variable L3KIT_PATIENCE, which is 1 if it is missing or no
// positive number. A virtual machine without KVM needs about 5. Tests use it for waits that only a
// failure makes long, and for the time in which what must not happen is looked for: so it never
// makes a failing test pass.
func Patience(d time.Duration) time.Duration {
	factor, err := strconv.ParseFloat(os.Getenv("L3KIT_PATIENCE"), 64)
	if err != nil || !(factor > 0) {
		return d
	}
	return time.Duration(float64(d) * factor)
}
