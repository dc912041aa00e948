package natsbus

import (
	"encoding/hex"
	"strings"
)

// Names of what the bus keeps in the control plane's account. A bucket is the stream KV_<bucket>
// with the subjects $KV.<bucket>.<key>.
const (
	bucketRouters = "routers"
	bucketAgents  = "agents"
	bucketPeers   = "peers"
	streamReports = "reports"

	// keyComplete and keyIdentity are keys of the bucket routers. No router has them, because the
	// key of a router on a host has two parts.
	keyComplete = "complete"
	keyIdentity = "identity"
	// keyProbe is a key of the bucket agents. No host has it, because the key of a host has one
	// part.
	keyProbe = "control.probe"
	// keyMark is a key of the bucket peers, and the second part of a key of the bucket routers. It
	// is the token of the empty name, which no host and no router has.
	keyMark = "="

	subjectReports = "reports."
	subjectSession = "session."

	subjectQuestions = "questions."
	subjectAnswers   = "answers."
)

func streamOf(bucket string) string       { return "KV_" + bucket }
func subjectOf(bucket, key string) string { return "$KV." + bucket + "." + key }

func routerKey(host, routerID string) string { return Token(host) + "." + Token(routerID) }

// Token writes a name as one part of a subject, so that no name can widen an import: letters,
// digits,
// - and _ stand for themselves, every other byte is = and two hexadecimal digits. "node1.example" is
// "node1=2Eexample". The empty name is a single =.
func Token(name string) string {
	if name == "" {
		return "="
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'=', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// name is the inverse of Token. It refuses what Token does not write, so each name has one token.
func name(token string) (string, bool) {
	if token == "=" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", false
		}
		raw, err := hex.DecodeString(token[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.Write(raw)
		i += 2
	}
	return b.String(), token != "" && Token(b.String()) == token
}
