package notice

import (
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"testing"
	"unicode/utf8"

	"copialettere/journal"
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

func TestTexts(t *testing.T) {
	certified := Notice{Event: policy.NotifyCertified, Sender: "bruno@beta.test", Subject: "Perché no?"}
	for _, c := range []struct {
		name     string
		language policy.Language
		n        Notice
		more     int
		subject  string
		body     []string
	}{
		{"certified", policy.Italian, certified, 0, "Messaggio certificato per anna@alpha.test: Perché no?", []string{
			"Un messaggio certificato è arrivato per anna@alpha.test ed è stato archiviato.\n", "Mittente: bruno@beta.test\n", "Oggetto:  Perché no?\n",
			"Arrivo:   21/11/2026, 10:30 (+0100)\n",
		}},
		{"certified", policy.English, certified, 0, "Certified message for anna@alpha.test: Perché no?", []string{
			"Sender:  bruno@beta.test\n", "Subject: Perché no?\n", "Arrival: 21 November 2026, 10:30 (+0100)\n",
		}},
		{"no subject", policy.Italian, Notice{Event: policy.NotifyCertified}, 0, "Messaggio certificato per anna@alpha.test: (nessuno)", []string{
			"Mittente: (nessuno)\n",
		}},
		{"no subject", policy.English, Notice{Event: policy.NotifyCertified}, 0, "Certified message for anna@alpha.test: (none)", nil},
		{"75", policy.Italian, full(75), 0, "L'archivio di anna@alpha.test è pieno al 75%", []string{
			"Il 21/11/2026, 10:30 (+0100) l'archivio di anna@alpha.test ha raggiunto il 75% dello spazio a disposizione.\n",
		}},
		{"90", policy.English, full(90), 0, "The archive of anna@alpha.test is 90% full", []string{"reached 90% of its quota"}},
		{"100", policy.English, full(100), 2, "The archive of anna@alpha.test is 100% full", []string{"too many in one day: 2.\n"}},
		{"full", policy.Italian, Notice{Event: policy.NotifyGap, Reason: journal.ReasonFull}, 5, "Posta di anna@alpha.test non archiviata", []string{
			"Un messaggio di anna@alpha.test, del 21/11/2026, 10:30 (+0100), non è stato archiviato: l'archivio era pieno.\n", "in un giorno: 5.\n",
		}},
		{"full", policy.English, Notice{Event: policy.NotifyGap, Reason: journal.ReasonFull}, 0, "Mail for anna@alpha.test was not archived", []string{
			"On 21 November 2026, 10:30 (+0100) a message of anna@alpha.test was not archived: the archive was full.\n",
		}},
		{"fault", policy.Italian, Notice{Event: policy.NotifyGap, Reason: journal.ReasonJournalFault}, 0,
			"Posta di anna@alpha.test non archiviata", []string{"per un guasto l'archivio non ha potuto prenderlo.\n"}},
		{"fault", policy.English, Notice{Event: policy.NotifyGap, Reason: journal.ReasonJournalFault}, 0,
			"Mail for anna@alpha.test was not archived", []string{"a fault kept the archive from taking it.\n"}},
		{"fault of yesterday", policy.English, Notice{Event: policy.NotifyGap, Reason: journal.ReasonJournalFault, Arrived: start().AddDate(0, 0, -1)}, 0,
			"Mail for anna@alpha.test was not archived", []string{"On 20 November 2026, 10:30 (+0100) a message of"}},
		{"room", policy.Italian, Notice{Event: policy.NotifyGap, Reason: journal.ReasonRoom}, 0,
			"Messaggi vecchi cancellati dall'archivio di anna@alpha.test", []string{"Il 21/11/2026, 10:30 (+0100) l'archivio di anna@alpha.test era pieno."}},
		{"room", policy.English, Notice{Event: policy.NotifyGap, Reason: journal.ReasonRoom}, 0,
			"Old messages deleted from the archive of anna@alpha.test", []string{"to make room for new ones.\n"}},
		{"lost", policy.Italian, Notice{Event: policy.NotifyGap, Reason: journal.ReasonLost}, 0,
			"Nell'archivio di anna@alpha.test possono mancare messaggi", []string{"Possono mancare messaggi di anna@alpha.test.\n"}},
		{"lost", policy.English, Notice{Event: policy.NotifyGap, Reason: journal.ReasonLost}, 0,
			"Messages may be missing from the archive of anna@alpha.test", []string{"Messages of anna@alpha.test may be missing.\n"}},
		{"new reason", policy.Italian, Notice{Event: policy.NotifyGap, Reason: "flood"}, 0, "Posta di anna@alpha.test non archiviata", []string{"flood.\n"}},
		{"new reason", policy.English, Notice{Event: policy.NotifyGap, Reason: "flood"}, 0, "Mail for anna@alpha.test was not archived", []string{"flood.\n"}},
		{"retention", policy.Italian, Notice{Event: policy.NotifyRetention, Entries: 12, Bytes: 3_450_000}, 0,
			"Messaggi cancellati dall'archivio di anna@alpha.test", []string{"Messaggi:   12\nDimensione: 3,5 MB\n"}},
		{"retention", policy.English, Notice{Event: policy.NotifyRetention, Entries: 12, Bytes: 3_450_000}, 0,
			"Messages deleted from the archive of anna@alpha.test", []string{"Messages: 12\nSize:     3.5 MB\n"}},
		{"unknown language", "xx", full(75), 0, "L'archivio di anna@alpha.test è pieno al 75%", nil},
		{"braces", policy.English, Notice{Event: policy.NotifyCertified, Sender: "{mailbox}", Subject: "{more}"}, 0,
			"Certified message for anna@alpha.test: {more}", []string{"Sender:  {mailbox}\n"}},
	} {
		t.Run(string(c.language)+" "+c.name, func(t *testing.T) {
			w := &waiting{Notice: c.n, More: c.more}
			w.Mailbox, w.Time = anna, start()
			message := testQueue().compose(w, "<1@alpha.test>", outside, c.language)
			subject, body := decoded(t, message)
			if subject != c.subject {
				t.Errorf("subject %q, want %q", subject, c.subject)
			}
			for _, want := range c.body {
				if !strings.Contains(body, want) {
					t.Errorf("the body has no %q:\n%s", want, body)
				}
			}
			if strings.Contains(body, "in un giorno") || strings.Contains(body, "in one day") {
				if c.more == 0 {
					t.Errorf("the body tells of more:\n%s", body)
				}
			}
			checkForm(t, message)
		})
	}
}

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
			message := testQueue().compose(w, "<1@alpha.test>", outside, l)
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
