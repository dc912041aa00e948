// Package frame makes and reads the Ethernet frames that tests and probes put on a wire and take
// off it: IP packets as a router sees them, and neighbours' questions and answers.
package frame
