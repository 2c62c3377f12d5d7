package imapd

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"copialettere/journal"
)

// span is a range of sequence numbers less one: first <= i < end.
type span struct{ first, end int }

// spans returns which messages of the view a set names, in ascending order. Numbers that no message has are left out.
func (v *view) spans(set imap.NumSet, saved imap.UIDSet) []span {
	var list []span
	n := uint32(len(v.uids))
	add := func(first, end int) {
		if first < end {
			list = append(list, span{first, end})
		}
	}
	switch set := set.(type) {
	case imap.SeqSet:
		for _, r := range set {
			start, stop := between(r.Start, r.Stop, n)
			add(int(max(start, 1))-1, int(min(stop, n)))
		}
	case imap.UIDSet:
		if imap.IsSearchRes(set) {
			set = saved
		}
		last := uint32(0)
		if n > 0 {
			last = v.uids[n-1]
		}
		for _, r := range set {
			start, stop := between(uint32(r.Start), uint32(r.Stop), last)
			first, _ := slices.BinarySearch(v.uids, start)
			end, found := slices.BinarySearch(v.uids, stop)
			if found {
				end++
			}
			add(first, end)
		}
	}
	return list
}

// between orders the ends of a range, where 0 stands for the last number.
func between(a, b, last uint32) (start, stop uint32) {
	if a == 0 {
		a = last
	}
	if b == 0 {
		b = last
	}
	return min(a, b), max(a, b)
}

// fetching is one FETCH under way.
type fetching struct {
	s       *session
	w       *imapserver.FetchWriter
	options *imap.FetchOptions
	gone    bool   // a message has gone since the program was last told
	damaged bool   // a message cannot be read
	line    []byte // buffer for one
}

// Fetch implements imapserver.Session. What cannot be read is left out, and the reply then says NO; likewise what has gone, where it is named by
// its sequence number.
func (s *session) Fetch(w *imapserver.FetchWriter, set imap.NumSet, options *imap.FetchOptions) error {
	if err := s.conn.turn.begin(s.conn.ctx); err != nil {
		return s.reply(err)
	}
	defer s.conn.turn.end()
	f := &fetching{s: s, w: w, options: options}
	for _, r := range s.selected.spans(set, s.saved) {
		if err := f.span(r); err != nil {
			return s.reply(err)
		}
	}
	_, numbers := set.(imap.SeqSet)
	switch {
	case f.damaged:
		return s.refuse(codeCorruption, sentenceDamaged)
	case f.gone && numbers:
		return s.refuse(codeExpungeIssued, sentenceGone)
	}
	return nil
}

// needsEntry reports whether more is asked for than the view knows.
func needsEntry(o *imap.FetchOptions) bool {
	return o.InternalDate || o.RFC822Size || o.Envelope || o.BodyStructure != nil || len(o.BodySection) > 0
}

func (f *fetching) span(r span) error {
	v := f.s.selected
	if !needsEntry(f.options) {
		for i := r.first; i < r.end; i++ {
			if err := f.message(i, nil); err != nil {
				return err
			}
		}
		return nil
	}
	read := f.s.reader.Entries
	if inLine(f.options) {
		read = f.s.reader.Heads
	}
	next := r.first
	for e, err := range read(f.s.conn.ctx, v.folder, v.uids[r.first], v.uids[r.end-1]) {
		if e == nil {
			return err
		}
		for next < r.end && v.uids[next] < e.UID {
			f.gone = true
			next++
		}
		switch {
		case next == r.end || v.uids[next] != e.UID:
			continue
		case err != nil:
			f.note(e, err)
		default:
			if err := f.message(next, e); err != nil {
				return err
			}
		}
		next++
	}
	f.gone = f.gone || next < r.end
	return f.s.conn.ctx.Err()
}

// note keeps in mind that a message cannot be read.
func (f *fetching) note(e *journal.Entry, err error) {
	f.damaged = true
	f.s.conn.log.Error("a message cannot be read", "mailbox", e.Mailbox, "folder", e.FolderName(), "uid", e.UID, "error", err)
}

// message answers for one message. An error ends the connection.
func (f *fetching) message(i int, e *journal.Entry) error {
	if err := f.s.conn.turn.step(f.s.conn.ctx); err != nil {
		return err
	}
	if !inLine(f.options) {
		return f.full(i, e)
	}
	line, ok := f.appendLine(f.line[:0], i, e)
	f.line = line
	if ok {
		_, err := f.s.conn.out.write(line)
		return err
	}
	for e, err := range f.s.reader.Entries(f.s.conn.ctx, f.s.selected.folder, e.UID, e.UID) {
		switch {
		case e == nil:
			return err
		case err != nil:
			f.note(e, err)
			return nil
		}
		return f.full(i, e)
	}
	f.gone = true
	return f.s.conn.ctx.Err()
}

// full has go-imap write the answer for one message.
func (f *fetching) full(i int, e *journal.Entry) error {
	m := message{ctx: f.s.conn.ctx, reader: f.s.reader, entry: e}
	items, err := f.prepare(&m)
	if err != nil {
		if f.s.conn.ctx.Err() != nil {
			return err
		}
		f.note(e, err)
		return nil
	}
	w := f.w.CreateMessage(uint32(i + 1))
	if err := f.write(w, imap.UID(f.s.selected.uids[i]), f.s.selected.flags(i), e, items); err != nil {
		f.s.conn.log.Error("a message cannot be read to its end", "mailbox", e.Mailbox, "folder", e.FolderName(), "uid", e.UID, "error", err)
		f.s.conn.server.spoiled.add(e.Ref)
		f.s.conn.out.fail(fmt.Errorf("message %d cannot be read: %w", i+1, err))
		w.Close()
		return err
	}
	return w.Close()
}

// items are what a reply needs of a message. All that can fail before its first byte has been read.
type items struct {
	envelope  *imap.Envelope
	structure imap.BodyStructure
	sections  []func(io.Writer) error
	sizes     []int64
}

func (f *fetching) prepare(m *message) (it items, err error) {
	if f.options.Envelope {
		if it.envelope, err = m.envelope(0); err != nil {
			return it, err
		}
	}
	if f.options.BodyStructure != nil {
		if it.structure, err = m.structure(); err != nil {
			return it, err
		}
	}
	for _, item := range f.options.BodySection {
		body, err := m.bytes()
		if err != nil {
			return it, err
		}
		section, narrowed := sectionOf(&m.entry.Parts, m.entry.Size, item).narrow(item.Partial)
		size, write, err := section.open(body)
		if err != nil {
			return it, err
		}
		if !narrowed {
			size, write = partial(size, write, item.Partial)
		}
		if write, err = f.s.conn.server.spoiled.tried(m.entry.Ref, size, write); err != nil {
			return it, err
		}
		it.sections, it.sizes = append(it.sections, write), append(it.sizes, size)
	}
	return it, nil
}

// storedFlags are those of every message of an archive.
var storedFlags = []imap.Flag{imap.FlagSeen}

func (f *fetching) write(w *imapserver.FetchResponseWriter, uid imap.UID, flags []imap.Flag, e *journal.Entry, it items) error {
	o := f.options
	if o.UID {
		w.WriteUID(uid)
	}
	if o.Flags {
		w.WriteFlags(flags)
	}
	if o.InternalDate {
		w.WriteInternalDate(e.Dated())
	}
	if o.RFC822Size {
		w.WriteRFC822Size(e.Size)
	}
	if o.Envelope {
		w.WriteEnvelope(it.envelope)
	}
	if o.BodyStructure != nil {
		w.WriteBodyStructure(it.structure)
	}
	for n, item := range o.BodySection {
		literal := w.WriteBodySection(item, it.sizes[n])
		if err := errors.Join(it.sections[n](literal), literal.Close()); err != nil {
			return err
		}
	}
	return nil
}
