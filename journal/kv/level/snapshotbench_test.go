package level

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// BenchmarkSnapshot delivers messages to a month, in turns with nothing else going on and while snapshots are taken and copied at 20 MB a second, synced and
// read back, as a backup does. It reports the median and the 99th percentile of the waits of both, in microseconds.
func BenchmarkSnapshot(b *testing.B) {
	e, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	s, err := e.Volume(b.Context(), "2026-11", true)
	if err != nil {
		b.Fatal(err)
	}
	content := randomContent()
	for range 2000 { // 150 MB
		if err := put(s, content); err != nil {
			b.Fatal(err)
		}
	}
	const rounds, length = 10, 2 * time.Second
	var waits [2][]time.Duration
	for b.Loop() {
		for round := range 2 * rounds {
			busy := round % 2
			ctx, cancel := context.WithCancel(b.Context())
			copied := make(chan error, 1)
			go func() {
				if busy == 0 {
					copied <- nil
					return
				}
				copied <- copySnapshots(ctx, e, b.TempDir())
			}()
			for end := time.Now().Add(length); time.Now().Before(end); {
				start := time.Now()
				if err := put(s, content); err != nil {
					b.Fatal(err)
				}
				waits[busy] = append(waits[busy], time.Since(start))
				time.Sleep(10 * time.Millisecond) // as mail comes: the disk is not full of it
			}
			cancel()
			if err := <-copied; err != nil {
				b.Fatal(err)
			}
		}
	}
	for i, name := range []string{"alone", "beside"} {
		slices.Sort(waits[i])
		b.ReportMetric(float64(waits[i][len(waits[i])/2].Microseconds()), "p50-us-"+name)
		b.ReportMetric(float64(waits[i][len(waits[i])*99/100].Microseconds()), "p99-us-"+name)
	}
}

var nextChunk uint64

// put writes a message of 75 kB.
func put(s kv.Store, content []byte) error {
	nextChunk++
	key := seqKey(nextChunk)
	key[0] = 'c'
	at := int(nextChunk*4099) % (len(content) - 75_000)
	return s.Update(context.Background(), nil, func(tx kv.Tx) error { tx.Put(key, content[at:at+75_000]); return nil })
}

// copySnapshots takes and copies snapshots until ctx ends.
func copySnapshots(ctx context.Context, e *Engine, dir string) error {
	begun, read := time.Now(), 0
	for ctx.Err() == nil {
		s, err := e.Snapshot(context.Background())
		if err != nil {
			return err
		}
		for _, f := range s.Files {
			if ctx.Err() != nil {
				break
			}
			b, err := os.ReadFile(f.Path)
			if err != nil {
				return err
			}
			w, err := os.Create(filepath.Join(dir, "copy"))
			if err != nil {
				return err
			}
			h := sha256.New()
			for part := range slices.Chunk(b, 256<<10) {
				h.Write(part)
				if _, err := w.Write(part); err != nil {
					return err
				}
				read += len(part)
				time.Sleep(time.Duration(float64(read)/20e6*float64(time.Second)) - time.Since(begun))
			}
			if err := w.Sync(); err != nil {
				return err
			}
			_, err = w.Seek(0, io.SeekStart)
			if err == nil {
				_, err = io.Copy(h, w)
			}
			if err := errors.Join(err, w.Close()); err != nil {
				return err
			}
		}
		if err := s.Release(); err != nil {
			return err
		}
	}
	return nil
}
