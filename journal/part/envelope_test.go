package part

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// envelopesOf scans a message in pieces of a size, and returns its envelopes and their stored form.
func envelopesOf(t *testing.T, text string, size int) []Envelope {
	t.Helper()
	s := NewScanner(DefaultLimits())
	for rest := text; rest != ""; {
		n := min(size, len(rest))
		s.Write([]byte(rest[:n]))
		rest = rest[n:]
	}
	s.Close()
	list := s.Envelopes()
	for i := range list {
		b, err := list[i].AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back Envelope
		if err := back.UnmarshalBinary(b); err != nil || back != list[i] {
			t.Errorf("stored: %+v, %v, want %+v", back, err, list[i])
		}
		for n := range b {
			if err := back.UnmarshalBinary(b[:n]); !errors.Is(err, ErrEnvelope) || back != list[i] {
				t.Errorf("the first %d bytes of %d: %v", n, len(b), err)
			}
		}
		if err := back.UnmarshalBinary(append(b, 0)); !errors.Is(err, ErrEnvelope) {
			t.Errorf("a byte more: %v", err)
		}
	}
	return list
}

func TestEnvelopes(t *testing.T) {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for _, c := range []struct {
		name, text, want string // want: part, then the values with their names
	}{
		{"empty", "", "0;"},
		{"what an entry keeps anyway is left out", "Date: d\nSubject: s\nFrom: f\nTo: t\nMessage-ID: m\n\nx", "0;"},
		{"the rest is kept", "Cc: c1,\n c2\nBCC : b\nSender: s\nReply-To: r\nIn-Reply-To: <i>\n\nx", "0; Sender=s Reply-To=r Cc=c1, c2 Bcc=b In-Reply-To=<i>"},
		{"the first counts", "Cc:\nCc: second\nSender: 1\nSender: 2\n\n", "0; Sender=1"},
		{"too long", "Cc: " + strings.Repeat("c", MaxField+1) + "\n\n", ""},
		{"as long as may be", "Cc: " + strings.Repeat("c", MaxField) + "\n\n", "0; Cc=" + strings.Repeat("c", MaxField)},
		{"enclosed", "Content-Type: message/rfc822\nCc: out\n\nDate: d\nSubject: =?utf-8?q?s?=\nFrom: f\nCc: in\nMessage-ID: <m>\n\nx",
			"0; Cc=out\n1; Date=d Subject==?utf-8?q?s?= From=f Cc=in Message-ID=<m>"},
		{"of two enclosed ones the second is long", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nTo: a\n\n--b\n" +
			"Content-Type: message/rfc822\n\nTo: " + strings.Repeat("a", MaxField+1) + "\n\n--b--\n", "0;\n2; To=a"},
		{"a part is no message", "Content-Type: multipart/mixed; boundary=b\n\n--b\nCc: no\n\nx\n--b--\n", "0;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 1 << 20} {
				var lines []string
				for _, e := range envelopesOf(t, crlf(c.text), size) {
					line := fmt.Sprintf("%d;", e.Part)
					for k, v := range e.Values {
						if v != "" {
							line += fmt.Sprintf(" %s=%s", EnvelopeField(k), v)
						}
					}
					lines = append(lines, line)
				}
				if got := strings.Join(lines, "\n"); got != c.want {
					t.Errorf("in pieces of %d: %.200q, want %.200q", size, got, c.want)
				}
			}
		})
	}
}

// TestEnvelopeLimits has more enclosed messages than envelopes are kept of, and a scanner that is used again.
func TestEnvelopeLimits(t *testing.T) {
	s := NewScanner(DefaultLimits())
	fmt.Fprint(s, "Content-Type: multipart/digest; boundary=b\r\n\r\n")
	for range 2 * maxEnvelopes {
		fmt.Fprint(s, "--b\r\n\r\nSubject: x\r\n\r\n")
	}
	s.Close()
	if n := len(s.Envelopes()); n != maxEnvelopes {
		t.Errorf("%d envelopes", n)
	}
	s.Reset()
	fmt.Fprint(s, "Cc: c\r\n\r\n")
	s.Close()
	want := Envelope{}
	want.Values[EnvelopeCc] = "c"
	if got := s.Envelopes(); !reflect.DeepEqual(got, []Envelope{want}) {
		t.Errorf("afterwards: %+v", got)
	}
}
