package search

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestFold(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"  ANNA \t\r\n Rossi ":         "anna rossi",
		"Perché PERCHE\u0301 perche":   "perche perche perche",
		"dell’avviso":                  "dell'avviso",
		"lʼufficio":                    "l'ufficio",
		"nº 1ª":                        "n° 1°",
		"ﬁrma co\u00adop":              "firma coop",
		"Straße STRASSE":               "strasse strasse",
		"“Øre”\u00a0– Łódź":            `"ore" - lodz`,
		"a\x00b\nc\u2028d":             "a b c d",
		"\xff\xfe":                     "\ufffd\ufffd",
		"①２":                           "12",
		"İstanbul":                     "istanbul",
		"posta-certificata 123/A-2026": "posta-certificata 123/a-2026",
	} {
		if got := fold(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzFold checks that folding a folded text changes nothing, and that it holds nothing by which records are divided.
func FuzzFold(f *testing.F) {
	f.Add("Perché\x00\n ’ ª ﬁ \xff")
	f.Fuzz(func(t *testing.T, text string) {
		once := fold(text)
		if !utf8.ValidString(once) || strings.ContainsFunc(once, unicode.IsControl) || strings.Contains(once, "  ") {
			t.Errorf("%q: %q", text, once)
		}
		if twice := fold(once); twice != once {
			t.Errorf("%q: %q, then %q", text, once, twice)
		}
		if got := string(appendFolded([]byte("before "), text)); got != "before "+once {
			t.Errorf("%q after others: %q", text, got)
		}
	})
}
