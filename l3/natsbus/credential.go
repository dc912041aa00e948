package natsbus

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Users of the bus.
const (
	ControlUser = "control"
	agentUser   = "agent:"
)

// AgentUser returns the user name of a host's agent.
func AgentUser(host string) string { return agentUser + host }

// Credential returns the password of a host's agent under an embedded server's secret. It is
// derived from the secret, so servers store no passwords, and all servers with the secret accept
// it. Only a new secret revokes it.
func Credential(secret []byte, host string) string { return Password(secret, AgentUser(host)) }

// ControlCredential returns the password of [ControlUser].
func ControlCredential(secret []byte) string { return Password(secret, ControlUser) }

// Password returns the password of a user: HMAC-SHA-256 (RFC 2104) of a prefix and the user name,
// in base64url without padding.
func Password(secret []byte, user string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("l3kit natsbus\x00" + user))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// authentic reports whether the password is the user's.
func authentic(secret []byte, user, password string) bool {
	return hmac.Equal([]byte(Password(secret, user)), []byte(password))
}

// hostOfUser returns the host of an agent's user name.
func hostOfUser(user string) (host string, ok bool) {
	host, ok = strings.CutPrefix(user, agentUser)
	return host, ok && host != ""
}
