package natsbus

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Users of the bus. The control plane's may do everything; an agent's is followed by its host, see [AgentUser].
const (
	ControlUser = "control"
	agentUser   = "agent:"
)

// AgentUser is the user name of a host's agent.
func AgentUser(host string) string { return agentUser + host }

// Credential is the password of a host's agent under an embedded server's secret. It is derived, so servers store none, and all servers of one secret
// take it. Nothing but a new secret revokes it.
func Credential(secret []byte, host string) string { return derive(secret, AgentUser(host)) }

// ControlCredential is the password of [ControlUser].
func ControlCredential(secret []byte) string { return derive(secret, ControlUser) }

// derive is HMAC-SHA-256 (RFC 2104) in the URL's base64 without padding. What it is derived for is in front, so that no user's password is another's.
func derive(secret []byte, user string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("l3kit natsbus\x00" + user))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// authentic says whether the password is the user's.
func authentic(secret []byte, user, password string) bool {
	return hmac.Equal([]byte(derive(secret, user)), []byte(password))
}

// hostOfUser is the host of an agent's user name.
func hostOfUser(user string) (host string, ok bool) {
	host, ok = strings.CutPrefix(user, agentUser)
	return host, ok && host != ""
}
