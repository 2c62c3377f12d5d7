package level

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/journal"
)

// logOf returns a log with so many records of 2,000 bytes.
func logOf(t testing.TB, records int) []byte {
	var b bytes.Buffer
	w := journal.NewWriter(&b)
	for i := range records {
		r, err := w.Next()
		if err == nil {
			_, err = r.Write(bytes.Repeat([]byte{byte(i)}, 2000))
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func damage(t testing.TB, log []byte) string {
	t.Helper()
	reason, err := damageOf(bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	return reason
}

func TestDamageOf(t *testing.T) {
	whole := logOf(t, 60)
	if reason := damage(t, whole); reason != "" {
		t.Errorf("a whole log is damaged: %s", reason)
	}
	for cut := 0; cut < 2*32768; cut += 97 {
		if reason := damage(t, whole[:cut]); reason != "" {
			t.Errorf("a log that ends after %d bytes is damaged: %s", cut, reason)
		}
		// A record that is cut and filled with zeros may look like one with a wrong checksum. A copy too many does no harm.
		zeros := append(bytes.Clone(whole[:cut]), make([]byte, 40_000)...)
		if reason := damage(t, zeros); reason != "" && reason != "checksum mismatch" {
			t.Errorf("a log that ends in zeros after %d bytes is damaged: %s", cut, reason)
		}
	}
	for at := 0; at < 3*32768; at += 53 {
		log := bytes.Clone(whole)
		log[at] ^= 0x04
		if damage(t, log) == "" {
			t.Errorf("a bit that is flipped at %d of %d is not noticed", at, len(log))
		}
	}
}

func FuzzDamageOf(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Add(logOf(f, 2))
	f.Add(logOf(f, 20)[32768:]) // starts inside a record
	behind := logOf(f, 2)
	f.Fuzz(func(t *testing.T, log []byte) {
		reason := damage(t, log)
		// Whatever follows a whole log never hides damage in it.
		if reason != "" && len(log)%32768 == 0 && damage(t, append(bytes.Clone(log), behind...)) == "" {
			t.Errorf("damage %q is hidden by a whole log behind it", reason)
		}
	})
}

func FuzzDecodeMark(f *testing.F) {
	f.Add(encodeMark(0))
	f.Add(encodeMark(1 << 40))
	f.Add([]byte("acK1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, ok := decodeMark(b)
		if ok != bytes.Equal(b, encodeMark(seq)) {
			t.Errorf("mark %x is accepted (%v) as %d, which is written as %x", b, ok, seq, encodeMark(seq))
		}
		if got, ok := decodeMark(encodeMark(uint64(len(b)))); !ok || got != uint64(len(b)) {
			t.Error(fmt.Sprint("mark does not come back: ", got, ok))
		}
	})
}
