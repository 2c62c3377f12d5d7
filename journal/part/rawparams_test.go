package part

import (
	"maps"
	"testing"
)

// TestRawParams reads parameters as IMAP shows them: pieces joined, nothing converted (RFC 2231 section 6).
func TestRawParams(t *testing.T) {
	for _, c := range []struct {
		name, value, want string
		params            map[string]string
	}{
		{"plain", `Text/Plain; Charset="utf-8"; charset=latin1`, "text/plain", map[string]string{"charset": "utf-8"}},
		{"encoded", `attachment; filename*=UTF-8''perch%C3%A9.pdf; filename=x`, "attachment",
			map[string]string{"filename*": "UTF-8''perch%C3%A9.pdf", "filename": "x"}},
		{"plain pieces", `a/b; name*1="due"; name*0=uno`, "a/b", map[string]string{"name": "unodue"}},
		{"pieces, the first encoded", `a/b; name*0*=UTF-8''perch%C3%A9; name*1=" no.pdf"`, "a/b", map[string]string{"name*": "UTF-8''perch%C3%A9%20no.pdf"}},
		{"a piece is missing", `a/b; name*0=uno; name*2=tre`, "a/b", map[string]string{"name": "uno"}},
		{"the first is missing", `a/b; name*1=due`, "a/b", map[string]string{}},
		{"nothing", "", "", map[string]string{}},
	} {
		if got, params := RawParams(c.value); got != c.want || !maps.Equal(params, c.params) {
			t.Errorf("%s: %q %q, want %q %q", c.name, got, params, c.want, c.params)
		}
	}
}
