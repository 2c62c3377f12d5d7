//go:build bench

package imapd

import (
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"golang.org/x/text/cases"
)

// writable is a session over a shelf: the test backend on which every command of IMAP can be tried over the connection layer, go-imap, and what FETCH
// and SEARCH make of the part table. Of the session of an archive it has the sign-in.
type writable struct {
	*session
	shelf *shelf

	box     *box
	known   []*letter     // as the program knows them; the index is the sequence number less one
	flags   [][]imap.Flag // of each, as last told
	words   []imap.Flag   // the flags that the program was told of
	recent  map[*letter]bool
	examine bool
}

func (s *writable) readOnly() bool { return s.examine }

func (s *writable) appendRefused(string, int64) string {
	if !s.signedIn() {
		return "BAD Sign in first"
	}
	return ""
}

func no(code imap.ResponseCode, text string) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
}

// named returns the name of a folder as the shelf has it.
func named(name string) string {
	if top, rest, _ := strings.Cut(name, "/"); strings.EqualFold(top, "INBOX") {
		name = "INBOX/" + rest
	}
	return strings.TrimRight(name, "/")
}

func (s *writable) find(name string, code imap.ResponseCode) (*box, error) {
	if b := s.shelf.folders[named(name)]; b != nil {
		return b, nil
	}
	return nil, no(code, "No such folder")
}

func (s *writable) Select(name string, o *imap.SelectOptions) (*imap.SelectData, error) {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	b, err := s.find(name, imap.ResponseCodeNonExistent)
	if err != nil {
		return nil, err
	}
	s.box, s.examine, s.saved = b, o.ReadOnly, nil
	s.known, s.flags, s.words, s.recent = nil, nil, nil, make(map[*letter]bool)
	data := &imap.SelectData{NumMessages: uint32(len(b.letters)), UIDNext: imap.UID(b.next), UIDValidity: b.validity}
	for i, l := range b.letters {
		s.know(l)
		if data.FirstUnseenSeqNum == 0 && !hasFlag(l.flags, imap.FlagSeen) {
			data.FirstUnseenSeqNum = uint32(i + 1)
		}
	}
	s.newWords()
	data.NumRecent, data.Flags = uint32(len(s.recent)), s.words
	if !s.examine {
		data.PermanentFlags = append(slices.Clone(s.words), imap.FlagWildcard)
	}
	return data, nil
}

func (s *writable) know(l *letter) {
	s.known, s.flags = append(s.known, l), append(s.flags, l.flags)
	if l.fresh {
		s.recent[l], l.fresh = true, s.examine
	}
}

// shown returns the flags of a message as the program may see them: with \Recent, which belongs to the session, and without those that it was not told
// of yet. news tells of them.
func (s *writable) shown(l *letter) []imap.Flag {
	list := s.told(l)
	if s.recent[l] {
		list = append(list, recent)
	}
	return list
}

// told returns the stored flags of a message that are among the words.
func (s *writable) told(l *letter) (list []imap.Flag) {
	for _, f := range l.flags {
		if hasFlag(s.words, f) {
			list = append(list, f)
		}
	}
	return list
}

const recent = imap.Flag(`\Recent`)

// newWords adds to the words the flags in use that are not among them, and reports whether there are any.
func (s *writable) newWords() bool {
	n := len(s.words)
	if n == 0 {
		s.words = []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft}
	}
	for _, l := range s.known {
		for _, f := range l.flags {
			if !hasFlag(s.words, f) {
				s.words = append(s.words, f)
			}
		}
	}
	return len(s.words) != n
}

func (s *writable) Unselect() error {
	s.box, s.known, s.flags, s.saved = nil, nil, nil, nil
	return nil
}

func (s *writable) Create(name string, _ *imap.CreateOptions) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	name = named(name)
	if s.shelf.folders[name] != nil {
		return no(imap.ResponseCodeAlreadyExists, "There is one already")
	}
	s.shelf.create(name)
	return nil
}

func (s *writable) Delete(name string) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	b, err := s.find(name, imap.ResponseCodeNonExistent)
	switch {
	case err != nil:
		return err
	case named(name) == "INBOX":
		return no(imap.ResponseCodeCannot, "INBOX stays")
	}
	s.shelf.remove(b, func(*letter) bool { return true })
	delete(s.shelf.folders, named(name))
	return nil
}

// Rename renames a folder and those in it. Of INBOX the messages move (RFC 3501 section 6.3.5).
func (s *writable) Rename(from, to string, _ *imap.RenameOptions) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	from, to = named(from), named(to)
	b, err := s.find(from, imap.ResponseCodeNonExistent)
	switch {
	case err != nil:
		return err
	case s.shelf.folders[to] != nil:
		return no(imap.ResponseCodeAlreadyExists, "There is one already")
	case from == "INBOX":
		moved := s.shelf.create(to)
		for _, l := range b.letters {
			s.shelf.file(moved, l.text, l.entry.Time, l.flags)
		}
		s.shelf.remove(b, func(*letter) bool { return true })
		return nil
	}
	for name, b := range maps.Clone(s.shelf.folders) {
		if rest, ok := strings.CutPrefix(name, from); ok && (rest == "" || rest[0] == '/') {
			delete(s.shelf.folders, name)
			s.shelf.folders[to+rest] = b
		}
	}
	return nil
}

func (s *writable) Subscribe(name string) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if _, err := s.find(name, imap.ResponseCodeNonExistent); err != nil {
		return err
	}
	s.shelf.subscribed[named(name)] = true
	return nil
}

func (s *writable) Unsubscribe(name string) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	delete(s.shelf.subscribed, named(name))
	return nil
}

// List shows folders, and above them those that are only part of a name (RFC 5258). What is subscribed is shown also when it is gone.
func (s *writable) List(w *imapserver.ListWriter, ref string, patterns []string, o *imap.ListOptions) error {
	if len(patterns) == 0 {
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: '/'})
	}
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	names := make(map[string]bool)
	for _, set := range []iter.Seq[string]{maps.Keys(s.shelf.folders), maps.Keys(s.shelf.subscribed)} {
		for name := range set {
			names[name] = true
			for i := range name {
				if name[i] == '/' {
					names[name[:i]] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !matches(name, ref, patterns) {
			continue
		}
		if data := s.listed(name, ref, patterns, o); data != nil {
			if err := w.WriteList(data); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed returns what LIST says of a folder, or nil where it is not selected. LSUB shows a folder also where one
// below it is subscribed that the patterns do not match (RFC 3501 section 6.3.9).
func (s *writable) listed(name, ref string, patterns []string, o *imap.ListOptions) *imap.ListData {
	data := &imap.ListData{Mailbox: name, Delim: '/'}
	subscribed, below := s.shelf.subscribed[name], false
	for other := range s.shelf.subscribed {
		below = below || strings.HasPrefix(other, name+"/") && !matches(other, ref, patterns)
	}
	lsub := s.conn.command.verb == "LSUB"
	if o.SelectSubscribed && !subscribed && !(below && (o.SelectRecursiveMatch || lsub)) {
		return nil
	}
	if o.SelectRecursiveMatch && below {
		data.ChildInfo = &imap.ListDataChildInfo{Subscribed: true}
	}
	b := s.shelf.folders[name]
	children := imap.MailboxAttrHasNoChildren
	for other := range s.shelf.folders {
		if strings.HasPrefix(other, name+"/") {
			children = imap.MailboxAttrHasChildren
		}
	}
	data.Attrs = append(data.Attrs, children)
	switch {
	case lsub && !subscribed:
		data.Attrs = append(data.Attrs, imap.MailboxAttrNoSelect)
	case b == nil:
		data.Attrs = append(data.Attrs, imap.MailboxAttrNonExistent)
	}
	if subscribed && (o.ReturnSubscribed || o.SelectSubscribed && !lsub) {
		data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
	}
	if b != nil && o.ReturnStatus != nil {
		data.Status = b.status(name, o.ReturnStatus)
	}
	return data
}

func (s *writable) Status(name string, o *imap.StatusOptions) (*imap.StatusData, error) {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	b, err := s.find(name, imap.ResponseCodeNonExistent)
	if err != nil {
		return nil, err
	}
	return b.status(name, o), nil
}

func (s *writable) Append(name string, r imap.LiteralReader, o *imap.AppendOptions) (*imap.AppendData, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	b, err := s.find(name, imap.ResponseCodeTryCreate)
	if err != nil {
		return nil, err
	}
	at := o.Time
	if at.IsZero() {
		at = time.Now()
	}
	uid := s.shelf.file(b, string(text), at, o.Flags)
	return &imap.AppendData{UID: imap.UID(uid), UIDValidity: b.validity}, nil
}

func (s *writable) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	s.idling.Wait()
	return s.news(w, allowExpunge)
}

// news tells what has changed in the box. Messages that have gone are told only where that is allowed, and keep their numbers until then.
func (s *writable) news(w *imapserver.UpdateWriter, allowExpunge bool) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if s.box == nil {
		return nil
	}
	for i := 0; allowExpunge && i < len(s.known); {
		if !s.known[i].gone {
			i++
			continue
		}
		s.forget(i)
		if err := w.WriteExpunge(uint32(i + 1)); err != nil {
			return err
		}
	}
	last := uint32(0)
	if n := len(s.known); n > 0 {
		last = s.known[n-1].entry.UID
	}
	came := false
	for _, l := range s.box.letters {
		if l.entry.UID > last {
			s.know(l)
			came = true
		}
	}
	if came {
		if err := w.WriteNumMessages(uint32(len(s.known))); err != nil {
			return err
		}
		if err := w.WriteNumRecent(uint32(len(s.recent))); err != nil {
			return err
		}
	}
	if s.newWords() {
		if err := w.WriteMailboxFlags(s.words); err != nil {
			return err
		}
	}
	for i, l := range s.known {
		if !slices.Equal(l.flags, s.flags[i]) {
			s.flags[i] = l.flags
			if err := w.WriteMessageFlags(uint32(i+1), 0, s.shown(l)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *writable) forget(i int) {
	delete(s.recent, s.known[i])
	s.known, s.flags = slices.Delete(s.known, i, i+1), slices.Delete(s.flags, i, i+1)
}

func (s *writable) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	if !s.begin() {
		return nil
	}
	defer s.idling.Done()
	for {
		s.shelf.mu.Lock()
		changed := s.shelf.changed
		s.shelf.mu.Unlock()
		if err := s.news(w, true); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-s.conn.ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Expunge removes the messages that are marked as deleted. w tells nothing: Poll does.
func (s *writable) Expunge(_ *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if s.examine {
		return nil
	}
	s.shelf.remove(s.box, func(l *letter) bool {
		return hasFlag(l.flags, imap.FlagDeleted) && (uids == nil || uids.Contains(imap.UID(l.entry.UID)))
	})
	return nil
}

// view returns the messages that the program knows, as FETCH and SEARCH take them.
func (s *writable) view() *view {
	v := &view{uids: make([]uint32, len(s.known))}
	for i, l := range s.known {
		v.uids[i] = l.entry.UID
	}
	return v
}

// each calls do for the messages of a set, and with the index of each.
func (s *writable) each(set imap.NumSet, do func(int, *letter) error) error {
	for _, r := range s.view().spans(set, s.saved) {
		for i := r.first; i < r.end; i++ {
			if err := do(i, s.known[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *writable) Fetch(w *imapserver.FetchWriter, set imap.NumSet, o *imap.FetchOptions) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	reads := !s.examine && slices.ContainsFunc(o.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek })
	return s.each(set, func(i int, l *letter) error {
		options := *o
		if reads && !hasFlag(l.flags, imap.FlagSeen) {
			l.flags = append(slices.Clip(l.flags), imap.FlagSeen)
			s.shelf.tell()
			options.Flags = true
		}
		if options.Flags {
			s.flags[i] = s.told(l)
		}
		f := &fetching{s: s.session, w: w, options: &options}
		m := l.message(s.conn.ctx)
		items, err := f.prepare(&m)
		if err != nil {
			return err
		}
		reply := w.CreateMessage(uint32(i + 1))
		if err := f.write(reply, imap.UID(l.entry.UID), s.shown(l), l.entry, items); err != nil {
			return err
		}
		return reply.Close()
	})
}

func (s *writable) Store(w *imapserver.FetchWriter, set imap.NumSet, change *imap.StoreFlags, _ *imap.StoreOptions) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if s.examine {
		return no(imap.ResponseCodeNoPerm, "Opened read-only")
	}
	_, numbers := set.(imap.SeqSet)
	return s.each(set, func(i int, l *letter) error {
		l.flags = changedFlags(l.flags, change)
		s.shelf.tell()
		if change.Silent {
			s.flags[i] = l.flags
			return nil
		}
		if numbers {
			return nil // Poll tells
		}
		s.flags[i] = s.told(l)
		reply := w.CreateMessage(uint32(i + 1))
		reply.WriteUID(imap.UID(l.entry.UID))
		reply.WriteFlags(s.shown(l))
		return reply.Close()
	})
}

// copyTo files the messages of a set in another box.
func (s *writable) copyTo(set imap.NumSet, name string) (*imap.CopyData, error) {
	to, err := s.find(name, imap.ResponseCodeTryCreate)
	if err != nil {
		return nil, err
	}
	err = s.each(set, func(_ int, l *letter) error {
		if l.gone {
			return no(codeExpungeIssued, "Some messages are gone")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var source, dest imap.UIDSet
	err = s.each(set, func(_ int, l *letter) error {
		source.AddNum(imap.UID(l.entry.UID))
		dest.AddNum(imap.UID(s.shelf.file(to, l.text, l.entry.Time, l.flags)))
		return nil
	})
	if err != nil || len(source) == 0 {
		return nil, err
	}
	return &imap.CopyData{UIDValidity: to.validity, SourceUIDs: source, DestUIDs: dest}, nil
}

func (s *writable) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	return s.copyTo(set, name)
}

func (s *writable) Move(w *imapserver.MoveWriter, set imap.NumSet, name string) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	data, err := s.copyTo(set, name)
	if err != nil || data == nil {
		return err
	}
	if err := w.WriteCopyData(data); err != nil {
		return err
	}
	s.shelf.remove(s.box, func(l *letter) bool { return data.SourceUIDs.Contains(imap.UID(l.entry.UID)) })
	return nil // Poll tells
}

func (s *writable) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, options *imap.SearchOptions) (*imap.SearchData, error) {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	s.selected = s.view()
	defer func() { s.selected = nil }()
	q := &search{s: s.session, ctx: s.conn.ctx, left: maxSearchBytes, fold: cases.Fold()}
	var indices []int
	for i, l := range s.known {
		q.index, q.m, q.flags = i, l.message(s.conn.ctx), s.shown(l)
		ok, err := q.matches(criteria)
		if err != nil {
			return nil, err
		}
		if ok {
			indices = append(indices, i)
		}
	}
	return s.result(kind, indices, options), nil
}
