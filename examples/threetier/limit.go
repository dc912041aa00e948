package main

import (
	"context"
	"fmt"
	"time"
)

// limit is the bandwidth of the address whose port is forwarded, in kbit/s. A download alone takes
// four times as much.
const limit = 16_000

// limited shows a download by the limited address beside one by another.
func limited(ctx context.Context, s *site, out *report) {
	began := time.Now()
	slow, err := startFetch(ctx, s.provider, clientAddr, forwardedURL)
	if err != nil {
		out.check("the client downloads from db by the limited address", "", err)
		return
	}
	defer slow.close()
	fast, err := startFetch(ctx, s.provider, clientAddr, publicURL)
	if err != nil {
		out.check("the client downloads from www by the other address", "", err)
		return
	}
	defer fast.close()
	for range 12 { // it takes as long as 12 MB of the other one
		if err = fast.more(ctx); err != nil {
			break
		}
	}
	took := time.Since(began)
	// What was not used in the last second may be used at once.
	passed, most := slow.total(), int64((took+time.Second).Seconds()*limit*1000/8)
	if err == nil && passed > most {
		err = fmt.Errorf("%s in %s", megabytes(passed), brief(took))
	}
	out.check(fmt.Sprintf("db's download keeps to %d Mbit/s", limit/1000), fmt.Sprintf("%s in %s", megabytes(passed), brief(took)), err)
	out.note("meanwhile www's, by another address", megabytes(fast.total()))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
