package imapd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"golang.org/x/text/cases"

	"copialettere/journal"
	"copialettere/journal/part"
)

// Limits of one search that reads the text of messages. Beyond them it is refused: a short result would look like a whole one.
const (
	maxSearchTime  = 30 * time.Second
	maxSearchBytes = 2 << 30 // of messages
	maxCriteria    = 1000    // keys of one search
)

// errTooWide says that a search is over its limits.
var errTooWide = errors.New("search too wide")

// search is one SEARCH under way.
type search struct {
	s     *session
	ctx   context.Context
	left  int64 // bytes that it may still read
	fold  cases.Caser
	index int // of the message looked at
	m     message
	flags []imap.Flag // of that message
}

// Search implements imapserver.Session.
func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, options *imap.SearchOptions) (*imap.SearchData, error) {
	if countCriteria(criteria) > maxCriteria {
		return nil, s.refuse(imap.ResponseCodeLimit, sentenceSearch)
	}
	// A search by numbers alone reads nothing in which the right is looked at.
	if _, err := s.reader.Access(s.conn.ctx); err != nil {
		return nil, s.reply(err)
	}
	ctx, cancel := context.WithTimeout(s.conn.ctx, s.conn.server.config.searchTime)
	defer cancel()
	if err := s.conn.turn.begin(ctx); err != nil {
		return nil, s.refuse(imap.ResponseCodeLimit, sentenceSearch)
	}
	defer s.conn.turn.end()
	found := &search{s: s, ctx: ctx, left: s.conn.server.config.searchBytes, fold: cases.Fold()}
	indices, err := found.all(criteria)
	switch {
	case errors.Is(err, errTooWide), err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, s.refuse(imap.ResponseCodeLimit, sentenceSearch)
	case errors.Is(err, errUnread):
		return nil, s.refuse(codeCorruption, sentenceDamaged)
	case err != nil:
		return nil, s.reply(err)
	}
	return s.result(kind, indices, options), nil
}

// errUnread says that a message could not be read, so that nobody knows whether it matches.
var errUnread = errors.New("a message cannot be read")

// result makes the reply of what was found, and saves it if it is to be saved.
func (s *session) result(kind imapserver.NumKind, indices []int, options *imap.SearchOptions) *imap.SearchData {
	var uids imap.UIDSet
	var numbers imap.SeqSet
	for _, i := range indices {
		uids.AddNum(imap.UID(s.selected.uids[i]))
		numbers.AddNum(uint32(i + 1))
	}
	data := &imap.SearchData{All: numbers, Count: uint32(len(indices))}
	number := func(i int) uint32 { return uint32(i + 1) }
	if kind == imapserver.NumKindUID {
		data.All = uids
		number = func(i int) uint32 { return s.selected.uids[i] }
	}
	if len(indices) > 0 {
		data.Min, data.Max = number(indices[0]), number(indices[len(indices)-1])
	}
	if options.ReturnSave {
		s.saved = uids
		if !options.ReturnAll && !options.ReturnCount && (options.ReturnMin || options.ReturnMax) {
			s.saved = nil // RFC 5182 section 2.4
			if options.ReturnMin && len(indices) > 0 {
				s.saved.AddNum(imap.UID(s.selected.uids[indices[0]]))
			}
			if options.ReturnMax && len(indices) > 0 {
				s.saved.AddNum(imap.UID(s.selected.uids[indices[len(indices)-1]]))
			}
		}
	}
	return data
}

// countCriteria returns the number of keys of a search.
func countCriteria(c *imap.SearchCriteria) int {
	n := 1 + len(c.SeqNum) + len(c.UID) + len(c.Header) + len(c.Body) + len(c.Text) + len(c.Flag) + len(c.NotFlag)
	for i := range c.Not {
		n += countCriteria(&c.Not[i])
	}
	for i := range c.Or {
		n += countCriteria(&c.Or[i][0]) + countCriteria(&c.Or[i][1])
	}
	return n
}

// all returns the indices of the messages that match. Only where numbers and flags do not decide are entries read.
func (q *search) all(c *imap.SearchCriteria) (indices []int, err error) {
	v := q.s.selected
	if !asksEntry(c) {
		for i := range v.uids {
			q.index, q.flags = i, v.flags(i)
			if ok, err := q.matches(c); err != nil {
				return nil, err
			} else if ok {
				indices = append(indices, i)
			}
		}
		return indices, nil
	}
	if len(v.uids) == 0 {
		return nil, nil
	}
	for e, err := range q.s.reader.Entries(q.ctx, v.folder, v.uids[0], v.uids[len(v.uids)-1]) {
		if e == nil {
			return nil, err
		}
		i, known := slices.BinarySearch(v.uids, e.UID)
		if !known {
			continue
		}
		if err == nil {
			err = q.s.conn.turn.step(q.ctx)
		}
		ok := false
		if err == nil {
			q.index, q.flags, q.m = i, v.flags(i), message{ctx: q.ctx, reader: q.s.reader, entry: e}
			ok, err = q.matches(c)
		}
		switch {
		case errors.Is(err, errTooWide) || q.ctx.Err() != nil:
			return nil, err
		case err != nil:
			q.s.conn.log.Error("a message cannot be searched", "mailbox", e.Mailbox, "folder", e.FolderName(), "uid", e.UID, "error", err)
			return nil, errUnread
		case ok:
			indices = append(indices, i)
		}
	}
	return indices, q.ctx.Err()
}

// asksEntry reports whether a search asks for more than numbers and flags.
func asksEntry(c *imap.SearchCriteria) bool {
	if !c.Since.IsZero() || !c.Before.IsZero() || !c.SentSince.IsZero() || !c.SentBefore.IsZero() || c.Larger > 0 || c.Smaller > 0 ||
		len(c.Header) > 0 || len(c.Body) > 0 || len(c.Text) > 0 {
		return true
	}
	return slices.ContainsFunc(c.Not, func(n imap.SearchCriteria) bool { return asksEntry(&n) }) ||
		slices.ContainsFunc(c.Or, func(o [2]imap.SearchCriteria) bool { return asksEntry(&o[0]) || asksEntry(&o[1]) })
}

// matches reports whether the message looked at matches. What costs nothing is asked first, the text last.
func (q *search) matches(c *imap.SearchCriteria) (bool, error) {
	if !q.numbersMatch(c) || !q.flagsMatch(c) || asksEntry(c) && q.m.entry != nil && !entryMatches(c, q.m.entry) {
		return false, nil
	}
	for _, f := range c.Header {
		if ok, err := q.fieldMatches(f.Key, f.Value); !ok || err != nil {
			return false, err
		}
	}
	for i := range c.Not {
		if ok, err := q.matches(&c.Not[i]); ok || err != nil {
			return false, err
		}
	}
	for i := range c.Or {
		ok, err := q.matches(&c.Or[i][0])
		if !ok && err == nil {
			ok, err = q.matches(&c.Or[i][1])
		}
		if !ok || err != nil {
			return false, err
		}
	}
	return q.textsMatch(c)
}

func (q *search) numbersMatch(c *imap.SearchCriteria) bool {
	within := func(set imap.NumSet) bool { return q.s.selected.within(set, q.s.saved, q.index) }
	for _, set := range c.SeqNum {
		if !within(set) {
			return false
		}
	}
	for _, set := range c.UID {
		if !within(set) {
			return false
		}
	}
	return true
}

func (q *search) flagsMatch(c *imap.SearchCriteria) bool {
	set := func(f imap.Flag) bool {
		return slices.ContainsFunc(q.flags, func(s imap.Flag) bool { return isFlag(s, f) })
	}
	return !slices.ContainsFunc(c.Flag, func(f imap.Flag) bool { return !set(f) }) && !slices.ContainsFunc(c.NotFlag, set)
}

// entryMatches compares dates, by the day that they name, and the size.
func entryMatches(c *imap.SearchCriteria, e *journal.Entry) bool {
	if c.Larger > 0 && e.Size <= c.Larger || c.Smaller > 0 && e.Size >= c.Smaller || !dayWithin(e.Dated(), c.Since, c.Before) {
		return false
	}
	if c.SentSince.IsZero() && c.SentBefore.IsZero() {
		return true
	}
	sent := dateOf(e.Date)
	return !sent.IsZero() && dayWithin(sent, c.SentSince, c.SentBefore)
}

// dayWithin reports whether the day that a time shows, in its own time zone, is not before since, and before another; zero is no limit.
func dayWithin(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return (since.IsZero() || !day.Before(since)) && (before.IsZero() || day.Before(before))
}

// fieldMatches reports whether a field of a name has a text in it. The empty text is in every field.
func (q *search) fieldMatches(name, text string) (bool, error) {
	header, err := q.m.header(0)
	if err != nil || !q.spend(int64(len(header))) {
		return false, cmp.Or(err, errTooWide)
	}
	want := q.folded(text)
	contains := func(s string) bool { return strings.Contains(q.folded(s), want) }
	for f := range part.Fields(header) {
		if f.Name == nil || !strings.EqualFold(string(f.Name), name) {
			continue
		}
		if contains(part.Decode(string(f.Value))) || hasAddresses(name) && slices.ContainsFunc(part.Addresses(string(f.Value)), func(a part.Address) bool {
			return contains(a.Local + "@" + a.Domain)
		}) {
			return true, nil
		}
	}
	return false, nil
}

// hasAddresses reports whether a field is searched for addresses as ENVELOPE has them, too: without comments and folds (RFC 3501 section 6.4.4).
func hasAddresses(field string) bool {
	return slices.ContainsFunc([]string{"From", "To", "Cc", "Bcc"}, func(s string) bool { return strings.EqualFold(s, field) })
}

// spend counts bytes that were read. It reports false once there were too many.
func (q *search) spend(n int64) bool {
	q.left -= n
	return q.left >= 0
}

// textsMatch searches the decoded text of the message: BODY in the texts of its parts, TEXT in its headers as well.
func (q *search) textsMatch(c *imap.SearchCriteria) (bool, error) {
	for _, text := range c.Body {
		if ok, err := q.contains(text, false); !ok || err != nil {
			return false, err
		}
	}
	for _, text := range c.Text {
		if ok, err := q.contains(text, true); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// contains reports whether a text is in a text part of the message, or in a header where headers count. Case does not matter.
func (q *search) contains(text string, headers bool) (bool, error) {
	if text == "" {
		return true, nil
	}
	want := []byte(q.folded(text))
	body, err := q.m.bytes()
	if err != nil {
		return false, err
	}
	parts := q.m.entry.Parts.Parts
	for i := range parts {
		p := &parts[i]
		if headers || i > 0 && (p.Parent >= 0 && parts[p.Parent].IsMessage()) {
			if ok, err := q.headerContains(i, want); ok || err != nil {
				return ok, err
			}
		}
		if !strings.HasPrefix(p.Type, "text/") && !(p.IsMultipart() && q.m.entry.Parts.Child(i, 1) < 0) {
			continue
		}
		r := part.Decoder(*p, io.NewSectionReader(body, p.Body, p.End-p.Body))
		if ok, err := q.stream(r, want, p.End-p.Body); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// headerContains looks for a text in the decoded fields of the header of part i.
func (q *search) headerContains(i int, want []byte) (bool, error) {
	header, err := q.m.header(i)
	if err != nil || !q.spend(int64(len(header))) {
		return false, cmp.Or(err, errTooWide)
	}
	for f := range part.Fields(header) {
		line := part.Decode(string(f.Value))
		if f.Name != nil {
			line = string(f.Name) + ": " + strings.TrimSpace(line)
		}
		if bytes.Contains(q.appendFolded(nil, []byte(line)), want) {
			return true, nil
		}
	}
	return false, nil
}

// stream looks for a text in a stream. Its memory does not depend on the length of the stream.
func (q *search) stream(r io.Reader, want []byte, size int64) (bool, error) {
	if !q.spend(size) {
		return false, errTooWide
	}
	buffer := make([]byte, 0, 64<<10)
	raw := make([]byte, 16<<10)
	kept := 0 // bytes at the start of raw that begin a character
	for {
		if err := errors.Join(q.ctx.Err(), q.s.conn.turn.step(q.ctx)); err != nil {
			return false, err
		}
		n, err := io.ReadFull(r, raw[kept:])
		whole := raw[:kept+n]
		if err == nil {
			whole = wholeCharacters(whole)
		}
		buffer = q.appendFolded(buffer, whole)
		kept = copy(raw, raw[len(whole):kept+n])
		if bytes.Contains(buffer, want) {
			return true, nil
		}
		buffer = append(buffer[:0], buffer[max(0, len(buffer)-len(want)):]...)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// folded returns s with its case folded: texts that differ in case alone become equal.
func (q *search) folded(s string) string { return string(q.appendFolded(nil, []byte(s))) }

// appendFolded appends text with its case folded. What is ASCII, most of it, needs no tables.
func (q *search) appendFolded(b, text []byte) []byte {
	for len(text) > 0 {
		n := 0
		for ; n < len(text) && text[n] < utf8.RuneSelf; n++ {
			c := text[n]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
		}
		text = text[n:]
		n = 0
		for n < len(text) && text[n] >= utf8.RuneSelf {
			n++
		}
		if n > 0 {
			b = append(b, q.fold.Bytes(text[:n])...)
		}
		text = text[n:]
	}
	return b
}

// wholeCharacters returns b without a character that is cut off at its end.
func wholeCharacters(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}
