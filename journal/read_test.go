package journal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"copialettere/journal/codec"
)

// TestBody reads a message of some chunks in all ways that a Body has.
func TestBody(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	for name, message := range map[string][]byte{
		"empty": {}, "one byte": {'x'}, "one chunk": words(1, 10<<10), "many chunks": multipart(rand.New(rand.NewPCG(1, 1))),
		"repeated chunks": bytes.Repeat(words(2, 100<<10), 4),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := f.Entry(f.ctx(), f.put(mario, message))
			if err != nil {
				t.Fatal(err)
			}
			body := func() *Body {
				b, err := f.Body(f.ctx(), e)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			if len(message) < 100<<10 {
				if err := iotest.TestReader(body(), message); err != nil {
					t.Error(err)
				}
			}
			b := body()
			starts := []int64{0, int64(len(message))}
			for i, at := range b.chunks.starts {
				starts = append(starts, at-1, at, at+1, at+int64(i*100))
			}
			for i, at := range starts {
				if at < 0 || at > int64(len(message)) {
					continue
				}
				for _, n := range []int{0, 1, 1000, chunkMax + 1} {
					p := make([]byte, n)
					got, err := b.ReadAt(p, at)
					want := message[at:min(int64(len(message)), at+int64(n))]
					if !bytes.Equal(p[:got], want) || err != nil != (got < n) || err != nil && err != io.EOF {
						t.Fatalf("ReadAt %d bytes at %d: %d, %v; want %d", n, at, got, err, len(want))
					}
				}
				if i%5 > 0 {
					continue
				}
				if _, err := b.Seek(at, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				var rest bytes.Buffer
				if n, err := b.WriteTo(&rest); err != nil || n != int64(rest.Len()) || !bytes.Equal(rest.Bytes(), message[at:]) {
					t.Fatalf("WriteTo from %d: %d bytes, %v; want %d", at, n, err, len(message)-int(at))
				}
			}
		})
	}
}

func TestBodyBounds(t *testing.T) {
	f := openFixture(t)
	e, err := f.Entry(f.ctx(), f.put(mario, letter("a")))
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Body(f.ctx(), e)
	if err != nil {
		t.Fatal(err)
	}
	if b.Size() != int64(len(letter("a"))) {
		t.Errorf("size %d", b.Size())
	}
	if _, err := b.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("ReadAt before the start: %v", err)
	}
	if _, err := b.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek before the start succeeded")
	}
	if _, err := b.Seek(0, 9); err == nil {
		t.Error("Seek with an unknown whence succeeded")
	}
	if at, err := b.Seek(100, io.SeekEnd); at != b.Size()+100 || err != nil {
		t.Errorf("Seek behind the end: %d, %v", at, err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read behind the end: %d, %v", n, err)
	}
	if n, err := b.WriteTo(io.Discard); n != 0 || err != nil {
		t.Errorf("WriteTo behind the end: %d, %v", n, err)
	}
	if at, err := b.Seek(-101, io.SeekCurrent); at != b.Size()-1 || err != nil {
		t.Errorf("Seek back: %d, %v", at, err)
	}
	if got, err := io.ReadAll(b); string(got) != "\n" || err != nil {
		t.Errorf("the last byte is %q, %v", got, err)
	}
}

// TestBodyAfterFault reads one chunk, fails on the damaged one behind it, and reads the first one again.
func TestBodyAfterFault(t *testing.T) {
	f := openFixture(t)
	f.damaged()
	message := words(1, 600<<10)
	e, err := f.Entry(f.ctx(), f.put(mario, message))
	if err != nil {
		t.Fatal(err)
	}
	second := e.Chunks[1]
	for name, value := range map[string][]byte{
		"shorter":    f.codec.Encode(message[5000:6000], nil),
		"other":      f.codec.Encode(randomBytes(1, int(second.Size)), nil)[:second.Size/2],
		"not zstd":   []byte("not zstd at all"),
		"not there":  nil,
		"too large":  f.codec.Encode(make([]byte, codec.MaxSize+1), nil),
		"no content": {},
	} {
		f.put1(chunkKey(second.ID), value)
		b, err := f.Body(f.ctx(), e)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1000)
		for range 2 {
			if _, err := b.ReadAt(first, 0); err != nil || !bytes.Equal(first, message[:1000]) {
				t.Errorf("%s: the first chunk does not read: %v", name, err)
			}
			if n, err := b.ReadAt(make([]byte, 10), e.Chunks[0].Size); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s: the second chunk reads: %d, %v", name, n, err)
			}
		}
	}
}

func TestBodyOfOtherSize(t *testing.T) {
	f := openFixture(t)
	e, err := f.Entry(f.ctx(), f.put(mario, letter("a")))
	if err != nil {
		t.Fatal(err)
	}
	e.Size++
	if _, err := f.Body(f.ctx(), e); err == nil {
		t.Error("a body whose chunks hold less than its size")
	}
}

// TestBodyDamaged reads messages that a disk has spoiled, and one that the store cannot read just now.
func TestBodyDamaged(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.damaged()
	var seed uint64
	for name, damage := range map[string]func(e *Entry, last []byte){
		"chunk missing":     func(_ *Entry, last []byte) { f.put1(last, nil) },
		"no zstd":           func(_ *Entry, last []byte) { f.put1(last, []byte("spoilt")) },
		"one bit":           func(_ *Entry, last []byte) { v := f.value(last); v[len(v)/2] ^= 1; f.put1(last, v) },
		"cut short":         func(_ *Entry, last []byte) { v := f.value(last); f.put1(last, v[:len(v)-1]) },
		"of another length": func(_ *Entry, last []byte) { f.put1(last, f.codec.Encode([]byte("x"), nil)) },
		"too large":         func(_ *Entry, last []byte) { f.put1(last, f.codec.Encode(make([]byte, 2*codec.MaxSize), nil)) },
		"chunk not named":   func(e *Entry, _ []byte) { e.Chunks = e.Chunks[1:] },
	} {
		seed++
		e := f.entry(f.put(mario, randomBytes(seed, 300<<10)))
		damage(e, chunkKey(e.Chunks[len(e.Chunks)-1].ID))
		b, err := f.Body(f.ctx(), e)
		if err == nil {
			_, err = b.WriteTo(io.Discard)
			_, again := b.ReadAt(make([]byte, 1), e.Size-1)
			wantErr(t, name+", ReadAt", again, ErrDamaged)
		}
		wantErr(t, name, err, ErrDamaged)
	}
	b, err := f.Body(f.ctx(), f.entry(f.put(mario, words(9, 10<<10))))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	b.chunks.read = func(id ChunkID, buf []byte) ([]byte, error) {
		return f.readChunk(ctx, b.entry.Month, f.store(), id, buf)
	}
	if _, err := b.WriteTo(io.Discard); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("an interrupted read: %v", err)
	}
}
