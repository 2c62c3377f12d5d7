package imapd

import (
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// The commands that change something, or would. Flags are the exception to "what a program does, it does to the archive": \Seen is on every message
// for good, and \Deleted is a mark of one connection, which is stored nowhere and which no other connection sees. Programs that delete with STORE and
// EXPUNGE need it, and look for it in PERMANENTFLAGS; what it says there holds as long as the connection.

// Create implements imapserver.Session.
func (s *session) Create(string, *imap.CreateOptions) error { return s.noPermission(sentenceFolders) }

// Delete implements imapserver.Session.
func (s *session) Delete(string) error { return s.noPermission(sentenceFolders) }

// Rename implements imapserver.Session.
func (s *session) Rename(string, string, *imap.RenameOptions) error {
	return s.noPermission(sentenceFolders)
}

// Subscribe implements imapserver.Session. All folders are subscribed.
func (s *session) Subscribe(name string) error {
	_, err := s.folder(name)
	return s.reply(err)
}

// Unsubscribe implements imapserver.Session. It has no effect.
func (s *session) Unsubscribe(string) error { return nil }

// isFlag compares flags, whose case does not matter (RFC 3501 section 2.3.2).
func isFlag(a, b imap.Flag) bool { return strings.EqualFold(string(a), string(b)) }

// flags returns the flags of a message of the view.
func (v *view) flags(i int) []imap.Flag {
	if v.marked[v.uids[i]] {
		return markedFlags
	}
	return storedFlags
}

// markedFlags are those of a message that is marked as deleted.
var markedFlags = []imap.Flag{imap.FlagSeen, imap.FlagDeleted}

// Store implements imapserver.Session. It sets and takes away \Deleted, and refuses whatever would change another flag. What may not be deleted is not
// marked: if that is so of one message, none is.
func (s *session) Store(w *imapserver.FetchWriter, set imap.NumSet, flags *imap.StoreFlags, _ *imap.StoreOptions) error {
	has := func(want imap.Flag) bool {
		return slices.ContainsFunc(flags.Flags, func(f imap.Flag) bool { return isFlag(f, want) })
	}
	others := slices.ContainsFunc(flags.Flags, func(f imap.Flag) bool { return !isFlag(f, imap.FlagDeleted) && !isFlag(f, imap.FlagSeen) })
	mark := has(imap.FlagDeleted)
	switch {
	case others, flags.Op == imap.StoreFlagsDel && has(imap.FlagSeen), flags.Op == imap.StoreFlagsSet && !mark && !has(imap.FlagSeen),
		flags.Op == imap.StoreFlagsAdd && !mark, s.readOnly() && !mark:
		return s.noPermission(sentenceFlags)
	case s.readOnly():
		return s.noPermission(sentenceReadOnly)
	}
	mark = mark && flags.Op != imap.StoreFlagsDel
	v := s.selected
	spans := v.spans(set, s.saved)
	if uids := v.uidsIn(spans); mark && len(uids) > 0 {
		if err := s.reader.MayDelete(s.conn.ctx, v.folder, uids); err != nil {
			return s.reply(err)
		}
	}
	_, byUID := set.(imap.UIDSet)
	for _, r := range spans {
		for i := r.first; i < r.end; i++ {
			v.mark(v.uids[i], mark)
			if flags.Silent {
				continue
			}
			m := w.CreateMessage(uint32(i + 1))
			if byUID {
				m.WriteUID(imap.UID(v.uids[i]))
			}
			m.WriteFlags(v.flags(i))
			if err := m.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// uidsIn returns the UIDs of the messages in spans, in ascending order.
func (v *view) uidsIn(spans []span) []uint32 {
	var uids []uint32
	for _, r := range spans {
		uids = append(uids, v.uids[r.first:r.end]...)
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}

func (v *view) mark(uid uint32, marked bool) {
	if !marked {
		delete(v.marked, uid)
		return
	}
	if v.marked == nil {
		v.marked = make(map[uint32]bool)
	}
	v.marked[uid] = true
}

// Expunge implements imapserver.Session. It deletes the messages that are marked, or of them those that are named; the next Poll tells what has gone.
// CLOSE, which must not fail, deletes in the same way, and what cannot go stays.
func (s *session) Expunge(_ *imapserver.ExpungeWriter, only *imap.UIDSet) error {
	v := s.selected
	var uids []uint32
	for i, uid := range v.uids {
		if v.marked[uid] && (only == nil || v.within(*only, s.saved, i)) {
			uids = append(uids, uid)
		}
	}
	if s.readOnly() || len(uids) == 0 {
		return nil
	}
	moved, err := s.reader.Delete(s.conn.ctx, v.folder, uids)
	for _, uid := range moved.From {
		v.mark(uid, false)
	}
	if err == nil && moved.Damaged {
		err = s.refuse(codeCorruption, sentenceDamaged)
	}
	if err != nil && s.conn.command.verb == "CLOSE" {
		s.conn.log.Warn("marked messages stay when their folder is closed", "mailbox", s.reader.Mailbox().String(), "error", err)
		return nil
	}
	return s.reply(err)
}

// within reports whether a set names message i of the view.
func (v *view) within(set imap.NumSet, saved imap.UIDSet, i int) bool {
	return slices.ContainsFunc(v.spans(set, saved), func(r span) bool { return r.first <= i && i < r.end })
}

// Move implements imapserver.SessionMove. The next Poll tells what has gone.
func (s *session) Move(w *imapserver.MoveWriter, set imap.NumSet, name string) error {
	if s.readOnly() {
		return s.noPermission(sentenceReadOnly)
	}
	to, err := s.folder(name)
	if err != nil {
		return s.reply(err)
	}
	v := s.selected
	moved, err := s.reader.Move(s.conn.ctx, v.folder, v.uidsIn(v.spans(set, s.saved)), to)
	if len(moved.From) > 0 && moved.UIDValidity > 0 {
		if err := w.WriteCopyData(copyData(moved)); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
	case moved.Damaged:
		err = s.refuse(codeCorruption, sentenceDamaged)
	case moved.Gone:
		err = s.refuse(codeExpungeIssued, sentenceGone)
	}
	return s.reply(err)
}

// copyData returns the code COPYUID (RFC 4315 section 3). Its sets correspond in their order, so they are not sorted.
func copyData(m archive.Moved) *imap.CopyData {
	data := &imap.CopyData{UIDValidity: m.UIDValidity}
	for i := range m.From {
		from, to := imap.UID(m.From[i]), imap.UID(m.To[i])
		if n := len(data.SourceUIDs) - 1; n >= 0 && data.SourceUIDs[n].Stop+1 == from && data.DestUIDs[n].Stop+1 == to {
			data.SourceUIDs[n].Stop, data.DestUIDs[n].Stop = from, to
			continue
		}
		data.SourceUIDs = append(data.SourceUIDs, imap.UIDRange{Start: from, Stop: from})
		data.DestUIDs = append(data.DestUIDs, imap.UIDRange{Start: to, Stop: to})
	}
	return data
}

// maxNamed is how many messages a refusal names.
const maxNamed = 3

// heldReply returns the refusal of what is held. It names the messages by their subjects.
func (s *session) heldReply(held *archive.HeldError) error {
	sentence := s.say(sentenceHeld)
	for i, uid := range held.UIDs {
		if i == maxNamed {
			sentence += ", ..."
			break
		}
		name := s.subject(held.Folder, uid)
		if i == 0 {
			sentence += ": " + name
		} else {
			sentence += ", " + name
		}
	}
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeNoPerm, Text: sentence}
}

// maxSubject is how much of a subject a refusal shows, in bytes.
const maxSubject = 60

// subject returns what people call a message, in ASCII.
func (s *session) subject(f archive.Folder, uid uint32) string {
	for e, err := range s.reader.Entries(s.conn.ctx, f, uid, uid) {
		if e == nil || err != nil {
			break
		}
		subject := policy.ASCII(strings.TrimSpace(part.Decode(e.Subject)))
		return `"` + subject[:min(len(subject), maxSubject)] + `" (` + e.Dated().Format("2006-01-02") + ")"
	}
	return "UID " + imap.UIDSetNum(imap.UID(uid)).String()
}

// actReply returns the refusal of an act, if err is one.
func (s *session) actReply(err error) error {
	var held *archive.HeldError
	switch {
	case errors.As(err, &held):
		return s.heldReply(held)
	case errors.Is(err, archive.ErrReadOnly):
		return s.noPermission(sentenceReadOnly)
	case errors.Is(err, archive.ErrTarget), errors.Is(err, journal.ErrFolder):
		return s.refuse(imap.ResponseCodeCannot, sentenceTarget)
	case errors.Is(err, archive.ErrType):
		return s.refuse(imap.ResponseCodeCannot, sentenceType)
	case errors.Is(err, archive.ErrOnlyDelete):
		return s.noPermission(sentenceOnlyDelete)
	case errors.Is(err, archive.ErrNotOn):
		return s.noPermission(sentenceNotOn)
	case errors.Is(err, archive.ErrTooLarge):
		return s.refuse(imap.ResponseCodeTooBig, sentenceTooLarge)
	case errors.Is(err, journal.ErrFull):
		return s.refuse(imap.ResponseCodeOverQuota, sentenceFull)
	case errors.Is(err, archive.ErrWaits):
		return s.refuse(imap.ResponseCodeCannot, sentenceWaits)
	}
	return nil
}
