package imapd

import (
	"errors"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"copialettere/policy/archive"
)

var _ imapserver.SessionAppendLimit = (*session)(nil)

// AppendLimit implements imapserver.SessionAppendLimit: the largest message of APPEND, in bytes.
func (s *session) AppendLimit() uint32 {
	if !s.signedIn() {
		return archive.DefaultMaxMessage
	}
	return uint32(min(s.reader.MaxMessage(), 1<<32-1))
}

// appendRefused implements backend.
func (s *session) appendRefused(name string, size int64) string {
	if !s.signedIn() {
		return "BAD Sign in first"
	}
	err := s.reader.MayAppend(s.conn.ctx, name, size)
	switch {
	case err == nil && size == 0:
		return "NO [CANNOT] " + s.say(sentenceEmpty)
	case err == nil:
		return ""
	}
	return s.status(s.copyReply(err))
}

// Append implements imapserver.Session. The message comes as it is read: see conn. Flags are dropped; every message of an archive is \Seen.
func (s *session) Append(name string, message imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	at, err := s.reader.Append(s.conn.ctx, name, options.Time, message, message.Size())
	switch {
	case err != nil && s.conn.dead: // the program broke off
		return nil, s.refuse(imap.ResponseCodeUnavailable, sentenceUnavailable)
	case err != nil:
		return nil, s.copyReply(err)
	}
	return &imap.AppendData{UIDValidity: at.UIDValidity, UID: imap.UID(at.UID)}, nil
}

// Copy implements imapserver.Session. A copy is an import, as if the program had read the messages and put them in.
func (s *session) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	v := s.selected
	copied, err := s.reader.Copy(s.conn.ctx, v.folder, v.uidsIn(v.spans(set, s.saved)), name)
	if err != nil {
		return nil, s.copyReply(err)
	}
	if len(copied.From) == 0 {
		return nil, nil
	}
	return copyData(copied), nil
}

// copyReply is reply for what is put in.
func (s *session) copyReply(err error) error {
	switch {
	case errors.Is(err, archive.ErrReadOnly):
		return s.noPermission(sentenceAppend)
	case errors.Is(err, archive.ErrTarget), errors.Is(err, archive.ErrOtherMonth):
		return s.refuse(imap.ResponseCodeCannot, sentenceOtherMonth)
	}
	return s.reply(err)
}
