package frame

import "encoding/binary"

// Options of TCP (RFC 9293 3.1).
const (
	optionEnd    = 0
	optionNone   = 1
	optionMSS    = 2
	optionMSSLen = 4
)

// MSS is the maximum segment size that a segment of TCP announces, from its header on; 0 if it
// announces none.
func MSS(segment []byte) uint16 {
	if len(segment) < tcpLen {
		return 0
	}
	end := min(int(segment[12]>>4)*4, len(segment))
	for at := tcpLen; at+1 < end; {
		switch kind, n := segment[at], int(segment[at+1]); {
		case kind == optionEnd:
			return 0
		case kind == optionNone:
			at++
		case kind == optionMSS && n == optionMSSLen && at+n <= end:
			return binary.BigEndian.Uint16(segment[at+2:])
		default:
			at += max(n, 2)
		}
	}
	return 0
}
