package dataplanetest

import (
	"github.com/l3kit/l3kit/internal/test/lab"
)

// Listen implements [Listener].
func (h kernelHost) Listen() (Ear, error) {
	c, err := h.h.CaptureARP("eth0")
	if err != nil {
		return nil, err
	}
	return kernelEar{c}, nil
}

type kernelEar struct{ *lab.ARPCapture }

func (e kernelEar) Heard() (heard []ARP, err error) {
	requests, err := e.ARPCapture.Requests()
	for _, r := range requests {
		heard = append(heard, ARP(r))
	}
	return heard, err
}
