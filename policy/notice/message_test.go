package notice

import (
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"testing"
	"unicode/utf8"

	"copialettere/policy"
)

// decoded returns the subject and the body of a notice as a mail program shows them.
func decoded(t *testing.T, message []byte) (subject, body string) {
	t.Helper()
	m := read(t, string(message))
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return subject, strings.ReplaceAll(string(b), "\r\n", "\n")
}

// testQueue returns a queue without a store, which can write texts.
func testQueue() *Queue { return New(nil, Options{From: sender, Host: "mx.alpha.test"}) }

// checkForm checks the form of a notice: exactly the header that we wrote, short lines, CRLF, ASCII.
func checkForm(t *testing.T, message []byte) {
	t.Helper()
	header, _, _ := strings.Cut(string(message), "\r\n\r\n")
	var names []string
	for line := range strings.SplitSeq(header, "\r\n") {
		if !strings.HasPrefix(line, " ") {
			name, _, _ := strings.Cut(line, ":")
			names = append(names, name)
		}
	}
	want := "From To Subject Date Message-ID Auto-Submitted Content-Language MIME-Version Content-Type Content-Transfer-Encoding"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("fields %s, want %s", got, want)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(message), "\r\n"), "\r\n") {
		if len(line) > 100 || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("line %q", line)
		}
	}
	for _, c := range message {
		if c > '~' || c < ' ' && c != '\r' && c != '\n' && c != '\t' {
			t.Fatalf("byte %#x in the message", c)
		}
	}
	m := read(t, string(message))
	if m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("From") != "<"+sender+">" || m.Header.Get("To") != "<"+outside+">" {
		t.Errorf("header %v", m.Header)
	}
	if date, err := m.Header.Date(); err != nil || !date.Equal(start()) {
		t.Errorf("date %v, %v", date, err)
	}
}

func TestClean(t *testing.T) {
	long := strings.Repeat("è", maxText+1)
	for _, c := range []struct{ name, value, want string }{
		{"plain", "Contratto", "Contratto"},
		{"encoded", "=?utf-8?q?Perch=C3=A9?=", "Perché"},
		{"line ends", "a\r\nBcc: x@ext.test\r\n\r\nbody", "a Bcc: x@ext.test body"},
		{"encoded line ends", "=?utf-8?q?a=0D=0ABcc:_x@ext.test?=", "a Bcc: x@ext.test"},
		{"other line ends", "a\u2028b\u2029c\u0085d", "a b c d"},
		{"zero bytes", "a\x00b\x1b[2Jc", "a b [2Jc"},
		{"direction", "invoice\u202efdp.exe\u2066\u200b", "invoicefdp.exe"},
		{"spaces", "  a \t b  ", "a b"},
		{"longest", long[:2*maxText], long[:2*maxText]},
		{"long", long, long[:2*(maxText-1)] + "…"},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := clean(c.value); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzInjection lets a sender write anything: the notice keeps its form and shows the text on one line.
func FuzzInjection(f *testing.F) {
	for _, s := range []string{
		"Contratto", "a\r\nBcc: evil@ext.test\r\n\r\nbody", "=?utf-8?q?a=0D=0A=0D=0Abody?=", "=?utf-8?b?DQpCY2M6IHg=?=", "\r\n.\r\nMAIL FROM:<>",
		"=?utf-8?q?=3D=3Futf-8=3Fq=3F=0D=0ABcc:x=3F=3D?=", "\x00\xff\xfe", strings.Repeat("=?utf-8?q?=C3=A8?= ", 300), "{subject}{more}", "\u2028\u202e",
	} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, from, about string) {
		w := &waiting{Notice: Notice{Mailbox: anna, Event: policy.NotifyCertified, Time: start(), Sender: clean(from), Subject: clean(about)}}
		for _, l := range []policy.Language{policy.Italian, policy.English} {
			message := testQueue().compose(w, "<1@alpha.test>", sender, outside, l)
			checkForm(t, message)
			subject, body := decoded(t, message)
			if !utf8.ValidString(subject) || len([]rune(subject)) > maxText+60 || strings.ContainsAny(subject, "\r\n") {
				t.Errorf("subject %q", subject)
			}
			if lines := strings.Count(body, "\n"); lines != 7 {
				t.Errorf("%d lines:\n%s", lines, body)
			}
		}
	})
}
