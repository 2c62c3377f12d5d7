package imapd

import (
	"errors"
	"io"

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
	if err := s.conn.turn.begin(s.conn.ctx); err != nil {
		return nil, s.reply(err)
	}
	defer s.conn.turn.end()
	at, err := s.reader.Append(s.conn.ctx, name, options.Time, &incoming{message, s.conn, message.Size()}, message.Size())
	switch {
	case err != nil && s.conn.dead: // the program broke off
		return nil, s.refuse(imap.ResponseCodeUnavailable, sentenceUnavailable)
	case err != nil:
		return nil, s.copyReply(err)
	}
	return &imap.AppendData{UIDValidity: at.UIDValidity, UID: imap.UID(at.UID)}, nil
}

// incoming is a message as it comes. What is done with its bytes is done in turns (see turn.go); making it durable, which is mostly waiting, is not.
type incoming struct {
	message io.Reader
	conn    *conn
	left    int64
}

// Read implements io.Reader.
func (in *incoming) Read(p []byte) (n int, err error) {
	in.conn.turn.outside(in.conn.ctx, func() { n, err = in.message.Read(p) })
	if in.left -= int64(n); in.left == 0 {
		in.conn.turn.end()
	}
	return n, err
}

// Copy implements imapserver.Session. A copy is an import, as if the program had read the messages and put them in.
func (s *session) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	v := s.selected
	if err := s.conn.turn.begin(s.conn.ctx); err != nil {
		return nil, s.reply(err)
	}
	defer s.conn.turn.end()
	copied, err := s.reader.Copy(s.conn.ctx, v.folder, v.uidsIn(v.spans(set, s.saved)), name, s.conn.turn.step)
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
