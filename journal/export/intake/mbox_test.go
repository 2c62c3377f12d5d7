package intake

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
)

// found is what a walk finds, in short.
type found struct {
	folder, source, quoting, text string
	date                          time.Time
}

// walkBytes walks a file in memory.
func walkBytes(t testing.TB, name string, content []byte) (pieces []found, left []Left) {
	t.Helper()
	for f, err := range WalkFile(t.Context(), bytes.NewReader(content), int64(len(content)), Options{Limits: UploadLimits(), Name: name, Temp: t.TempDir()}) {
		if err != nil {
			t.Fatal(err)
		}
		pieces, left = add(t, pieces, left, f)
	}
	return pieces, left
}

func add(t testing.TB, pieces []found, left []Left, f Found) ([]found, []Left) {
	t.Helper()
	if f.Left != nil {
		return pieces, append(left, *f.Left)
	}
	text, err := io.ReadAll(f.Message)
	if err != nil {
		t.Fatal(err)
	}
	if f.Size >= 0 && f.Size != int64(len(text)) {
		t.Errorf("%s: %d bytes, said to be %d", f.Piece.Source, len(text), f.Size)
	}
	return append(pieces, found{f.Folder, f.Piece.Source, f.Quoting, string(text), f.Date}), left
}

func texts(pieces []found) (list []string) {
	for _, p := range pieces {
		list = append(list, p.text)
	}
	return list
}

const (
	one   = "From: a@alpha.test\nSubject: uno\n\nCiao.\n"
	two   = "From: b@alpha.test\nSubject: due\n\nCiao.\n"
	dated = "From a@alpha.test Mon May  6 07:08:09 2019\n"
)

// crlf returns a text with CRLF.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// TestMbox splits mboxes as makers of mail programs write them.
func TestMbox(t *testing.T) {
	two, dated := two, dated
	mbox := func(first, second string) string { return first + one + "\n" + second + two + "\n" }
	both := []string{one, two}
	length := func(body string) string {
		return fmt.Sprintf("From: a@alpha.test\nContent-Length: %d\n\n%s", len(body), body)
	}
	inner := "Allegato:\n\n" + dated + two
	for _, test := range []struct {
		name  string
		mbox  string
		want  []string
		notes int
	}{
		{"plain", mbox(dated, dated), both, 0},
		{"CRLF", crlf(mbox(dated, dated)), []string{crlf(one), crlf(two)}, 0},
		{"no blank line at the end", dated + one + "\n" + dated + two, both, 0},
		{"many blank lines at the end", mbox(dated, dated) + "\n\n", []string{one, two + "\n\n"}, 0},
		{"no blank line between", dated + one + dated + two, both, 1},
		{"no line end at the end", strings.TrimSuffix(dated+one+"\n"+dated+two, "\n"), []string{one, strings.TrimSuffix(two, "\n")}, 0},
		{"byte order mark", "\xef\xbb\xbf" + mbox(dated, dated), both, 0},
		{"blank lines on top", "\n\r\n" + mbox(dated, dated), both, 0},
		{"undated, From -", mbox("From - \n", "From -\n"), both, 0},
		{"undated, From", mbox("From \n", "From \n"), both, 0},
		{"Thunderbird", mbox("From - Mon May  6 07:08:09 2019\n", "From - Mon May 06 07:08:09 2019\n"), both, 0},
		{"daemon", mbox("From MAILER-DAEMON Mon May  6 07:08:09 2019\n", dated), both, 0},
		{"zone before the year", mbox("From a@alpha.test Mon May  6 07:08:09 PDT 2019\n", "From a@alpha.test Mon May  6 07:08:09 2019 +0200\n"), both, 0},
		{"Takeout", mbox("From 1632@xxx Mon May 06 07:08:09 +0000 2019\n", "From 1633@xxx\n"), both, 0},
		{"pipermail", mbox("From a at alpha.test  Mon May  6 07:08:09 2019\n", "From b at alpha.test  Mon May  6 07:08:09 2019\n"), both, 0},
		{"readpst", mbox("From \"Mario Rossi\" Mon May  6 07:08:09 2019\n", dated), both, 0},
		{"no weekday", mbox("From a@alpha.test May  6 07:08:09 2019\n", dated), both, 0},
		{"ISO date", mbox("From a@alpha.test 2019-05-06T07:08:09\n", dated), both, 0},
		{"date of a mail", mbox("From a@alpha.test Mon, 6 May 2019 07:08:09 +0200\n", dated), both, 0},
		{">From on the second line", mbox(dated+">From - Mon May  6 07:08:09 2019\n", dated), []string{">From - Mon May  6 07:08:09 2019\n" + one, two}, 0},
		{"From line in a text", dated + one + "\nFrom here on it rains.\nAnd so on.\n\n" + dated + two, []string{one + "\nFrom here on it rains.\nAnd so on.\n", two}, 1},
		{"From as a header field", dated + "From : a@alpha.test\nSubject: uno\n\nCiao.\n\n" + dated + two, []string{"From : a@alpha.test\nSubject: uno\n\nCiao.\n", two}, 0},
		{"message without a header", dated + "\nCiao.\n\n" + dated + two, []string{"\nCiao.\n", two}, 0},
		{"right Content-Length", dated + length(inner) + "\n" + dated + two, []string{length(inner), two}, 0},
		{"right Content-Length, CRLF", crlf(dated) + strings.Replace(crlf(length(inner)), fmt.Sprint(": ", len(inner)), fmt.Sprint(": ", len(crlf(inner))), 1) + "\r\n" + crlf(dated+two),
			[]string{strings.Replace(crlf(length(inner)), fmt.Sprint(": ", len(inner)), fmt.Sprint(": ", len(crlf(inner))), 1), crlf(two)}, 0},
		{"Content-Length too long", dated + "Content-Length: 70\n" + one + "\n" + mbox(dated, dated), []string{"Content-Length: 70\n" + one, one, two}, 1},
		{"Content-Length too short", dated + "Content-Length: 3\n" + one + "\n" + dated + two, []string{"Content-Length: 3\n" + one, two}, 1},
		{"Content-Length no number", dated + "Content-Length: 99999999999999999999\n" + one + "\n" + dated + two, []string{"Content-Length: 99999999999999999999\n" + one, two}, 1},
		{"long lines", dated + one + strings.Repeat("x", 300_000) + "\n\n" + dated + two, []string{one + strings.Repeat("x", 300_000) + "\n", two}, 0},
		{"long header", dated + "X-Long: " + strings.Repeat("x", 100_000) + "\n" + one + "\n" + dated + two, []string{"X-Long: " + strings.Repeat("x", 100_000) + "\n" + one, two}, 0},
		{"folded field after an undated line", mbox("From -\n", "From -\nX-A: b\n\tc\n"), []string{one, "X-A: b\n\tc\n" + two}, 0},
		{"empty message", dated + dated + two, []string{two}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			pieces, left := walkBytes(t, "Lavoro.mbox", []byte(test.mbox))
			if got := texts(pieces); !slices.Equal(got, test.want) {
				t.Errorf("%d messages %q, want %q", len(got), got, test.want)
			}
			if len(left) != test.notes {
				t.Errorf("notes %+v, want %d", left, test.notes)
			}
			for _, p := range pieces {
				if p.folder != "Lavoro" || (p.quoting != "none") != strings.HasPrefix(p.text, ">From") {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// TestMboxPlaces says where messages are, and what is known of their quoting.
func TestMboxPlaces(t *testing.T) {
	first := dated + one + ">From me\n\n"
	second := dated + "X-Mozilla-Status: 0009\n" + two + "\n"
	pieces, left := walkBytes(t, "Posta", []byte(first+second+dated+two+">>From me\n"))
	date := time.Date(2019, time.May, 6, 7, 8, 9, 0, time.UTC)
	want := []found{
		{"Posta", "Posta at 0", "undecidable", one + ">From me\n", date},
		{"Posta", fmt.Sprint("Posta at ", len(first)+len(second)), "undecidable", two + ">>From me\n", date},
	}
	if !slices.Equal(pieces, want) {
		t.Errorf("%+v", pieces)
	}
	if len(left) != 1 || left[0].Kind != Skipped || left[0].Source != fmt.Sprint("Posta at ", len(first)) {
		t.Errorf("left %+v", left)
	}
}

// FuzzMbox splits anything: nothing is lost but From lines and what parts messages, and no two messages overlap.
func FuzzMbox(f *testing.F) {
	f.Add([]byte(dated + one + "\n" + dated + two))
	f.Add([]byte("From -\r\nA: b\r\n\r\nFrom x\r\nA: 1\r\nB: 2\r\n\r\n"))
	f.Add([]byte(dated + "Content-Length: 4\n\nabc\n" + dated))
	f.Add([]byte("From :\nFrom  \n>From \n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if !bytes.HasPrefix(content, []byte(fromLine)) {
			return
		}
		end := int64(0)
		s := splitter{file: bytes.NewReader(content), size: int64(len(content)), note: func(int64, policy.Label, ...any) error { return nil }}
		s.part = func(p part) error {
			if p.from < end || p.start < p.from || p.end < p.start || p.end > int64(len(content)) {
				t.Fatalf("%+v behind %d of %d", p, end, len(content))
			}
			if between := content[end:p.from]; len(between) > 0 && len(bytes.Trim(between, "\r\n")) > 0 {
				t.Fatalf("%q is lost", between)
			}
			if line := content[p.from:p.start]; !bytes.HasPrefix(line, []byte(fromLine)) || bytes.IndexByte(line[:max(len(line)-1, 0)], '\n') >= 0 {
				t.Fatalf("From line %q", line)
			}
			end = p.end
			return nil
		}
		if err := s.split(0); err != nil {
			t.Fatal(err)
		}
		if rest := content[end:]; len(bytes.Trim(rest, "\r\n")) > 0 {
			t.Fatalf("%q is lost at the end", rest)
		}
	})
}

// TestMboxDates takes the date of a From line for a message that has none of its own.
func TestMboxDates(t *testing.T) {
	const without, with = "From: a@alpha.test\n\nCiao.\n", "From: a@alpha.test\nDate: Tue, 7 May 2019 07:08:09 +0200\n\nCiao.\n"
	for line, want := range map[string]string{
		"From a@alpha.test Mon May  6 07:08:09 2019":       "2019-05-06T07:08:09Z",
		"From a@alpha.test Mon May  6 07:08 2019":          "2019-05-06T07:08:00Z",
		"From - Mon May 06 07:08:09 2019":                  "2019-05-06T07:08:09Z",
		"From a@alpha.test Mon May  6 07:08:09 2019 +0200": "2019-05-06T05:08:09Z",
		"From a@alpha.test Mon May  6 07:08:09 -0330 2019": "2019-05-06T10:38:09Z",
		"From a@alpha.test May 6 07:08:09 2019\r":          "2019-05-06T07:08:09Z",
		"From a@alpha.test Mon May  6 07:08:09 PDT 2019":   "",
		"From a@alpha.test Mon May 36 07:08:09 2019":       "",
		"From -": "",
	} {
		pieces, _ := walkBytes(t, "Lavoro.mbox", []byte(line+"\n"+without+"\n"+line+"\n"+with))
		if len(pieces) != 2 {
			t.Fatalf("%q: %d messages", line, len(pieces))
		}
		got := ""
		if at := pieces[0].date; !at.IsZero() {
			got = at.Format(time.RFC3339)
		}
		if got != want || !pieces[1].date.IsZero() {
			t.Errorf("%q: %q, want %q; with a date of its own %s", line, got, want, pieces[1].date)
		}
	}
}
