package level

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"copialettere/journal/kv"
)

// BenchmarkMend examines and mends a month of messages of 75 kB, of which one table is damaged. It reports both in bytes of the month a second.
func BenchmarkMend(b *testing.B) {
	for _, keys := range [][]Key{nil, {key1}} {
		b.Run(fmt.Sprintf("sealed=%v", keys != nil), func(b *testing.B) {
			dir, opts := b.TempDir(), Options{Keys: keys}
			size := fillMonth(b, dir, opts)
			m := &modelled{onFiles: onFiles{dir: dir, opts: opts}, folder: filepath.Join(dir, string(recoveryMonth))}
			path, _ := m.aTable(b, 1)
			for b.Loop() {
				content, err := os.ReadFile(path)
				if err != nil {
					b.Fatal(err)
				}
				content[len(content)/2] ^= 1
				writeTo(b, path, content)
				m.mended(b)
			}
			b.SetBytes(size)
		})
	}
}

// fillMonth writes 500 MB of messages, and returns how many bytes the folder has.
func fillMonth(b *testing.B, dir string, opts Options) (size int64) {
	e, err := Open(dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	s, err := e.Volume(b.Context(), recoveryMonth, true)
	if err != nil {
		b.Fatal(err)
	}
	content := randomContent()[:75<<10]
	for i := range 500 << 20 / len(content) {
		if i%16 > 0 {
			continue
		}
		err := s.Update(b.Context(), nil, func(tx kv.Tx) error {
			for n := range 16 {
				tx.Put(fmt.Appendf(nil, "c %08d", i+n), content)
				tx.Put(fmt.Appendf(nil, "e %03d %08d", n, i), content[:300])
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, string(recoveryMonth), "*"))
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return size
}
