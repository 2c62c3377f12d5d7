package imapd

import (
	"testing"

	"golang.org/x/text/cases"
)

// FuzzFolded compares folding in runs with folding at once.
func FuzzFolded(f *testing.F) {
	for _, s := range []string{"Lana", "PERCHÉ no", "Straße İstanbul ΣΑΣ ﬁ", "e\u0301E\u0301", "\xff\xc3A\xe9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := &search{fold: cases.Fold()}
		if got, want := q.folded(s), cases.Fold().String(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	})
}
