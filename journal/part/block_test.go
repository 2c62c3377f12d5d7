package part

import (
	"fmt"
	"strings"
	"testing"
)

// TestLongFields checks that fields after long ones are found: after one long field, after many, and at every place around the limit.
func TestLongFields(t *testing.T) {
	id := "<" + strings.Repeat("x", 70) + "@alpha.test>"
	one := "References: " + strings.Repeat(id+"\r\n ", 300<<10/len(id)) + id + "\r\n"
	many := strings.Repeat("X-Spam: "+strings.Repeat("y", 900)+"\r\n", 300)
	const behind = "X-Ricevuta: accettazione\r\nFrom: posta-certificata@alpha.test\r\nSubject: =?utf-8?q?perch=C3=A9?=\r\nMessage-ID: <1@alpha.test>\r\n" +
		"X-REM-Msg-Type: x\r\nREM-Section-Type: y\r\nContent-Type: multipart/mixed;\r\n boundary=b\r\n"
	fields := map[string]string{"x-ricevuta": "accettazione", "from": "posta-certificata@alpha.test", "subject": "=?utf-8?q?perch=C3=A9?=",
		"message-id": "<1@alpha.test>", "x-rem-msg-type": "x", "rem-section-type": "y", "content-type": "multipart/mixed; boundary=b"}
	tests := map[string]string{"one": one, "many": many, "one and many": one + many, "many and one": many + one,
		"as many": strings.Repeat("X: "+strings.Repeat("y", 59)+"\r\n", 256<<10/64)}
	for n := 256<<10 - 300; n < 256<<10+10; n += 23 {
		tests[fmt.Sprintf("%d bytes", n)] = strings.Repeat("X-A: "+strings.Repeat("y", 249)+"\r\n", n/256) + "X-B: " + strings.Repeat("z", n%256) + "\r\n"
	}
	for name, before := range tests {
		text := before + behind + "\r\n--b\r\nContent-Type: text/html\r\n\r\nhello\r\n--b--\r\n"
		table, _ := scan(t, DefaultLimits(), text, whole)
		var s *Scanner
		header := ""
		for _, size := range []int{251, 4099, len(text)} {
			s = NewScanner(DefaultLimits())
			for i := 0; i < len(text); i += size {
				s.Write([]byte(text[i:min(i+size, len(text))]))
			}
			s.Close()
			if got := string(s.Header()); header != "" && got != header {
				t.Errorf("%s: in pieces of %d bytes the header differs", name, size)
			} else {
				header = got
			}
		}
		for field, want := range fields {
			if got := Value(s.Header(), field); got != want {
				t.Errorf("%s: %s is %q, want %q", name, field, got, want)
			}
		}
		if len(table.Parts) != 2 || table.Parts[1].Type != "text/html" {
			t.Errorf("%s: %d parts", name, len(table.Parts))
		}
		for f := range Fields(s.Header()) {
			if f.Name == nil {
				t.Errorf("%s: a line that is no field: %.80q", name, f.Value)
			}
		}
		if len(before) > 256<<10 && table.Odd&OddHeaderLimit == 0 || len(text) < 256<<10 && table.Odd&OddHeaderLimit != 0 {
			t.Errorf("%s: flags %s", name, table.Odd)
		}
	}
	// The same holds for the header of a part.
	table, _ := scan(t, DefaultLimits(), "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"+many+one+behind+"\r\n--b\r\n\r\nx\r\n--b--\r\n--a--\r\n", whole)
	if len(table.Parts) != 3 || table.Parts[1].Type != "multipart/mixed" {
		t.Errorf("part: %d parts, %s", len(table.Parts), table.Parts[1].Type)
	}
}

// TestLongFieldKeeps checks how much of a long field is kept.
func TestLongFieldKeeps(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want int // bytes of the value
	}{
		"within":     {"Subject: " + strings.Repeat("x", 64<<10-len("Subject: \r\n")), 64<<10 - len("Subject: \r\n")},
		"over":       {"Subject: " + strings.Repeat("x", 64<<10-len("Subject: \r\n")+1), 64<<10 - len("Subject: \r\n") + 1},
		"far over":   {"Subject: " + strings.Repeat("x", 1<<20), 64<<10 - len("Subject: ")},
		"other":      {"X-Y: " + strings.Repeat("x", 1<<20), 0},
		"late":       {strings.Repeat("X-Y: z\r\n", 40<<10) + "Subject: " + strings.Repeat("x", 4<<10-len("Subject: \r\n")), 4<<10 - len("Subject: \r\n")},
		"late, over": {strings.Repeat("X-Y: z\r\n", 40<<10) + "Subject: " + strings.Repeat("x", 4<<10-len("Subject: ")+1), 4<<10 - len("Subject: ")},
	} {
		s := NewScanner(DefaultLimits())
		s.Write([]byte(test.text + "\r\nTo: b@beta.test\r\n\r\n"))
		s.Close()
		if got := len(Value(s.Header(), "Subject")); got != test.want {
			t.Errorf("%s: a subject of %d bytes, want %d", name, got, test.want)
		}
		if got := Value(s.Header(), "To"); got != "b@beta.test" {
			t.Errorf("%s: the next field is %q", name, got)
		}
	}
}
