package export

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// FuzzMbox writes a message into an mbox between two others, and reads all three back.
func FuzzMbox(f *testing.F) {
	for _, text := range oddMessages {
		if len(text) < 10_000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		a := &archived{}
		around := []byte("Subject: x\r\n\r\nFrom x\r\n")
		var mbox bytes.Buffer
		w := bufio.NewWriterSize(&mbox, 16)
		changes := make([]string, 3)
		for i, one := range [][]byte{around, content, around} {
			w.WriteString(separator(a.add("INBOX/2026-11", "x", november, one)))
			changed, err := writeMbox(w, bytes.NewReader(one))
			if err != nil {
				t.Fatal(err)
			}
			changes[i] = strings.Join(changed, " ")
		}
		w.Flush()
		r := newMboxReader(bytes.NewReader(mbox.Bytes()))
		for i, m := range a.messages {
			changed, ok, err := r.matches(m)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(changes[i], ChangedBareLF) {
				if ok {
					t.Errorf("read back although line ends cannot be told: %q", content)
				}
				return
			}
			if !ok || strings.Join(changed, " ") != changes[i] {
				t.Errorf("%q is read back: %v, changed %q, want %q", content, ok, changed, changes[i])
			}
		}
		if r.offset != int64(mbox.Len()) {
			t.Errorf("%d of %d bytes are read", r.offset, mbox.Len())
		}
	})
}

// FuzzZIPScanner reads what may be anything.
func FuzzZIPScanner(f *testing.F) {
	var out bytes.Buffer
	z := newZIPFile(&out, november.Location(), new(inMemory))
	for _, text := range []string{"", "one", strings.Repeat("two", 100)} {
		if err := z.add("a.eml", november, strings.NewReader(text)); err != nil {
			f.Fatal(err)
		}
	}
	if err := z.close(); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newZIPScanner(bytes.NewReader(b))
		for {
			one, err := s.peek()
			if err != nil {
				t.Fatal(err) // a file that ends or is spoilt is no error
			}
			if one == nil {
				break
			}
			s.take()
		}
		if s.start > int64(len(b)) {
			t.Errorf("%d of %d bytes are read", s.start, len(b))
		}
	})
}
