package rest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/l3"
)

// Tokens knows callers by fixed tokens in X-Auth-Token. Make one with [ReadTokens].
type Tokens struct {
	// By the hash of the token, so that how long a search takes says nothing about the tokens that
	// there are.
	callers map[[sha256.Size]byte]l3.Caller
}

// ReadTokens reads a YAML file, which it does not watch. It refuses one that everybody can read, or
// that others than its owner can change: whoever reads it is everybody in it.
//
//   - token: 6f0c…        # as long and random as a password
//     project: 9a3e…      # ID
//     user: 1b7d…         # ID; may be missing
//     roles: [member]     # or reader, manager, admin; without any, a caller may do nothing
func ReadTokens(file string) (*Tokens, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const othersOrGroupWrite = 0o007 | 0o020
	if mode := info.Mode().Perm(); mode&othersOrGroupWrite != 0 {
		return nil, fmt.Errorf("%s: others than its owner can read or change the tokens (%s): chmod g-w,o= it, and replace them "+
			"if they are not to be trusted", file, mode)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	var entries []struct {
		Token   string   `json:"token"`
		Project string   `json:"project"`
		User    string   `json:"user"`
		Roles   []string `json:"roles"`
	}
	if err := yaml.UnmarshalStrict(b, &entries); err != nil {
		if errors.As(err, new(*json.UnmarshalTypeError)) { // whose text is in Go's words
			err = errors.New("it is not a list of entries with token, project, user, and a list of roles")
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s: it has no tokens, so nobody could use the API", file)
	}
	t := &Tokens{callers: make(map[[sha256.Size]byte]l3.Caller, len(entries))}
	for i, e := range entries {
		key := sha256.Sum256([]byte(e.Token))
		_, twice := t.callers[key]
		fault := ""
		switch {
		case e.Token == "":
			fault = "the token is missing"
		case e.Project == "":
			fault = "the project is missing"
		case twice:
			fault = "an earlier entry has the same token"
		}
		if fault != "" {
			return nil, fmt.Errorf("%s: entry %d: %s", file, i+1, fault)
		}
		t.callers[key] = caller(e.Project, e.User, e.Roles)
	}
	return t, nil
}

// Authenticate looks the token up.
func (t *Tokens) Authenticate(r *http.Request) (l3.Caller, error) {
	who, ok := t.callers[sha256.Sum256([]byte(r.Header.Get("X-Auth-Token")))]
	if !ok {
		return l3.Caller{}, &Unauthorized{Reason: "unknown token"}
	}
	return who, nil
}
