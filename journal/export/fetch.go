package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// What is read at a time, and ahead at most: while some messages are written, the next ones come. More would take memory, and the archive from others.
const (
	someMessages  = 32
	someBytes     = 2 << 20
	aheadMessages = 4 * someMessages
	aheadBytes    = 4 * someBytes
)

// fetcher reads messages ahead of those who write them. Its methods are for one goroutine.
type fetcher struct {
	run   *run
	ctx   context.Context
	stop  context.CancelFunc
	under map[*Message]*fetched // that are being read, or wait to be taken
	size  int64                 // of these
	idle  []*held
	made  int // of held
	group sync.WaitGroup
}

// fetched is a message that was read, or what came of it.
type fetched struct {
	message *Message
	content *held
	status  Status // empty until it is known, or after an error
	err     error
	ready   chan struct{} // closed when the others are set
}

func newFetcher(ctx context.Context, r *run) *fetcher {
	f := &fetcher{run: r, under: make(map[*Message]*fetched)}
	f.ctx, f.stop = context.WithCancel(ctx)
	return f
}

// ahead begins to read the next messages, as far as they will surely be needed.
func (f *fetcher) ahead(next []*Message) {
	var list []*Message
	var size int64
	for _, m := range next {
		if len(f.under)+len(list) >= aheadMessages || f.size+size >= aheadBytes {
			return // what was begun before is to be taken first
		}
		if f.under[m] != nil || !f.run.form.needs(m) {
			continue
		}
		list, size = append(list, m), size+m.Size
		if len(list) == someMessages || size >= someBytes {
			f.begin(list)
			list, size = nil, 0
		}
	}
	if list != nil {
		f.begin(list)
	}
}

func (f *fetcher) begin(messages []*Message) {
	list := make([]*fetched, len(messages))
	for i, m := range messages {
		one := &fetched{message: m, ready: make(chan struct{})}
		if n := len(f.idle); n > 0 {
			one.content, f.idle = f.idle[n-1], f.idle[:n-1]
		} else {
			f.made++
			one.content = &held{disk: f.run.disk, name: f.run.temporary("message-" + strconv.Itoa(f.made))}
		}
		list[i], f.under[m] = one, one
		f.size += m.Size
	}
	f.group.Go(func() { f.run.fetch(f.ctx, list) })
}

// take waits until a message is read. Done is to be called with it once it is written.
func (f *fetcher) take(m *Message) *fetched {
	if f.under[m] == nil {
		f.begin([]*Message{m})
	}
	one := f.under[m]
	delete(f.under, m)
	f.size -= m.Size
	<-one.ready
	return one
}

func (f *fetcher) done(one *fetched) {
	one.content.reset()
	f.idle = append(f.idle, one.content)
}

// close ends what is being read, and waits for it.
func (f *fetcher) close() {
	f.stop()
	f.group.Wait()
	for _, one := range f.under {
		one.content.reset()
	}
}

// fetch reads messages, and compares them with what was journaled: all at once where the source can, and what does not come so, or not as it must be, by
// itself.
func (r *run) fetch(ctx context.Context, list []*fetched) {
	if source, ok := r.Source.(ManySource); ok && len(list) > 1 {
		messages := make([]*Message, len(list))
		for i, one := range list {
			messages[i] = one.message
		}
		// Why it ends early shows when the rest is asked for.
		source.CopyMany(ctx, messages, func(i int, content io.Reader) error {
			one := list[i]
			one.content.reset()
			if size, digest, err := one.content.take(content, one.message.Size); err != nil || size != one.message.Size || digest != one.message.SHA256 {
				return err
			}
			one.status = StatusExported
			close(one.ready)
			return nil
		})
	}
	for _, one := range list {
		if one.status == "" {
			one.status, one.err = r.fetchOne(ctx, one.message, one.content)
			close(one.ready)
		}
	}
}

// fetchOne reads a message. Where that fails it tries once more: a daemon may have been started anew.
func (r *run) fetchOne(ctx context.Context, m *Message, content *held) (Status, error) {
	status := StatusDamaged
	for try := 0; try < 2 && status == StatusDamaged; try++ {
		content.reset()
		counted := newDigested(content)
		switch err := r.Source.Copy(ctx, m, counted); {
		case errors.Is(err, ErrGone):
			status = StatusGone
		case errors.Is(err, ErrUnreadable):
		case err != nil:
			return "", fmt.Errorf("%s %d: %w", m.Folder, m.UID, err)
		case counted.size == m.Size && counted.digest() == m.SHA256:
			status = StatusExported
		}
	}
	return status, nil
}

// maxHeld is how much of a message is held in memory before it goes to a file, and maxIdle how much of that is kept for another one.
const (
	maxHeld = 4 << 20
	maxIdle = 256 << 10
)

// held is the bytes of one message, in memory or in a file.
type held struct {
	memory bytes.Buffer
	file   *outFile // nil while memory suffices
	disk   *disk
	name   string
}

// take holds what a reader has, which should be so many bytes, and returns how many they are, and their SHA-256.
func (h *held) take(content io.Reader, expected int64) (size int64, digest string, err error) {
	if expected > maxHeld {
		counted := newDigested(h)
		_, err = io.Copy(counted, content)
		return counted.size, counted.digest(), err
	}
	h.memory.Grow(int(expected) + bytes.MinRead)
	size, err = h.memory.ReadFrom(content)
	sum := sha256.Sum256(h.memory.Bytes())
	return size, hex.EncodeToString(sum[:]), err
}

// Write implements io.Writer.
func (h *held) Write(b []byte) (int, error) {
	if h.file == nil && h.memory.Len()+len(b) > maxHeld {
		var err error
		if h.file, err = h.disk.create(h.name); err != nil {
			return 0, err
		}
		if _, err := h.file.Write(h.memory.Bytes()); err != nil {
			return 0, err
		}
		h.memory = bytes.Buffer{}
	}
	if h.file != nil {
		return h.file.Write(b)
	}
	return h.memory.Write(b)
}

// reader returns the bytes from the first on. Another call begins again.
func (h *held) reader() io.Reader {
	if h.file == nil {
		return bytes.NewReader(h.memory.Bytes())
	}
	return h.file.content()
}

// reset forgets the message.
func (h *held) reset() {
	if h.memory.Reset(); h.memory.Cap() > maxIdle {
		h.memory = bytes.Buffer{}
	}
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}
