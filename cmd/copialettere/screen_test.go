package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"copialettere/cmd/copialettere/config"
)

// directionMarks are all characters that change the direction of text.
const directionMarks = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

func TestScreen(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"text", "Perché no? €\n\ttab\n", "Perché no? €\n\ttab\n"},
		{"Hebrew and emoji", "שלום 👩\u200d👩", "שלום 👩\u200d👩"},
		{"direction marks", directionMarks + ".", strings.Repeat("?", 12) + "."},
		{"controls", "a\x00\x07\x08\x1b[2J\x7f\u0085\u009bz", "a????[2J???z"},
		{"separators of lines", "a\u2028b\u2029", "a?b?"},
		{"line ends", "a\r\nb\rc\r", "a\r\nb?c?"},
		{"bytes that are no UTF-8", "a\x9b31m\xe2\x80", "a\ufffd31m\ufffd\ufffd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, len(test.text)} {
				var out bytes.Buffer
				s := &screen{to: &out}
				for rest := test.text; rest != ""; {
					n := min(size, len(rest))
					if wrote, err := s.Write([]byte(rest[:n])); wrote != n || err != nil {
						t.Fatalf("%d, %v", wrote, err)
					}
					rest = rest[n:]
				}
				s.close()
				if out.String() != test.want {
					t.Errorf("in pieces of %d: %q, want %q", size, out.String(), test.want)
				}
			}
		})
	}
	if got := printable("a\tb\nc" + directionMarks); got != "a?b?c"+strings.Repeat("?", 12) {
		t.Errorf("within a line: %q", got)
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("a\r\n\u202e\x9b"), 1)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var whole, pieces bytes.Buffer
		one, two := &screen{to: &whole}, &screen{to: &pieces}
		one.Write(text)
		one.close()
		cut = max(0, min(cut, len(text)))
		two.Write(text[:cut])
		two.Write(text[cut:])
		two.close()
		if whole.String() != pieces.String() || !utf8.Valid(whole.Bytes()) {
			t.Errorf("%q and %q", &whole, &pieces)
		}
		for _, r := range strings.NewReplacer("\r\n", "", "\n", "", "\t", "").Replace(whole.String()) {
			if steers(r) {
				t.Errorf("%U in %q", r, &whole)
			}
		}
		quoted, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		if json.Unmarshal(quoted, &before) != nil || json.Unmarshal(escapeJSON(quoted), &after) != nil || before != after {
			t.Errorf("%q became %q", before, after)
		}
	})
}

// TestDirectionMarks: no command lets a sender change the direction of text; JSON keeps the marks, escaped.
func TestDirectionMarks(t *testing.T) {
	message, err := os.ReadFile("testdata/bidi.eml")
	if err != nil {
		t.Fatal(err)
	}
	const subject = "fattura\u2066\u202dfdp\u2069.exe \u2067x\u202by\u200fz"
	p := newPlace(t)
	p.must("init")
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	hostile := strings.Replace(string(message), "<bidi@e.test>", "<"+directionMarks+"@e.test>", 1)
	p.deliver(hostile, anna, anna)
	steered := func(s string) bool { return strings.ContainsFunc(strings.ReplaceAll(s, "\n", ""), steers) }
	for _, command := range [][]string{
		{"list", anna}, {"why", anna}, {"list", anna, "-json"}, {"why", anna, "-json"}, {"parts", anna, folder(t, p), "1"},
		{"why", anna, "-message-id", directionMarks}, {"cat", anna, "INBOX/2026-11\u202e", "1"}, {"nothing\u202e"}, {"list", "\u202e\x1b[2J"},
	} {
		_, out, errs := p.run(command...)
		if steered(out) || steered(errs) {
			t.Errorf("%q printed %q and %q", command, out, errs)
		}
	}
	list := p.entries(anna)
	if len(list) != 1 || list[0].Subject != subject || list[0].MessageID != "<"+directionMarks+"@e.test>" {
		t.Errorf("%+v", list)
	}
	if out := p.must("cat", anna, folder(t, p), "1"); out != hostile {
		t.Errorf("not the exact bytes: %q", out)
	}
	// The output on a terminal is not exact, but safe.
	var out bytes.Buffer
	in := &invocation{stdout: &screen{to: &out}}
	if w := in.content(); w != &out {
		t.Errorf("%T takes the bytes of a message that go to a file", w)
	}
	terminal, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // a device of characters, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	in = &invocation{stdout: &screen{to: terminal}}
	if w := in.content(); w != in.stdout {
		t.Errorf("%T takes the bytes of a message that go to a terminal", w)
	}
}

// folder returns the folder of the only entry.
func folder(t *testing.T, p *place) string {
	t.Helper()
	list := p.entries(anna)
	if len(list) != 1 {
		t.Fatalf("%d entries", len(list))
	}
	return list[0].Folder
}

// TestLogInJSON: the log keeps a sender's text, escaped.
func TestLogInJSON(t *testing.T) {
	var out bytes.Buffer
	c := &config.Config{Log: config.Log{Level: slog.LevelInfo, Format: config.LogJSON}}
	newLogger(&invocation{stderr: &screen{to: &out}}, c, slog.LevelInfo).Info("message", "id", "\u202e\x9b"+directionMarks)
	var line struct{ ID string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.ID != "\u202e\ufffd"+directionMarks || strings.ContainsFunc(strings.TrimSpace(out.String()), steers) {
		t.Errorf("%v: %q", err, &out)
	}
}
