package nexthop

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("250-more\r\n", n-1) + "250 last\r\n" }
	tests := []struct {
		name, wire string
		want       Reply
		err        error
	}{
		{"one line", "250 2.1.5 ok\r\n", Reply{250, "2.1.5", []string{"2.1.5 ok"}}, nil},
		{"several lines", "552-5.2.2 full\r\n552 5.2.2 really\r\n", Reply{552, "5.2.2", []string{"5.2.2 full", "5.2.2 really"}}, nil},
		{"code on the last line only", "550-no\r\n550 5.1.1 user unknown\r\n", Reply{550, "5.1.1", []string{"no", "5.1.1 user unknown"}}, nil},
		{"code alone", "354\r\n", Reply{354, "", []string{""}}, nil},
		{"empty text", "250 \r\n", Reply{250, "", []string{""}}, nil},
		{"bare LF", "250 ok\n", Reply{250, "", []string{"ok"}}, nil},
		{"enhanced code alone", "250 2.0.0\r\n", Reply{250, "2.0.0", []string{"2.0.0"}}, nil},
		{"enhanced code of another class", "451 5.1.1 odd\r\n", Reply{451, "", []string{"5.1.1 odd"}}, nil},
		{"a number that is no code", "250 2.5 MB taken\r\n", Reply{250, "", []string{"2.5 MB taken"}}, nil},
		{"four digits are no code", "250 2.1.2026 ok\r\n", Reply{250, "", []string{"2.1.2026 ok"}}, nil},
		{"control characters", "250 a\rb\x00c\x7fd\te\r\n", Reply{250, "", []string{"a?b?c?d\te"}}, nil},
		{"UTF-8 stays", "550 5.1.1 niß\r\n", Reply{550, "5.1.1", []string{"5.1.1 niß"}}, nil},
		{"64 lines", lines(64), Reply{250, "", append(slicesRepeat("more", 63), "last")}, nil},

		{"longest line", "250 " + strings.Repeat("x", maxReplyLine-len("250 \r\n")) + "\r\n", Reply{250, "", []string{strings.Repeat("x", maxReplyLine-len("250 \r\n"))}}, nil},

		{"nothing", "", Reply{}, io.EOF},
		{"half a line", "250 o", Reply{}, io.ErrUnexpectedEOF},
		{"half a reply", "250-ok\r\n", Reply{}, io.ErrUnexpectedEOF},
		{"65 lines", lines(65), Reply{}, ErrProtocol},
		{"long line", "250 " + strings.Repeat("x", maxReplyLine-len("250 \r\n")+1) + "\r\n", Reply{}, ErrProtocol},
		{"line without end", strings.Repeat("2", maxReplyLine), Reply{}, ErrProtocol},
		{"changing code", "250-ok\r\n550 no\r\n", Reply{}, ErrProtocol},
		{"no digits", "OK ready\r\n", Reply{}, ErrProtocol},
		{"1xx", "150 wait\r\n", Reply{}, ErrProtocol},
		{"6xx", "600 wait\r\n", Reply{}, ErrProtocol},
		{"empty line", "\r\n", Reply{}, ErrProtocol},
		{"no separator", "2500 ok\r\n", Reply{}, ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readReply(bufio.NewReaderSize(strings.NewReader(tt.wire), maxReplyLine))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func slicesRepeat(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

func TestReplyClass(t *testing.T) {
	for code, want := range map[int]string{250: "positive", 354: "", 451: "temporary", 550: "permanent"} {
		r, got := Reply{Code: code}, ""
		if r.Positive() {
			got += "positive"
		}
		if r.Temporary() {
			got += "temporary"
		}
		if r.Permanent() {
			got += "permanent"
		}
		if got != want {
			t.Errorf("%d is %q, want %q", code, got, want)
		}
	}
	if got := (Reply{Code: 550, Lines: []string{"5.1.1 a", "b"}}).String(); got != "550 5.1.1 a / b" {
		t.Errorf("String gives %q", got)
	}
}

// FuzzReadReply: whatever a hop sends is either an error or a reply within the limits. A reply is safe to pass on, and reads the same when
// it is written out again.
func FuzzReadReply(f *testing.F) {
	for _, s := range []string{
		"250 2.1.5 ok\r\n", "250-a\r\n250 b\r\n", "354\r\n", "421 4.3.2 bye\n", "250-a\r\n550 b\r\n", "25", "250 a\rb\x00\r\n", "2500\r\n", "\xff\xfe\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(wire), maxReplyLine)
		for {
			reply, err := readReply(r)
			if err != nil {
				return
			}
			if reply.Code < 200 || reply.Code > 599 || len(reply.Lines) == 0 || len(reply.Lines) > maxReplyLines {
				t.Fatalf("reply out of bounds: %#v", reply)
			}
			var again strings.Builder
			for i, line := range reply.Lines {
				if strings.ContainsAny(line, "\r\n\x00") || len(line) > maxReplyLine {
					t.Fatalf("unsafe line %q", line)
				}
				sep := "-"
				if i == len(reply.Lines)-1 {
					sep = " "
				}
				again.WriteString(reply.String()[:3] + sep + line + "\r\n")
			}
			second, err := readReply(bufio.NewReaderSize(strings.NewReader(again.String()), 2*maxReplyLine))
			// If the line ended in a bare LF, the line with CRLF is one byte over the limit.
			if err != nil && again.Len() < maxReplyLine || err == nil && !reflect.DeepEqual(reply, second) {
				t.Fatalf("%#v is read again as %#v, %v", reply, second, err)
			}
			parseAnnounced(reply)
		}
	})
}

func TestAnnounced(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		want  Announced
	}{
		{"Dovecot 2.3", []string{"mail.alpha.test", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "PIPELINING"},
			Announced{EightBitMIME: true, EnhancedStatusCodes: true, Pipelining: true, Size: -1}},
		{"Postfix", []string{"mx.alpha.test", "PIPELINING", "SIZE 10240000", "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE", "DSN", "SMTPUTF8"},
			Announced{Pipelining: true, Size: 10240000, DSN: true, SMTPUTF8: true,
				XForward: []string{"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"}}},
		{"lower case", []string{"x", "pipelining", "size 5", "xforward name"}, Announced{Pipelining: true, Size: 5, XForward: []string{"NAME"}}},
		{"size without a limit", []string{"x", "SIZE"}, Announced{}},
		{"size 0", []string{"x", "SIZE 0"}, Announced{}},
		{"size that is no number", []string{"x", "SIZE 99999999999999999999"}, Announced{}},
		{"a domain is no keyword", []string{"PIPELINING"}, Announced{Size: -1}},
		{"empty line", []string{"x", "", "DSN"}, Announced{Size: -1, DSN: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseAnnounced(Reply{Code: 250, Lines: tt.lines})
			tt.want.Keywords = append([]string{}, tt.lines[1:]...)
			if len(got.Keywords) == 0 && len(tt.want.Keywords) == 0 {
				got.Keywords = tt.want.Keywords
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}
