package sqlstore

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// What is nil stays nil, and an empty list stays one: a document is read as it was written.
var encoding1 = json.JoinOptions(
	json.FormatNilSliceAsNull(true),
	json.FormatNilMapAsNull(true),
	jsonv1.OmitEmptyWithLegacySemantics(true),
)

// encode writes a document. PostgreSQL cannot keep the character NUL in a string, and both refuse
// it, so that they keep the same.
func encode(v any) ([]byte, error) {
	doc, err := json.Marshal(v, encoding1)
	if err != nil {
		return nil, refuse("cannot be stored: %v", err)
	}
	if hasNUL(doc) {
		return nil, refuse("a string must not contain the character NUL")
	}
	return doc, nil
}

// hasNUL looks for the escape of NUL, which is written in no other way, before which there is an
// even number of backslashes.
func hasNUL(doc []byte) bool {
	escape := []byte(`\u0000`)
	for {
		i := bytes.Index(doc, escape)
		if i < 0 {
			return false
		}
		before := len(doc[:i]) - len(bytes.TrimRight(doc[:i], `\`))
		if before%2 == 0 {
			return true
		}
		doc = doc[i+len(escape):]
	}
}

func decode(doc []byte, v any) error { return json.Unmarshal(doc, v) }

// storable says whether a string can be in a document.
func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
