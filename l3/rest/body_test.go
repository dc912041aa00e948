package rest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBodyIsText: what is not text is refused with where it is, and not stored in another form.
func TestBodyIsText(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		p := c.port(c.member, n.ID)
		for body, says := range map[string]string{
			"{\"network\": {\"name\": \"\xff\"}}":           "The request body is not UTF-8: byte 23",
			"{\"network\": {\"\xc3\": \"\"}}":               "The request body is not UTF-8: byte 15",
			"\xff\xfe{\x00}\x00":                            "The request body is not UTF-8: byte 1",
			"{\"network\": {\"name\": \"\xed\xa0\x80\"}}":   "The request body is not UTF-8: byte 23", // a surrogate
			`{"network": {"name": "\ud800"}}`:               "half of a surrogate pair, which is no character: byte 23",
			`{"network": {"name": "\ud800x\udc00"}}`:        "half of a surrogate pair, which is no character: byte 23",
			`{"network": {"name": "\ud800\u0041"}}`:         "half of a surrogate pair, which is no character: byte 23",
			`{"network": {"name": "\\\\\uDC00"}}`:           "half of a surrogate pair, which is no character: byte 27",
			`{"network": {"tags": ["\ud83d\ude00\ud83d"]}}`: "half of a surrogate pair, which is no character: byte 36",
			`{"network": `:              "The request body is not JSON: it ends too early, after byte 12",
			`{"network": ü}`:            "The request body is not JSON: byte 13",
			`{"network": {}}]`:          "The request body has more after its JSON",
			`{"network": {"name": 01}}`: "The request body is not JSON: byte 23",
		} {
			status, answer := c.raw(c.member, "POST", "networks", body)
			require.Equal(c, http.StatusBadRequest, status, "%q: %s", body, answer)
			message := messageOf(c.T, answer)
			require.Contains(c, message, says, "%q", body)
			require.NotContains(c, message, "character '")
		}
		for _, r := range []string{
			`PUT ports/` + p.ID + ` {"port": {"description": "\udfff"}}`,
			`PUT networks/` + n.ID + `/tags {"tags": ["\udfff"]}`,
		} {
			method, rest := cut(r)
			path, body := cut(rest)
			status, answer := c.raw(c.member, method, path, body)
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", r, answer)
		}
		status, answer := c.raw(c.admin, "PUT", "ports/"+p.ID, `{"port": {"binding:profile": {"a": "\ud800"}}}`)
		require.Equal(c, http.StatusBadRequest, status, answer)

		status, answer = c.raw(c.member, "GET", "networks", "")
		require.Equal(c, http.StatusOK, status)
		require.NotContains(c, answer, "\ufffd")
		// Whatever is a character stays: escaped or not, and the replacement character too.
		for given, shown := range map[string]string{
			`"\ud83d\ude00"`: "😀", `"😀"`: "😀", `"\\ud800"`: `\\ud800`, `"\ufffd"`: "\ufffd", `"\u00E9é"`: "éé", `"\\\\\ud83d\ude00"`: `\\\\😀`,
		} {
			status, answer = c.raw(c.member, "POST", "networks", `{"network": {"name": `+given+`}}`)
			require.Equal(c, http.StatusCreated, status, "%s: %s", given, answer)
			require.Contains(c, answer, `"name":"`+shown+`"`)
		}
	})
}

// TestMalformedQuery: a query that cannot be read is refused in the words of the API.
func TestMalformedQuery(t *testing.T) {
	for query, says := range map[string]string{
		"name=%zz":     "The query is malformed: '%zz' is not a percent-encoded byte",
		"name=%":       "The query is malformed: '%' is not a percent-encoded byte",
		"name=a;id=b":  "The query is malformed: parameters must be separated by &",
		"created_at=x": "'x' is not a time such as 2026-01-31T12:00:00Z",
	} {
		w := ask(api(&fake{}), "GET", "/v2.0/networks?"+query, "")
		require.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", query, w.Body)
		_, message := refusal(t, w)
		require.Contains(t, message, says)
	}
}
