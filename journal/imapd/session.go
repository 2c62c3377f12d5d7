package imapd

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// session answers what go-imap asks of an archive. But for Idle, go-imap calls one method at a time.
type session struct {
	conn     *conn
	reader   *archive.Reader // nil until somebody has signed in
	language policy.Language // of what people read

	selected *view
	saved    imap.UIDSet // the result of the last SEARCH that was to be saved (RFC 5182)
	ended    bool        // the archive was closed to the program

	// go-imap runs Idle on a goroutine of its own, which may begin and end a little after go-imap has gone on.
	begun  chan struct{}  // has room for one: Idle has begun
	idling sync.WaitGroup // Idle runs
	mu     sync.Mutex
	closed bool // Idle does nothing any more; guarded by mu
}

var _ imapserver.SessionMove = (*session)(nil)
var _ imapserver.SessionNamespace = (*session)(nil)
var _ imapserver.SessionSASL = (*session)(nil)

// view is a folder as its program sees it. What has come and gone since shows in the next Poll.
type view struct {
	folder archive.Folder
	uids   []uint32        // ascending; the index is the sequence number less one
	marked map[uint32]bool // \Deleted, by UID

	readOnly bool // opened with EXAMINE, or nothing could be changed when it was opened
}

func newSession(c *conn) *session {
	return &session{conn: c, language: policy.English, begun: make(chan struct{}, 1)}
}

// Close implements imapserver.Session.
func (s *session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.idling.Wait()
	return nil
}

func (s *session) signedIn() bool { return s.reader != nil }

// readOnly implements backend.
func (s *session) readOnly() bool { return s.selected == nil || s.selected.readOnly }

// close ends the connection once the reply under way is given: the person may no longer read the archive, and is told why.
func (s *session) close(why policy.Label) {
	if s.signedIn() && !s.ended {
		s.ended = true
		s.conn.interrupt("[UNAVAILABLE] " + s.say(why))
	}
}

// Login implements imapserver.Session.
func (s *session) Login(name, password string) error {
	return s.signIn(auth.Attempt{Login: name, Password: password})
}

// AuthenticateMechanisms implements imapserver.SessionSASL.
func (s *session) AuthenticateMechanisms() []string { return []string{sasl.Plain} }

// Authenticate implements imapserver.SessionSASL.
func (s *session) Authenticate(mechanism string) (sasl.Server, error) {
	if mechanism != sasl.Plain {
		return nil, &imap.Error{Type: imap.StatusResponseTypeNo, Text: "Only PLAIN is offered"}
	}
	return plainServer{sasl.NewPlainServer(func(identity, name, password string) error {
		return s.signIn(auth.Attempt{Login: name, Password: password, Authorize: identity})
	})}, nil
}

// malformedSASL is what go-imap says of a response that is not base64.
const malformedSASL = "Malformed SASL response"

// plainServer is the mechanism PLAIN. It answers responses that the mechanism cannot read.
type plainServer struct{ sasl.Server }

// Next implements sasl.Server.
func (p plainServer) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = p.Server.Next(response)
	if err != nil && !errors.As(err, new(*imap.Error)) {
		err = &imap.Error{Type: imap.StatusResponseTypeBad, Text: malformedSASL}
	}
	return challenge, done, err
}

// signIn opens the archive for somebody, or says in both languages why not.
func (s *session) signIn(try auth.Attempt) error {
	try.Remote, try.Protocol = s.conn.remote, auth.ProtocolIMAP
	id, err := s.conn.server.config.Logins.Login(s.conn.ctx, try)
	if err == nil {
		reader := s.conn.server.config.Archive().SignedInReader(id, auth.ProtocolIMAP)
		var access archive.Access
		if access, err = reader.Access(s.conn.ctx); err == nil {
			if !s.conn.server.enter(s.conn, reader) {
				return s.refuse(imap.ResponseCodeLimit, inBoth(sentenceCrowded))
			}
			s.reader, s.language = reader, access.Language
			s.conn.log.Info("signed in", "login", id.Login.String(), "mailbox", id.Mailbox.String())
			return nil
		}
	}
	var closed *auth.Refusal
	switch {
	case errors.As(err, &closed):
		return s.refuse(codeAlert, inBoth(closed.Sentence))
	case errors.Is(err, auth.ErrDenied), errors.Is(err, policy.ErrForbidden):
		return s.refuse(imap.ResponseCodeAuthenticationFailed, inBoth(sentenceDenied))
	}
	s.conn.log.Error("nobody can be signed in", "error", err)
	return s.refuse(imap.ResponseCodeUnavailable, inBoth(sentenceUnavailable))
}

// inBoth joins both languages, for whoever is not known yet.
func inBoth(l policy.Label) policy.Label {
	both := l.Italian + " / " + l.English
	return policy.Label{Italian: both, English: both}
}

// Namespace implements imapserver.SessionNamespace.
func (s *session) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: '/'}}}, nil
}

// folder returns the folder of a name, or an error for reply.
func (s *session) folder(name string) (archive.Folder, error) {
	return s.reader.Folder(s.conn.ctx, name)
}

// Select implements imapserver.Session.
func (s *session) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	f, err := s.folder(name)
	if err != nil {
		return nil, s.reply(err)
	}
	v, err := s.open(f)
	if err != nil {
		return nil, s.reply(err)
	}
	access, err := s.reader.Access(s.conn.ctx)
	if err != nil {
		return nil, s.reply(err)
	}
	allowed := s.reader.In(access, v.folder)
	v.readOnly = options.ReadOnly || !allowed.Delete && !allowed.Take
	s.selected, s.saved = v, nil
	data := &imap.SelectData{Flags: storedFlags, NumMessages: uint32(len(v.uids)), UIDNext: nextUID(v.folder), UIDValidity: validity(v.folder)}
	if allowed.Delete && !v.readOnly {
		data.Flags, data.PermanentFlags = markedFlags, []imap.Flag{imap.FlagDeleted}
	}
	return data, nil
}

// open reads what lies in a folder. Whatever comes while it reads has its turn in the next Poll.
func (s *session) open(f archive.Folder) (*view, error) {
	f, err := s.reader.Refresh(s.conn.ctx, f)
	if err != nil {
		return nil, err
	}
	uids, err := s.reader.UIDs(s.conn.ctx, f, 1)
	if err != nil {
		return nil, err
	}
	known, _ := slices.BinarySearch(uids, uint32(nextUID(f)))
	return &view{folder: f, uids: uids[:known:known]}, nil
}

// A folder that holds only folders has no counters in the journal, and nothing ever comes into it.

func nextUID(f archive.Folder) imap.UID {
	if f.Holds == nil {
		return 1
	}
	return imap.UID(f.Holds.NextUID)
}

func validity(f archive.Folder) uint32 {
	if f.Holds == nil {
		return 1
	}
	return f.Holds.UIDValidity
}

func entries(f archive.Folder) uint32 {
	if f.Holds == nil {
		return 0
	}
	return uint32(f.Holds.Entries)
}

// Unselect implements imapserver.Session.
func (s *session) Unselect() error {
	s.selected, s.saved = nil, nil
	return nil
}

// List implements imapserver.Session. All folders are subscribed.
func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	if len(patterns) == 0 {
		if _, err := s.reader.Access(s.conn.ctx); err != nil {
			return s.reply(err)
		}
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: '/'})
	}
	folders, err := s.reader.Folders(s.conn.ctx)
	if err != nil {
		return s.reply(err)
	}
	for i, f := range folders {
		use := specialUse(f)
		if !matches(f.Name, ref, patterns) || options.SelectSpecialUse && use == "" {
			continue
		}
		data := &imap.ListData{Mailbox: f.Name, Delim: '/', Attrs: []imap.MailboxAttr{imap.MailboxAttrHasNoChildren}}
		if i+1 < len(folders) && strings.HasPrefix(folders[i+1].Name, f.Name+"/") {
			data.Attrs[0] = imap.MailboxAttrHasChildren
		}
		if options.ReturnSubscribed || options.SelectSubscribed {
			data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
		}
		if use != "" {
			data.Attrs = append(data.Attrs, use)
		}
		if options.ReturnStatus != nil && f.Err == nil {
			data.Status = statusOf(f, options.ReturnStatus)
		}
		if err := w.WriteList(data); err != nil {
			return err
		}
	}
	return nil
}

func matches(name, ref string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if strings.EqualFold(pattern, "INBOX") {
			pattern = "INBOX"
		}
		return imapserver.MatchList(name, '/', ref, pattern)
	})
}

// specialUse returns what a folder is for (RFC 6154), if anything.
func specialUse(f archive.Folder) imap.MailboxAttr {
	switch {
	case strings.Contains(f.Name, archive.FolderSeparator):
	case f.Kind == journal.FolderOf(journal.Sent):
		return imap.MailboxAttrSent
	case f.Kind == journal.Trash:
		return imap.MailboxAttrTrash
	}
	return ""
}

// Status implements imapserver.Session.
func (s *session) Status(name string, options *imap.StatusOptions) (*imap.StatusData, error) {
	f, err := s.folder(name)
	if err != nil {
		return nil, s.reply(err)
	}
	return statusOf(f, options), nil
}

func statusOf(f archive.Folder, options *imap.StatusOptions) *imap.StatusData {
	data := &imap.StatusData{Mailbox: f.Name, UIDNext: nextUID(f), UIDValidity: validity(f)}
	number := func(n uint32) *uint32 { return &n }
	if options.NumMessages {
		data.NumMessages = number(entries(f))
	}
	if options.NumUnseen {
		data.NumUnseen = number(0)
	}
	if options.NumDeleted {
		data.NumDeleted = number(0)
	}
	if options.NumRecent {
		data.NumRecent = number(0)
	}
	if options.Size || options.DeletedStorage {
		size, none := int64(0), int64(0)
		if f.Holds != nil {
			size = int64(f.Holds.Bytes)
		}
		data.Size, data.DeletedStorage = &size, &none
	}
	return data
}

// Poll implements imapserver.Session. After an error go-imap drops the connection, without a reply to the command and without a word. So there is
// none unless BYE has been said: the command is answered, and BYE says why.
func (s *session) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	s.idling.Wait()
	err := s.news(w, allowExpunge)
	if err != nil && !s.conn.dead {
		reason := s.say(sentenceUnavailable)
		if refused := new(imap.Error); errors.As(err, &refused) {
			reason = refused.Text
		}
		s.conn.interrupt("[UNAVAILABLE] " + reason)
		return nil
	}
	return err
}

// news tells what is new in the selected folder, and closes the connection once the archive is closed.
func (s *session) news(w *imapserver.UpdateWriter, allowExpunge bool) error {
	if !s.signedIn() || s.ended {
		return nil
	}
	if s.selected == nil {
		_, err := s.reader.Access(s.conn.ctx)
		return s.reply(err)
	}
	return s.reply(s.update(w, allowExpunge))
}

// update tells what has come and gone. Without allowExpunge nothing has gone yet, and nothing that came later is told either.
func (s *session) update(w *imapserver.UpdateWriter, allowExpunge bool) error {
	now, err := s.reader.Refresh(s.conn.ctx, s.selected.folder)
	if err != nil || nextUID(now) == nextUID(s.selected.folder) && entries(now) == entries(s.selected.folder) {
		return err
	}
	// Only where something has gone is the whole folder looked through.
	came, err := s.reader.UIDs(s.conn.ctx, now, uint32(nextUID(s.selected.folder)))
	if err != nil {
		return err
	}
	known, _ := slices.BinarySearch(came, uint32(nextUID(now)))
	came = came[:known]
	if int(entries(now)) != len(s.selected.uids)+len(came) {
		if !allowExpunge {
			return nil
		}
		there, err := s.open(now)
		if err != nil {
			return err
		}
		now = there.folder
		first, _ := slices.BinarySearch(there.uids, uint32(nextUID(s.selected.folder)))
		came = there.uids[first:]
		if err := s.expunge(w, there.uids[:first]); err != nil {
			return err
		}
	}
	s.selected.folder = now
	if len(came) == 0 {
		return nil
	}
	s.selected.uids = append(s.selected.uids[:len(s.selected.uids):len(s.selected.uids)], came...)
	return w.WriteNumMessages(uint32(len(s.selected.uids)))
}

// expunge tells which of the messages that the program knows are not among those that are there.
func (s *session) expunge(w *imapserver.UpdateWriter, there []uint32) error {
	left := make([]uint32, 0, len(there))
	for _, uid := range s.selected.uids {
		if len(there) > 0 && there[0] == uid {
			left, there = append(left, uid), there[1:]
			continue
		}
		s.selected.mark(uid, false)
		if err := w.WriteExpunge(uint32(len(left) + 1)); err != nil {
			return err
		}
	}
	s.selected.uids = left
	return nil
}

// idleInterval is how often Idle looks for changes that nobody tells of: those of other processes, and a month that was dropped.
const idleInterval = 15 * time.Second

// idlePause is how long Idle waits after it has looked: a folder into which mail pours is told of in steps, and not for each message.
const idlePause = 200 * time.Millisecond

// Idle implements imapserver.Session.
func (s *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	if !s.begin() {
		return nil
	}
	defer s.idling.Done()
	news, done, err := s.reader.Watch(s.conn.ctx)
	if err != nil {
		return s.reply(err)
	}
	defer done()
	tick := time.NewTicker(idleInterval)
	defer tick.Stop()
	for {
		if err := s.news(w, true); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-s.conn.ctx.Done():
			return nil
		case <-time.After(idlePause):
		}
		select {
		case <-stop:
			return nil
		case <-s.conn.ctx.Done():
			return nil
		case <-news:
		case <-tick.C:
		}
	}
}

// idles implements backend.
func (s *session) idles() <-chan struct{} { return s.begun }

// begin notes that Idle runs, unless the session is closed.
func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.idling.Add(1)
	s.begun <- struct{}{}
	return true
}
