package pull

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"time"

	"copialettere/policy/archive"
	"copialettere/policy/source"
)

// take imports the messages of a plan.
func (p *puller) take(ctx context.Context, f folder, todo plan) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fetched := make(chan outcome)
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for out := range fetched {
			if context.Cause(ctx) != nil {
				continue
			}
			if err := p.keepAll(ctx, f, out); err != nil {
				cancel(ownError{err})
			}
		}
	})
	hand := func(out outcome) error {
		select {
		case fetched <- out:
			return context.Cause(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := p.fetchAll(ctx, f, todo, hand)
	close(fetched)
	keeping.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// fetchAll fetches the messages of a plan, and hands them on.
func (p *puller) fetchAll(ctx context.Context, f folder, todo plan, hand func(outcome) error) error {
	all := batches(todo.fetch)
	for i := range todo.retry {
		all = append(all, todo.retry[i:i+1])
	}
	for _, b := range all {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var err error
		switch first := b[0]; {
		case first.size > p.o.MaxMessage:
			err = p.refuse(ctx, f, first, archive.KeptTooLarge, fmt.Sprintf("%d bytes, and at most %d are taken", first.size, p.o.MaxMessage))
		case first.size > alone:
			err = p.takeAlone(ctx, f, first)
		default:
			err = p.fetch(ctx, b, p.handOn(ctx, f, b, hand))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// handOn returns what hands on the outcome of the FETCH of a batch. A message that did not come right in a batch is fetched alone first.
func (p *puller) handOn(ctx context.Context, f folder, batch []listed, hand func(outcome) error) func(outcome) error {
	return func(out outcome) error {
		bad := out.bad
		out.bad = nil
		var single []listed
		for _, m := range batch {
			if why, is := bad[m.uid]; is && len(batch) > 1 && len(out.whole)+len(out.gone) > 0 {
				single = append(single, m)
			} else if is {
				if err := p.refuse(ctx, f, m, StateNotGiven, why); err != nil {
					return err
				}
			}
		}
		if err := hand(out); err != nil {
			return err
		}
		for i := range single {
			one := single[i : i+1]
			if err := p.fetch(ctx, one, p.handOn(ctx, f, one, hand)); err != nil {
				return err
			}
		}
		return nil
	}
}

// refuse tells that a message was not taken, and puts it on record, so that the next run tries it alone.
func (p *puller) refuse(ctx context.Context, f folder, m listed, state, why string) error {
	if err := p.o.Book.Note(ctx, p.place(f), []source.Message{{UID: m.uid, Size: m.size, Date: m.date, State: source.Refused}}, nil); err != nil {
		return ownError{err}
	}
	return p.tell(p.result(f, m, state, why))
}

// keepAll keeps what a FETCH has brought, and then puts that on record. Where the process dies between, the next run fetches it again, and its bytes are
// recognised.
func (p *puller) keepAll(ctx context.Context, f folder, out outcome) error {
	for _, m := range out.gone {
		if err := p.tell(p.result(f, m, StateGone, "")); err != nil {
			return err
		}
	}
	dealt := make([]source.Message, 0, len(out.whole))
	var failed error
	for _, m := range out.whole {
		one, err := p.keep(ctx, f, m.listed, bytes.NewReader(m.bytes))
		if err != nil {
			failed = err
			break
		}
		dealt = append(dealt, one)
	}
	// Also where it ends here: what was kept need not be fetched again. ctx may be over, but this is short.
	if err := p.o.Book.Note(context.WithoutCancel(ctx), p.place(f), dealt, nil); err != nil {
		return err
	}
	return failed
}

// takeAlone imports a message that streams.
func (p *puller) takeAlone(ctx context.Context, f folder, m listed) error {
	var one source.Message
	why, gone, err := p.stream(ctx, m, func(r io.Reader) (err error) {
		one, err = p.keep(ctx, f, m, r)
		return err
	})
	switch {
	case err != nil:
		return err
	case gone:
		return p.tell(p.result(f, m, StateGone, ""))
	case why != "":
		return p.refuse(ctx, f, m, StateNotGiven, why)
	}
	if err := p.o.Book.Note(ctx, p.place(f), []source.Message{one}, nil); err != nil {
		return ownError{err}
	}
	return nil
}

// keep keeps one message, tells what became of it, and returns what is to be put on record.
func (p *puller) keep(ctx context.Context, f folder, m listed, message io.Reader) (source.Message, error) {
	noted := source.Message{UID: m.uid, Size: m.size, Date: m.date, State: source.Refused}
	kept, err := p.o.Into.Keep(ctx, archive.Piece{
		Folder: f.name, Date: m.date, Size: m.size, Message: message,
		Source: fmt.Sprintf("%s/%s %d %d", p.o.Account.place(), f.name, p.uidValidity, m.uid),
	})
	if err != nil {
		return noted, err
	}
	r := p.result(f, m, kept.State, "")
	r.Folder, r.UID, r.SHA256 = kept.Folder, kept.UID, kept.SHA256
	if err := p.tell(r); err != nil {
		return noted, err
	}
	switch kept.State {
	case archive.KeptFull:
		return noted, fmt.Errorf("%w: no room for %d bytes of %s, message %d", ErrFull, m.size, f.name, m.uid)
	case archive.KeptImported, archive.KeptDuplicate:
		noted.State, noted.Imported, noted.In, noted.At = source.Taken, p.o.Now().UTC().Truncate(time.Second), kept.Folder, kept.UID
		if _, err := hex.Decode(noted.SHA256[:], []byte(kept.SHA256)); err != nil {
			return noted, err
		}
	}
	return noted, nil
}
