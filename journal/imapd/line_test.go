package imapd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal"
	"copialettere/journal/part"
)

func TestPlainDates(t *testing.T) {
	for value, want := range map[string]bool{
		"Mon, 02 Nov 2026 09:12:00 +0100": true,
		"Sun, 29 Feb 2032 23:59:59 -1400": true,
		"Tue, 02 Nov 2026 09:12:00 +0100": false, // it was a Monday
		"Mon, 2 Nov 2026 09:12:00 +0100":  false,
		"Mon, 02 Nov 2026 24:12:00 +0100": false,
		"Mon, 02 Nov 2026 09:12:60 +0100": false,
		"Mon, 02 Nov 2026 09:12:00 -0000": false,
		"Mon, 02 Nov 2026 09:12:00 +2900": false,
		"Mon, 02 anF 2026 09:12:00 +0100": false,
		"Sun, 31 Feb 2026 09:12:00 +0100": false,
		"Mon, 02 Nov 0026 09:12:00 +0100": false,
		"Mon, 02 Nov 2026 09:12:00 CET  ": false,
	} {
		if got := isPlainDate(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

// plainHeaders are headers whose replies are lines, and some that nearly are.
var plainHeaders = []string{
	"From: a@x.test\nTo: b@y.test\nSubject: uno\nDate: Mon, 2 Nov 2026 09:12:00 +0100\nMessage-ID: <1@x.test>\n",
	"From: \"A, B\" <a@x.test>\nSender: S <s@x.test>\nReply-To: r@x.test\nTo: b@y.test, C D <c@y.test>,\"E\" <e@y.test>\nCc: f@y.test\nBcc: g@y.test\n" +
		"Subject: \"tra virgolette\" \\ due\nIn-Reply-To: <0@x.test>\nMessage-ID: <1@x.test>\nDate: 2 Nov 26 09:12 GMT\n",
	"From: =?utf-8?q?Jos=C3=A9?= <jose@x.test>\nSubject: =?utf-8?q?perch=C3=A9?=\nIn-Reply-To: <a@b> <c@d>\nMessage-ID: senza\n",
	"From: José <jose@x.test>\nSubject: perché\n",
	"From: a@x.test (A)\nTo: amici: b@x.test;\nCc: undisclosed-recipients:;\nBcc: A \"B\" C <c@x.test>\n",
	"From: A  B <a@x.test>\nTo: <b@x.test>\nCc: \"\" <c@x.test>\nBcc: \"c\\\"d\"@x.test\n",
	"From: root\nTo: a@b@x.test\nCc: @x.test\nBcc: a@\n",
	"From: a@x <b@x.test>\nTo: a@x.test,\nCc: ,a@x.test\nBcc: a@x.test b@x.test\n",
	"Subject: " + strings.Repeat("lungo ", 900) + "\nFrom:\nTo: \n",
	"From: Per conto di: anna@x.test <posta@x.test>\nTo: A B\nCc: <a@x.test> B\nBcc: A <a@x.test>>\n",
	"Subject: \tcon tabulazione\tdentro\nFrom: A\tB <a@x.test>\n",
	"Date: oggi\nSubject:\nFrom: \n",
}

// TestLines compares the replies to FETCH that are written here with those that go-imap writes, byte by byte.
func TestLines(t *testing.T) {
	r := newRig(t, nil)
	all := everyMessage(t)
	for i, header := range plainHeaders {
		all[fmt.Sprint("header ", i)] = strings.ReplaceAll(header, "\n", "\r\n") + "\r\nx\r\n"
	}
	names := slices.Sorted(maps.Keys(all))
	lines := 0
	for _, name := range names {
		ref := r.add(anna, journal.Received, all[name])
		e, err := r.journal.Entry(t.Context(), ref)
		check(t, err)
		f := &fetching{options: &imap.FetchOptions{Envelope: true}}
		if _, ok := f.appendLine(nil, 0, e); ok {
			lines++
		}
	}
	if lines < len(names)/2 {
		t.Errorf("of %d replies only %d are lines", len(names), lines)
	}
	begin := "a LOGIN " + anna + " " + password + "\r\nb EXAMINE INBOX/2026-11\r\n"
	for _, items := range []string{"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE"} {
		ours := r.answers(t, []byte(begin+"c FETCH 1:* ("+items+")\r\n"), 1<<20)
		// An item that needs a literal makes go-imap write the reply.
		theirs := r.answers(t, []byte(begin+"c FETCH 1:* ("+items+" BODY.PEEK[]<0.0>)\r\n"), 1<<20)
		theirs = strings.ReplaceAll(theirs, " BODY[]<0> \"\"", "")
		theirs = strings.ReplaceAll(theirs, " BODY[]<0> {0}\r\n)", ")")
		// Between two addresses go-imap writes a space, which is not in the grammar (RFC 3501 section 9, env-to).
		theirs, ours = strings.ReplaceAll(theirs, `") (`, `")(`), strings.ReplaceAll(ours, `") (`, `")(`)
		a, b := strings.Split(ours, "\r\n"), strings.Split(theirs, "\r\n")
		for i := range a {
			if i >= len(b) || a[i] != b[i] {
				t.Errorf("%s: %.300q, go-imap writes %.300q", items, a[i], b[min(i, len(b)-1)])
			}
		}
	}
}

// FuzzLine compares what is written of an address list with what is made of it for go-imap.
func FuzzLine(f *testing.F) {
	for _, header := range plainHeaders {
		for line := range strings.Lines(header) {
			_, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			f.Add(value)
		}
	}
	for _, date := range []string{plainDate, "Mon, 02 Nov 2026 09:12:00 +0100", "Tue, 02 Nov 2026 09:12:00 +0100", "Sat, 31 Feb 2026 09:12:00 -0000", "Sun, 29 Feb 2032 23:59:59 -1400"} {
		f.Add(date)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if isPlainDate(value) && dateOf(value).Format(plainDate) != value {
			t.Errorf("%q is read as %v", value, dateOf(value))
		}
		got, plain := appendAddresses(nil, value)
		if !plain {
			return
		}
		want := "NIL"
		if list := addresses(value); len(list) > 0 {
			want = "("
			for _, a := range list {
				name, _ := appendText(nil, a.Name)
				local, _ := appendText(nil, a.Mailbox)
				domain, _ := appendText(nil, a.Host)
				want += fmt.Sprintf("(%s NIL %s %s)", name, local, domain)
			}
			want += ")"
		}
		if string(got) != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
		if id, plain := appendID(nil, value); plain && value != "" && string(id) != `"<`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(part.MessageID(value))+`>"` {
			t.Errorf("%q: %s, want %q", value, id, part.MessageID(value))
		}
	})
}
