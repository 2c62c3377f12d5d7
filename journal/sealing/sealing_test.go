package sealing

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

var one, two = Key{[8]byte{1}, [32]byte{1}}, Key{[8]byte{2}, [32]byte{2}}

func TestBox(t *testing.T) {
	var none *Box
	first, second, both := NewBox([]Key{one}), NewBox([]Key{two}), NewBox([]Key{two, one})
	value := []byte("pippo")
	sealed := first.Seal(value, "a use")
	if bytes.Contains(sealed, value) || !Sealed(sealed) || Sealed(value) || bytes.Equal(sealed, first.Seal(value, "a use")) {
		t.Errorf("sealed: %q", sealed)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for _, c := range []struct {
		name    string
		box     *Box
		sealed  []byte
		about   string
		current bool
		err     error
	}{
		{"as it was sealed", first, sealed, "a use", true, nil},
		{"by an earlier key", both, sealed, "a use", false, nil},
		{"never sealed", first, value, "a use", false, nil},
		{"never sealed, without a key", none, value, "a use", true, nil},
		{"another use", first, sealed, "another", false, ErrDamaged},
		{"altered", first, flipped, "a use", false, ErrDamaged},
		{"cut off", first, sealed[:boxHead+tagSize-1], "a use", false, ErrDamaged},
		{"another key", second, sealed, "a use", false, ErrKey},
		{"without a key", none, sealed, "a use", false, ErrKey},
	} {
		got, current, err := c.box.Open(c.sealed, c.about)
		if !errors.Is(err, c.err) || current != c.current || err == nil && !bytes.Equal(got, value) {
			t.Errorf("%s: %q, %t, %v", c.name, got, current, err)
		}
	}
	if NewBox(nil) != nil || !bytes.Equal(none.Seal(value, "a use"), value) {
		t.Error("a box without keys seals")
	}
}

// opened opens a file with a key.
func opened(t *testing.T, path string, key [32]byte, open func(*os.File, [32]byte) (*File, error)) (*File, error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return open(f, key)
}

// TestFile compares a file with what was written to it, through random writes, cuts, reads and reopenings.
func TestFile(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "file"), [32]byte{7}
	random := rand.New(rand.NewPCG(1, 2))
	f, err := opened(t, path, key, Create)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	var want []byte
	for range 400 {
		switch random.IntN(8) {
		case 0:
			must(f.Sync())
		case 1:
			must(f.Close())
			f, err = opened(t, path, key, Open)
			must(err)
		case 2:
			size := len(want)
			if random.IntN(4) == 0 {
				size = random.IntN(size + 1)
			}
			want = want[:size]
			must(f.Truncate(int64(size)))
		case 3, 4, 5:
			b := make([]byte, random.IntN(100<<10))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			n, err := f.Write(b)
			if must(err); n != len(b) {
				t.Fatalf("%d bytes written of %d", n, len(b))
			}
			want = append(want, b...)
		case 6:
			at := random.IntN(len(want) + 1)
			b := make([]byte, random.IntN(200<<10))
			n, err := f.ReadAt(b, int64(at))
			if left := want[at:]; n != min(len(b), len(left)) || !bytes.Equal(b[:n], left[:n]) || (err == io.EOF) != (n < len(b)) {
				t.Fatalf("read %d bytes of %d at %d: %d, %v", len(b), len(want), at, n, err)
			}
		case 7:
			_, err := f.Seek(0, io.SeekStart)
			must(err)
			got, err := io.ReadAll(f)
			if must(err); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, want %d", len(got), len(want))
			}
		}
		if f.Size() != int64(len(want)) {
			t.Fatalf("size %d, want %d", f.Size(), len(want))
		}
	}
}

// TestFileDamage alters a file, cuts it off, and opens it with another key.
func TestFileDamage(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "file"), [32]byte{7}
	f, err := opened(t, path, key, Create)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("una riga in chiaro\n"), 10<<10)
	f.Write(content)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(whole, []byte("chiaro")) {
		t.Error("the file is in the clear")
	}
	for _, c := range []struct {
		name  string
		key   [32]byte
		alter func(b []byte) []byte
		size  int // of what can be read before it ends, or before the error
		err   error
	}{
		{"as it is", key, func(b []byte) []byte { return b }, len(content), nil},
		{"the last block is torn", key, func(b []byte) []byte { return b[:len(b)-1] }, 2 * blockSize, nil},
		{"the last block is gone but for a byte", key, func(b []byte) []byte { return b[:fileHead+2*blockTotal+1] }, 2 * blockSize, nil},
		{"the second block is altered", key, func(b []byte) []byte { b[fileHead+blockTotal+100] ^= 1; return b }, blockSize, ErrDamaged},
		{"two blocks are swapped", key, func(b []byte) []byte {
			one, two := b[fileHead:fileHead+blockTotal], b[fileHead+blockTotal:fileHead+2*blockTotal]
			return append(append(append(bytes.Clone(b[:fileHead]), two...), one...), b[fileHead+2*blockTotal:]...)
		}, 0, ErrDamaged},
		{"another key", [32]byte{8}, func(b []byte) []byte { return b }, 0, ErrDamaged},
		{"another salt", key, func(b []byte) []byte { b[fileHead-1] ^= 1; return b }, 0, ErrDamaged},
		{"in the clear", key, func([]byte) []byte { return content }, 0, ErrDamaged},
		{"empty", key, func([]byte) []byte { return nil }, 0, ErrDamaged},
	} {
		if err := os.WriteFile(path, c.alter(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := opened(t, path, c.key, Open)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(f)
		}
		if !errors.Is(err, c.err) || len(got) != c.size || !bytes.Equal(got, content[:c.size]) {
			t.Errorf("%s: %d bytes, want %d; %v", c.name, len(got), c.size, err)
		}
	}
}
