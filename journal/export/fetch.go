package export

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// fetchAhead is how many messages are read at a time: while one is written, the next one comes. More would take the archive from others.
const fetchAhead = 2

// fetcher reads messages ahead of those who write them. Its methods are for one goroutine.
type fetcher struct {
	run   *run
	ctx   context.Context
	stop  context.CancelFunc
	under map[*Message]*fetched // that are being read, or wait to be taken
	idle  []*held
	made  int // of held
	group sync.WaitGroup
}

// fetched is a message that was read, or what came of it.
type fetched struct {
	content *held
	status  Status
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
	for _, m := range next[:min(len(next), fetchAhead)] {
		if f.under[m] == nil && f.run.form.needs(m) {
			f.begin(m)
		}
	}
}

func (f *fetcher) begin(m *Message) {
	one := &fetched{ready: make(chan struct{})}
	if n := len(f.idle); n > 0 {
		one.content, f.idle = f.idle[n-1], f.idle[:n-1]
	} else {
		f.made++
		one.content = &held{disk: f.run.disk, name: f.run.temporary("message-" + strconv.Itoa(f.made))}
	}
	f.under[m] = one
	f.group.Go(func() {
		defer close(one.ready)
		one.status, one.err = f.run.fetch(f.ctx, m, one.content)
	})
}

// take waits until a message is read. Done is to be called with it once it is written.
func (f *fetcher) take(m *Message) *fetched {
	if f.under[m] == nil {
		f.begin(m)
	}
	one := f.under[m]
	delete(f.under, m)
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

// fetch reads a message, and compares it with what was journaled. Where that fails it tries once more: a daemon may have been started anew.
func (r *run) fetch(ctx context.Context, m *Message, content *held) (Status, error) {
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
