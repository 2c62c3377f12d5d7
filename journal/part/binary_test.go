package part

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestStoredForm(t *testing.T) {
	plain := "From: mario@alpha.test\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		strings.Repeat("Perché no.\r\n", 5000)
	tests := []struct {
		name, text string
		most       int // bytes beyond the strings
	}{
		{"empty", "", 12},
		{"plain", plain, 20},
		{"envelope", aruba, 170},
		{"receipt", legalmail, 150},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, _ := scan(t, DefaultLimits(), test.text, whole)
			b, err := table.AppendBinary([]byte("before"))
			if err != nil || !bytes.HasPrefix(b, []byte("before")) {
				t.Fatalf("%q, %v", b, err)
			}
			b = b[len("before"):]
			length := 0
			for i := range table.Parts {
				for _, v := range table.Parts[i].values() {
					length += len(*v)
				}
			}
			if len(b)-length > test.most {
				t.Errorf("%d bytes for %d bytes of strings", len(b), length)
			}
			var read Table
			if err := read.UnmarshalBinary(b); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(read.Parts, table.Parts) || read.Odd != table.Odd {
				t.Errorf("read\n%swant\n%s", dump(&read, test.text), dump(table, test.text))
			}
			for n := range b {
				if err := new(Table).UnmarshalBinary(b[:n]); !errors.Is(err, ErrTable) {
					t.Fatalf("the first %d bytes of %d: %v", n, len(b), err)
				}
			}
			if err := new(Table).UnmarshalBinary(append(b, 0)); !errors.Is(err, ErrTable) {
				t.Errorf("one byte more: %v", err)
			}
		})
	}
}

// TestStoredFormIsFixed pins the bytes: a table stored today must be readable in years.
func TestStoredFormIsFixed(t *testing.T) {
	table := Table{Odd: OddNUL | OddUnterminated, Parts: []Part{
		{Parent: -1, Header: 0, Body: 50, End: 300, Lines: 9, Type: "multipart/mixed", ContentType: "multipart/mixed; boundary=b", Odd: OddUnterminated},
		{Parent: 0, Header: 55, Body: 80, End: 290, Lines: 4, Type: "x/y", ContentType: "x/y", TransferEncoding: "7bit", Language: "it", Odd: OddNUL},
	}}
	want := "\x01\x02" +
		"\x00\x00\x32\xfa\x01\x09\x80\x80\x01\x03\x01\x1bmultipart/mixed; boundary=b" +
		"\x01\x05\x19\xd2\x01\x04\x04\x00\x03x/y\x23\x03x/y\x047bit\x02it"
	got, err := table.AppendBinary(nil)
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	var read Table
	if err := read.UnmarshalBinary([]byte(want)); err != nil || !slices.Equal(read.Parts, table.Parts) || read.Odd != table.Odd {
		t.Errorf("read %+v, %v", read, err)
	}
}

func TestTableOutOfPlace(t *testing.T) {
	root := Part{Parent: -1, Body: 10, End: 100, Type: "multipart/mixed"}
	at := func(parent int, header, body, end int64) Part {
		return Part{Parent: parent, Header: header, Body: body, End: end, Type: "a/b"}
	}
	tests := []struct {
		name  string
		parts []Part
	}{
		{"no part", nil},
		{"before the parent's body", []Part{root, at(0, 9, 10, 11)}},
		{"behind the parent", []Part{root, at(0, 90, 95, 101)}},
		{"body before header", []Part{root, at(0, 20, 15, 30)}},
		{"end before body", []Part{root, at(0, 20, 25, 24)}},
		{"overlap", []Part{root, at(0, 20, 25, 40), at(0, 39, 45, 50)}},
		{"two roots", []Part{root, root}},
		{"its own parent", []Part{root, at(1, 20, 25, 30)}},
		{"parent behind", []Part{root, at(2, 20, 25, 30), at(0, 30, 35, 40)}},
		{"not depth first", []Part{root, at(0, 20, 25, 30), at(0, 30, 35, 40), at(1, 26, 27, 28)}},
		{"too many lines", []Part{{Parent: -1, End: 3, Lines: 4, Type: "a/b"}}},
		{"no type", []Part{{Parent: -1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := (&Table{Parts: test.parts}).AppendBinary(nil); !errors.Is(err, ErrTable) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSection(t *testing.T) {
	table, _ := scan(t, DefaultLimits(), aruba, whole)
	tests := []struct {
		number string
		want   string // type of the part, "" for none
	}{
		{"", "multipart/signed"},
		{"1", "multipart/mixed"},
		{"1.1.2", "text/html"},
		{"1.3", "message/rfc822"},
		{"1.3.2", "application/pdf"},
		{"2", "application/x-pkcs7-signature"},
		{"3", ""},
		{"0", ""},
		{"1.0.2", ""},
		{"01", ""},
		{"+1", ""},
		{"1.", ""},
		{".1", ""},
		{"1.1.1.1", ""},
		{"2.1", ""},
		{"1.3.2.1", ""},
		{"99999999999999999999", ""},
		{"TEXT", ""},
	}
	for _, test := range tests {
		i := table.Section(test.number)
		got := ""
		if i >= 0 {
			got = table.Parts[i].Type
		}
		if got != test.want {
			t.Errorf("section %q is part %d, %q; want %q", test.number, i, got, test.want)
		}
	}
	plain, _ := scan(t, DefaultLimits(), "Subject: x\r\n\r\nhello", whole)
	for number, want := range map[string]int{"": 0, "1": 0, "2": -1, "1.1": -1} {
		if got := plain.Section(number); got != want {
			t.Errorf("plain message: section %q is part %d, want %d", number, got, want)
		}
	}
	if got := new(Table).Section("1"); got != -1 {
		t.Errorf("table without parts: %d", got)
	}
	if message := table.Enclosed(table.Section("1.3")); message < 0 || table.Parts[message].Type != "multipart/mixed" || table.Number(message) != "" {
		t.Errorf("the message in 1.3 is part %d", message)
	}
	if i := table.Enclosed(table.Section("1")); i != -1 {
		t.Errorf("a multipart encloses message %d", i)
	}
}

func TestOddityNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range oddities {
		name := Oddity(1 << i).String()
		if name == "" || seen[name] {
			t.Errorf("flag %d has the name %q", i, name)
		}
		seen[name] = true
	}
	if got := (OddBareCR | OddParts).String(); got != "bare-cr,parts" {
		t.Errorf("got %q", got)
	}
}

func FuzzTable(f *testing.F) {
	for _, text := range []string{"", ordinary, aruba, legalmail} {
		table, _ := scan(f, DefaultLimits(), text, whole)
		b, err := table.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var table Table
		if err := table.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrTable) || table.Parts != nil {
				t.Fatalf("error %v, table %v", err, table)
			}
			return
		}
		again, err := table.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var second Table
		if err := second.UnmarshalBinary(again); err != nil || !slices.Equal(second.Parts, table.Parts) {
			t.Fatalf("%q read, stored and read: %v", b, err)
		}
		for i := range table.Parts {
			if number := table.Number(i); number != "" && table.Section(number) != i {
				t.Fatalf("part %d has the number %q", i, number)
			}
		}
	})
}
