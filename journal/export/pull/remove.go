package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"copialettere/policy/source"
)

// due reports whether a message is to be deleted at the source now.
func (p *puller) due(m *source.Message) bool {
	days := *p.o.DeleteAfter
	return m.State == source.Taken && !p.o.Now().Before(m.Imported.AddDate(0, 0, days))
}

// remove deletes at the source what is due in a folder: messages that are listed as they are known, are fetched once more, and then are equal byte for
// byte to those that the archive has. It deletes by UID EXPUNGE (RFC 4315) of exactly these, and looks for them afterwards; nothing else is ever expunged.
func (p *puller) remove(ctx context.Context, f folder, list []listed) error {
	var due []listed
	known := make(map[uint32]source.Message)
	i := 0
	for m, err := range p.o.Book.Messages(ctx, p.place(f)) {
		if err != nil {
			return ownError{err}
		}
		for i < len(list) && list[i].uid < m.UID {
			i++
		}
		if i < len(list) && list[i].uid == m.UID && list[i].same(&m) && p.due(&m) {
			due = append(due, list[i])
			known[m.UID] = m
		}
	}
	if len(due) == 0 {
		return nil
	}
	if why, err := p.openToDelete(f); err != nil || why != "" {
		if why == "" {
			return err
		}
		return p.tell(Result{State: StateNotDeleted, SourceFolder: f.name, Messages: len(due), Detail: why})
	}
	for _, b := range batches(due) {
		equal, err := p.equal(ctx, f, b, known)
		if err != nil {
			return err
		}
		if len(equal) == 0 {
			continue
		}
		if err := p.expunge(ctx, f, equal); err != nil {
			return err
		}
	}
	return nil
}

// openToDelete opens a folder so that messages can be deleted. why says why they cannot.
func (p *puller) openToDelete(f folder) (why string, err error) {
	if !p.c.has("UIDPLUS") {
		return "the server has no UIDPLUS, without which what other programs have marked would be deleted too", nil
	}
	at, err := p.c.open(f.raw, true)
	if err != nil {
		return "", err
	}
	if at.uidValidity != p.uidValidity {
		return "", errChanged
	}
	p.write = true
	switch {
	case !at.readWrite:
		return "the server opens the folder for reading only", nil
	case at.permanent != nil && !slices.Contains(at.permanent, `\deleted`):
		return `the server lets nobody mark messages as \Deleted here`, nil
	}
	return "", nil
}

// equal returns the messages of a batch whose bytes are those of the archive, and tells of the others.
func (p *puller) equal(ctx context.Context, f folder, batch []listed, known map[uint32]source.Message) ([]listed, error) {
	var equal []listed
	compared := func(m listed, same bool) error {
		if same {
			equal = append(equal, m)
			return nil
		}
		return p.tell(p.result(f, m, StateNotDeleted, "the archive does not have these bytes any more"))
	}
	if m := batch[0]; m.size > alone {
		var same bool
		why, gone, err := p.stream(ctx, m, func(r io.Reader) (err error) {
			same, err = p.o.Holds(ctx, known[m.uid], r)
			return err
		})
		switch {
		case err != nil:
			return nil, err
		case gone:
			return nil, nil
		case why != "":
			return nil, p.tell(p.result(f, m, StateNotDeleted, why))
		}
		err = compared(m, same)
		return equal, err
	}
	err := p.fetch(ctx, batch, func(out outcome) error {
		for _, m := range out.whole {
			same, err := p.o.Holds(ctx, known[m.uid], bytes.NewReader(m.bytes))
			if err != nil {
				return ownError{err}
			}
			if err := compared(m.listed, same); err != nil {
				return err
			}
		}
		for _, m := range batch {
			if why := out.bad[m.uid]; why != "" {
				if err := p.tell(p.result(f, m, StateNotDeleted, why)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return equal, err
}

// expunge deletes messages at the source, and looks whether they are gone: an OK proves nothing.
func (p *puller) expunge(ctx context.Context, f folder, list []listed) error {
	uids := uidsOf(list)
	refused := ""
	for _, command := range [][2]string{{"UID STORE", setOf(uids) + ` +FLAGS.SILENT (\Deleted)`}, {"UID EXPUNGE", setOf(uids)}} {
		err := p.c.command(10*time.Minute, command[0], command[1])
		var no *statusError
		if errors.As(err, &no) {
			refused = err.Error()
			break
		}
		if err != nil {
			return err // whether it was done is not known: the next run looks
		}
	}
	left, err := p.c.present(uids)
	if err != nil {
		return err
	}
	var gone []uint32
	for _, m := range list {
		state, why := StateDeleted, ""
		if slices.Contains(left, m.uid) {
			if state, why = StateNotDeleted, refused; why == "" {
				why = "the server says that it is deleted, and it is still there"
			}
		} else {
			gone = append(gone, m.uid)
		}
		if err := p.tell(p.result(f, m, state, why)); err != nil {
			return err
		}
	}
	if err := p.o.Book.Note(context.WithoutCancel(ctx), p.place(f), nil, gone); err != nil {
		return ownError{err}
	}
	if len(left) > 0 {
		// A mark that stays would have another program delete them some day.
		if err := p.c.command(10*time.Minute, "UID STORE", setOf(left)+` -FLAGS.SILENT (\Deleted)`); err != nil {
			return fmt.Errorf("take the mark back: %w", err)
		}
	}
	return nil
}
