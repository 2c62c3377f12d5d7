package level

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// aTable returns a table with several entries of some keys, which may be in two blocks, and its content.
func aTable(t testing.TB) (table, []byte, []entry) {
	t.Helper()
	files := storage.NewMemStorage()
	w, err := newTableWriter(files, 1)
	if err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for i := range 60 {
		for version := range uint64(1 + i%3) {
			kind := byte((i + int(version)) % 2)
			value := bytes.Repeat([]byte{byte(i)}, int(kind)*(i*37%900))
			entries = append(entries, entry{internalKey(fmt.Appendf(nil, "key %03d", i), 100-version, kind), value})
		}
	}
	for _, e := range entries {
		if err := w.append(e.key, e.value); err != nil {
			t.Fatal(err)
		}
	}
	tab, err := w.finish(true)
	if err != nil {
		t.Fatal(err)
	}
	return *tab, readFile(t, files, storage.FileDesc{Type: storage.TypeTable, Num: 1}), entries
}

// checkRead reads a damaged table: each entry is read as it was written, or in a hole, or older than another one of its
// key that is read.
func checkRead(t testing.TB, tab table, content []byte, entries []entry) (r *tableReader, missing int) {
	t.Helper()
	r = &tableReader{table: tab, file: bytes.NewReader(content), have: int64(len(content))}
	read := make(map[string][]byte)
	newest := make(map[string]uint64) // that was read
	err := r.read(t.Context(), func(key, value []byte) error {
		read[string(key)] = bytes.Clone(value)
		newest[string(userKey(key))] = max(newest[string(userKey(key))], trailer(key))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		value, ok := read[string(e.key)]
		switch {
		case ok && !bytes.Equal(value, e.value):
			t.Errorf("key %x is %x, want %x", e.key, value, e.value)
		case !ok:
			missing++
			if newest[string(userKey(e.key))] < trailer(e.key) && !r.holes.mayHold(userKey(e.key)) {
				t.Errorf("key %x is missing, and in no hole", e.key)
			}
		}
		delete(read, string(e.key))
	}
	if len(read) > 0 {
		t.Errorf("%d entries are read that were never written", len(read))
	}
	if missing > 0 && len(r.wrong) == 0 {
		t.Errorf("%d entries are missing, and nothing is wrong", missing)
	}
	return r, missing
}

// TestReadDamagedTable flips a bit in bytes of a table, cuts it off, and has zeros in it.
func TestReadDamagedTable(t *testing.T) {
	tab, whole, entries := aTable(t)
	if r, missing := checkRead(t, tab, whole, entries); missing > 0 || len(r.wrong) > 0 || r.entries != int64(len(entries)) {
		t.Fatalf("a whole table: %d entries are missing, wrong is %v", missing, r.wrong)
	}
	most := 0
	for at := 0; at < len(whole); at++ {
		if at < len(whole)-2000 && at%11 > 0 {
			continue // the data blocks are all alike; each byte of the filter, meta and index block, and the footer
		}
		content := bytes.Clone(whole)
		content[at] ^= 1 << (at % 7)
		r, missing := checkRead(t, tab, content, entries)
		if len(r.wrong) == 0 && at < len(whole)-footerBytes {
			t.Errorf("a flipped bit at byte %d is not seen", at)
		}
		most = max(most, missing)
		if t.Failed() {
			t.Fatalf("at byte %d of %d", at, len(whole))
		}
	}
	if most > 40 {
		t.Errorf("a flipped bit costs up to %d of %d entries, want those of one block", most, len(entries))
	}
	for at := 0; at < len(whole); at += 101 {
		if r, _ := checkRead(t, tab, whole[:at], entries); len(r.wrong) == 0 {
			t.Errorf("a table cut off at byte %d is not seen", at)
		}
		zeros := bytes.Clone(whole)
		clear(zeros[at:min(len(zeros), at+sector)])
		checkRead(t, tab, zeros, entries)
		if t.Failed() {
			t.Fatalf("at byte %d of %d", at, len(whole))
		}
	}
}

// TestReadOtherTable reads a whole table in the place of another one.
func TestReadOtherTable(t *testing.T) {
	tab, whole, _ := aTable(t)
	key := func(name string) []byte { return internalKey([]byte(name), 50, internalValue) }
	tests := []struct {
		name        string
		least, most []byte
	}{
		{"begins before", key("key 0005"), tab.most},
		{"begins behind", key("key"), tab.most},
		{"ends before", tab.least, key("key 999")},
		{"ends behind", tab.least, key("key 030")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			other := tab
			other.least, other.most, other.first, other.last = test.least, test.most, userKey(test.least), userKey(test.most)
			r := &tableReader{table: other, file: bytes.NewReader(whole), have: int64(len(whole))}
			err := r.read(t.Context(), func(_, _ []byte) error { return nil })
			if err != nil || len(r.wrong) == 0 || len(r.holes) == 0 {
				t.Errorf("read: %v, wrong %v, holes %v", err, r.wrong, r.holes)
			}
		})
	}
}

// FuzzReadTable reads a table that a hostile disk has made: it tells damage, or gives entries in order, and takes no more memory than the file.
func FuzzReadTable(f *testing.F) {
	tab, whole, _ := aTable(f)
	f.Add(whole, tab.size)
	f.Add(whole, tab.size-1)
	f.Add([]byte{}, int64(100))
	f.Add(bytes.Repeat([]byte{0}, 200), int64(200))
	f.Add(append(bytes.Repeat([]byte{0}, 152), append(bytes.Repeat([]byte{1}, 40), footerMagic...)...), int64(200))
	f.Fuzz(func(t *testing.T, content []byte, size int64) {
		hostile := tab
		hostile.size = max(0, size)
		r := &tableReader{table: hostile, file: bytes.NewReader(content), have: int64(len(content))}
		var last []byte
		err := r.read(t.Context(), func(key, _ []byte) error {
			if last != nil && (internalOrder{}).Compare(last, key) >= 0 {
				t.Errorf("key %x after %x", key, last)
			}
			last = bytes.Clone(key)
			return nil
		})
		if err == nil && !bytes.Equal(last, tab.most) && len(r.holes) == 0 {
			t.Error("a table that ends early has no hole")
		}
	})
}
