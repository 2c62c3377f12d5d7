package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

func TestSizes(t *testing.T) {
	sizes := []int{0, 1}
	for _, border := range []int{shareMin, pieceMin, chunkMin, chunkAverage, chunkMax, chunkMax + pieceMin,
		tryFrom, bufferSize, chunkMax + pieceMin + maxUnsettled, bufferLarge} {
		sizes = append(sizes, border-1, border, border+1)
	}
	for name, c := range map[string]struct {
		content func(uint64, int) []byte
		sizes   []int
	}{
		"random": {randomBytes, append(sizes, 3<<20)},
		"text":   {words, []int{1, shareMin, chunkMin, chunkMax + 1, 3 << 20}},
		"both":   {func(seed uint64, size int) []byte { return append(randomBytes(seed, size/2), words(seed, size/2)...) }, []int{40 << 20}},
		"zeros":  {func(_ uint64, size int) []byte { return make([]byte, size) }, sizes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openFixture(t)
			for i, size := range c.sizes {
				r := f.put(mario, c.content(uint64(i), size))
				if want := (Ref{mario, "2026-11", "INBOX", uint32(i + 1)}); r != want {
					t.Errorf("%d bytes are at %v, want %v", size, r, want)
				}
			}
			f.reopen()
			for i, e := range f.list(mario) {
				message := c.content(uint64(i), c.sizes[i])
				f.wantBytes(e.Ref, message)
				if e.Size != int64(len(message)) || e.SHA256 != sha256.Sum256(message) {
					t.Errorf("%d bytes: the entry has size %d and SHA-256 %s", len(message), e.Size, e.SHA256)
				}
			}
		})
	}
}

// multipart is a message of parts whose sizes are around those at which a border is a cut, and some of which are long.
func multipart(r *rand.Rand) []byte {
	var b bytes.Buffer
	b.WriteString("From: giove@ext.test\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n")
	sizes := []int{0, 10, pieceMin - 100, pieceMin, pieceMin + 100, chunkMin, 100 << 10, chunkMax - 200, chunkMax, 600 << 10}
	for range 3 + r.IntN(8) {
		b.WriteString("--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		writeBase64(&b, r, sizes[r.IntN(len(sizes))]*3/4+r.IntN(300))
		if r.IntN(3) == 0 {
			b.WriteString(strings.Repeat("--b", r.IntN(2)) + strings.Repeat(" ", r.IntN(2000)) + "\r\n")
		}
	}
	b.WriteString("--b--\r\n")
	return b.Bytes()
}

// TestCuts has the same message arrive in different blocks: its chunks must be the same.
func TestCuts(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 5 {
		message := multipart(r)
		whole := f.put(mario, message)
		e, err := f.Entry(f.ctx(), whole)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := chunkSizes(e.Chunks), chunkSizes(f.cutAtOnce(message)); !slices.Equal(got, want) {
			t.Errorf("message %d of seed %d: chunks of %d bytes, want %d", i, seed, got, want)
		}
		for _, c := range e.Chunks {
			if c.Size > chunkMax {
				t.Errorf("a chunk has %d bytes, more than %d", c.Size, chunkMax)
			}
		}
		for _, blocks := range []func() int{
			func() int { return 1 + r.IntN(100) },
			func() int { return 1 + r.IntN(64<<10) },
			func() int { return 32 << 10 },
			func() int { return chunkMax + 1 + r.IntN(chunkMax) },
		} {
			d := f.NewDraft(f.ctx())
			for rest := message; len(rest) > 0; {
				n := min(len(rest), blocks())
				d.Write(rest[:n])
				rest = rest[n:]
				if cap(d.buf) > bufferLarge {
					t.Fatalf("the draft holds %d bytes", cap(d.buf))
				}
			}
			d.Finish()
			digest := d.digest
			if got, want := chunkSizes(d.chunks), chunkSizes(e.Chunks); digest != e.SHA256 || !slices.Equal(got, want) {
				t.Errorf("message %d of seed %d in other blocks: chunks of %d bytes, want %d", i, seed, got, want)
			}
			d.Discard()
		}
	}
}

// cutAtOnce cuts a message that is there as a whole, with all its borders known.
func (f *fixture) cutAtOnce(message []byte) []ChunkRef {
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	for rest := message; len(rest) > 0; {
		n := min(len(rest), 1000)
		d.scanner.Write(rest[:n])
		d.borders = append(d.borders, d.scanner.Cuts()...)
		rest = rest[n:]
	}
	d.scanner.Close()
	d.borders = append(d.borders, d.scanner.Cuts()...)
	d.buf = slices.Clone(message)
	d.cut(true)
	return d.chunks
}

func chunkSizes(chunks []ChunkRef) []int64 {
	sizes := make([]int64, len(chunks))
	for i, c := range chunks {
		sizes[i] = c.Size
	}
	return sizes
}

// enclosed is a message with a PDF, and enclosing is a receipt that encloses it as a part.
func enclosed(seed uint64, kilobytes int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: mario@alpha.test\r\nTo: giove@ext.test\r\nSubject: Contratto %d\r\nMIME-Version: 1.0\r\n", seed)
	b.WriteString("Content-Type: multipart/mixed; boundary=\"inner\"\r\n\r\n--inner\r\nContent-Type: text/plain\r\n\r\nIn allegato.\r\n" +
		"--inner\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	writeBase64(&b, rand.New(rand.NewPCG(seed, 2)), kilobytes<<10)
	b.WriteString("--inner--\r\n")
	return b.Bytes()
}

func enclosing(message []byte) []byte {
	return fmt.Appendf(nil, "From: posta-certificata@ext.test\r\nSubject: CONSEGNA\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=\"sig\"\r\n\r\n--sig\r\n"+
		"Content-Type: multipart/mixed; boundary=\"outer\"\r\n\r\n--outer\r\nContent-Type: text/plain\r\n\r\nRicevuta.\r\n"+
		"--outer\r\nContent-Type: message/rfc822; name=\"postacert.eml\"\r\nContent-Disposition: attachment\r\n\r\n%s\r\n--outer--\r\n"+
		"--sig\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n%s--sig--\r\n",
		message, words(9, 3000))
}

func TestSharing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		again   func(message []byte) []byte
		atMost  int64
		another string // mailbox of the second message
	}{
		{"another mailbox", func(m []byte) []byte { return m }, 1 << 10, anna},
		{"another trace header", func(m []byte) []byte { return append([]byte("Received: from mx.ext.test\r\n"), m...) }, 4 << 10, mario},
		{"enclosed in a receipt", enclosing, 8 << 10, mario},
		{"a receipt in a forward", func(m []byte) []byte { return enclosing(enclosing(m)) }, 8 << 10, mario},
	} {
		for _, kilobytes := range []int{20, 200} {
			t.Run(fmt.Sprintf("%s/%dkB", c.name, kilobytes), func(t *testing.T) {
				f := openFixture(t)
				message := enclosed(1, kilobytes)
				f.put(mario, message)
				before := f.verify().Stored
				again := c.again(message)
				f.wantBytes(f.put(c.another, again), again)
				if more := f.verify().Stored - before; more > c.atMost {
					t.Errorf("the second message stored %d bytes more, want at most %d; the first stored %d", more, c.atMost, before)
				}
			})
		}
	}
}

// TestSharingInside repeats an attachment within one message, also while the chunks before are on their way to the store.
func TestSharingInside(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	pdf := words(3, 30<<10)
	var b bytes.Buffer
	b.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for i := range 40 {
		fmt.Fprintf(&b, "--b\r\nContent-Type: text/plain\r\n\r\n%s\r\n--b\r\nContent-Type: application/pdf\r\n\r\n%s\r\n", randomBytes(uint64(i), 20<<10), pdf)
	}
	b.WriteString("--b--\r\n")
	e, err := f.Entry(f.ctx(), f.put(mario, b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[ChunkID]int)
	for _, c := range e.Chunks {
		seen[c.ID]++
	}
	repeated := 0
	for _, n := range seen {
		if n == 40 {
			repeated++
		}
	}
	if repeated == 0 {
		t.Errorf("no chunk is referred to 40 times: %d chunks, %d of them different", len(e.Chunks), len(seen))
	}
}

// TestDraftMemory streams a long message that does not compress and looks at what stays reachable.
func TestDraftMemory(t *testing.T) {
	f := openFixture(t)
	f.onFiles()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	block := randomBytes(0, 1<<20)
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	var before, peak uint64
	for i := range 32 {
		for j := 0; j < len(block); j += 64 {
			block[j] += byte(i + j>>8)
		}
		d.Write(block)
		if d.waiting > flushSize || len(d.buf) > bufferLarge {
			t.Fatalf("the draft holds %d bytes and %d to be stored", len(d.buf), d.waiting)
		}
		if i%4 == 3 && i < 16 { // until the store's own buffers are full
			before = max(before, heap())
		} else if i%4 == 3 {
			peak = max(peak, heap())
		}
	}
	if peak > before+16<<20 {
		t.Errorf("%d bytes are in use after 32 MiB, %d after 16", peak, before)
	}
}

func TestHeaderAfterFault(t *testing.T) {
	f, h := hookedFixture(t)
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	header := "Subject: lungo\r\nMessage-ID: <1@ext.test>\r\n\r\n"
	d.Write([]byte(header[:20]))
	h.set(unavailable)
	d.fail(kv.ErrUnavailable)
	d.Write([]byte(header[20:]))
	d.Write(randomBytes(1, 2<<20))
	if got := part.Value(d.Header(), "Message-ID"); got != "<1@ext.test>" {
		t.Errorf("after a fault the header has the Message-ID %q", got)
	}
	if len(d.buf) > bufferLarge {
		t.Errorf("the failed draft holds %d bytes", len(d.buf))
	}
	_, err := d.Commit(f.ctx(), Envelope{}, []Intent{received(mario)}, nil)
	wantErr(t, "Commit of a failed draft", err, kv.ErrUnavailable)
	h.set(nil)
}

func TestNoVolumeForDraft(t *testing.T) {
	f := openFixture(t)
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	d := f.NewDraft(ctx)
	defer d.Discard()
	wantErr(t, "Err", d.Err(), context.Canceled)
	d.Write([]byte("Subject: x\r\n\r\n"))
	if string(d.Header()) != "Subject: x\r\n\r\n" {
		t.Errorf("the header is %q", d.Header())
	}
	_, err := d.Commit(f.ctx(), Envelope{}, []Intent{received(mario)}, nil)
	wantErr(t, "Commit", err, context.Canceled)
}

// TestDiscardWaits gives up a draft whose chunks are on their way to a store that does not answer.
func TestDiscardWaits(t *testing.T) {
	f, h := hookedFixture(t)
	ctx, cancel := context.WithCancel(f.ctx())
	begun, ended := make(chan struct{}), make(chan struct{})
	h.set(func(ctx context.Context, _ func(context.Context) error) error {
		close(begun)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	})
	d := f.NewDraft(ctx)
	d.Write(randomBytes(1, flushSize+2*chunkMax))
	<-begun
	h.set(nil)
	cancel()
	d.Discard()
	select {
	case <-ended:
	default:
		t.Error("Discard returned while the store still wrote")
	}
	d.Discard()
	f.want(mario)
}

// TestBuffersAreNotShared commits, discards, and lets the next draft use the memory, while the first one's bytes are read.
func TestBuffersAreNotShared(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	var refs []Ref
	var messages [][]byte
	for i := range 20 {
		message := randomBytes(uint64(i), 20<<10*(i%5+1))
		d := f.NewDraft(f.ctx())
		d.Write(message)
		placed, err := d.Commit(f.ctx(), Envelope{}, []Intent{received(mario)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.Discard()
		other := f.NewDraft(f.ctx())
		other.Write(bytes.Repeat([]byte{0xff}, 300<<10))
		other.Discard()
		refs, messages = append(refs, placed[0].Ref), append(messages, message)
	}
	for i, r := range refs {
		f.wantBytes(r, messages[i])
	}
}

func TestNewID(t *testing.T) {
	f := openFixture(t)
	last := f.newID()
	for i := range 1000 {
		if i == 500 {
			f.clock.set(november.Add(-time.Hour))
		}
		next := f.newID()
		if bytes.Compare(last[:], next[:]) >= 0 {
			t.Fatalf("id %x follows %x", next, last)
		}
		last = next
	}
}

// TestContextWhileFlushing changes the context of a draft while chunks of it are on their way to the store: a race is what it looks for.
func TestContextWhileFlushing(t *testing.T) {
	f := openFixture(t)
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	for message := randomBytes(1, 4<<20); d.flushed == nil; message = message[1000:] {
		d.Write(message[:1000])
	}
	ctx, cancel := context.WithCancel(f.ctx())
	defer cancel()
	d.SetContext(ctx)
	if d.awaitFlush(); d.Err() != nil {
		t.Error(d.Err())
	}
}
