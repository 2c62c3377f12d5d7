package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
	"time"
)

// An mbox is messages one after the other, each as
//
//	From SENDER DATE         the envelope sender, or MAILER-DAEMON; the date in UTC as asctime has it
//	the message              its lines with LF; lines of any number of ">" and then "From " with one ">" more
//	                         an empty line
//
// To undo it, take one ">" from the lines that begin with ">", any number of them, and "From ", and end all lines with CRLF. That gives the message back
// unless the manifest says that it was changed otherwise.

// separator returns the first line of a message in an mbox.
func separator(m *Message) string {
	sender := strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '-'
		}
		return r
	}, m.MailFrom)
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	return "From " + sender + " " + m.Date.UTC().Format(time.ANSIC) + "\n"
}

const fromLine = "From "

// writeMbox writes a message to an mbox, without its separator, and returns what it changed.
func writeMbox(w *bufio.Writer, content io.Reader) (changed []string, err error) {
	r := bufio.NewReaderSize(content, 64<<10)
	var crlf, quoted, bare bool
	ended, any := true, false // the last line has ended; there was one
	for {
		if _, err := r.Peek(1); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		any = true
		quote, err := copyQuotes(w, r)
		if err != nil {
			return nil, err
		}
		if quote {
			w.WriteByte('>')
			quoted = true
		}
		end, err := copyLine(w, r)
		if err != nil {
			return nil, err
		}
		crlf, bare, ended = crlf || end == "\r\n", bare || end == "\n", end != ""
	}
	if any && !ended {
		w.WriteByte('\n')
	}
	if err := w.WriteByte('\n'); err != nil {
		return nil, err
	}
	return changesOf(crlf, quoted, !ended, bare), nil
}

// copyQuotes copies the ">" at the start of a line, and reports whether "From " follows.
func copyQuotes(w *bufio.Writer, r *bufio.Reader) (from bool, err error) {
	for {
		b, err := r.ReadByte()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if b != '>' {
			if err := r.UnreadByte(); err != nil {
				return false, err
			}
			next, err := r.Peek(len(fromLine))
			if err != nil && err != io.EOF {
				return false, err
			}
			return string(next) == fromLine, nil
		}
		if err := w.WriteByte(b); err != nil {
			return false, err
		}
	}
}

// copyLine copies the rest of a line with LF, and returns how it ended: "\r\n", "\n", or "" at the end of the message.
func copyLine(w *bufio.Writer, r *bufio.Reader) (end string, err error) {
	cr := false // one is held back
	for {
		piece, err := r.ReadSlice('\n')
		if cr && !bytes.Equal(piece, []byte("\n")) {
			w.WriteByte('\r')
		}
		switch {
		case err == nil:
			end = "\n"
			if line := piece[:len(piece)-1]; cr && len(line) == 0 {
				end = "\r\n"
			} else if bytes.HasSuffix(line, []byte("\r")) {
				w.Write(line[:len(line)-1])
				end = "\r\n"
			} else {
				w.Write(line)
			}
			return end, w.WriteByte('\n')
		case errors.Is(err, bufio.ErrBufferFull):
			if cr = piece[len(piece)-1] == '\r'; cr {
				piece = piece[:len(piece)-1]
			}
			if _, err := w.Write(piece); err != nil {
				return "", err
			}
		case err == io.EOF:
			_, err := w.Write(piece)
			return "", err
		default:
			return "", err
		}
	}
}

// mboxReader reads an mbox that this package has written.
type mboxReader struct {
	file   io.ReadSeeker
	r      *bufio.Reader
	offset int64 // of what is read next
}

func newMboxReader(file io.ReadSeeker) *mboxReader {
	return &mboxReader{file: file, r: bufio.NewReaderSize(file, 64<<10)}
}

// matches reads the next message, and reports whether it is the one that is expected, by its separator, its size and its digest, and what the mbox has
// changed of it. If it is not, that message is read next once more.
func (b *mboxReader) matches(m *Message) (changed []string, ok bool, err error) {
	start := b.offset
	u := unquoting{sum: sha256.New()}
	line, err := b.r.ReadSlice('\n')
	if string(line) == separator(m) {
		b.offset += int64(len(line))
		if err := b.content(&u); err != nil {
			return nil, false, err
		}
		if changed, ok := u.is(m); ok {
			return changed, true, nil
		}
	} else if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, false, err
	}
	b.offset = start
	_, err = b.file.Seek(start, io.SeekStart)
	b.r.Reset(b.file)
	return nil, false, err
}

// content reads up to the next separator.
func (b *mboxReader) content(u *unquoting) error {
	for {
		next, err := b.r.Peek(len(fromLine))
		if string(next) == fromLine || len(next) == 0 && err == io.EOF {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		quotes, err := b.quotes()
		if err != nil {
			return err
		}
		if quotes > 0 {
			if next, _ := b.r.Peek(len(fromLine)); string(next) == fromLine {
				quotes--
				u.quoted = true
			}
			for piece := bytes.Repeat([]byte(">"), min(quotes, 4096)); quotes > 0; quotes -= len(piece) {
				piece = piece[:min(quotes, len(piece))]
				u.write(piece)
			}
		}
		for {
			piece, err := b.r.ReadSlice('\n')
			b.offset += int64(len(piece))
			if err == nil {
				u.write(piece[:len(piece)-1])
				u.ends++
				break
			}
			u.write(piece)
			if err == io.EOF {
				return nil
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return err
			}
		}
	}
}

// quotes reads the ">" at the start of a line.
func (b *mboxReader) quotes() (n int, err error) {
	for {
		c, err := b.r.ReadByte()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if c != '>' {
			return n, b.r.UnreadByte()
		}
		b.offset++
		n++
	}
}

// unquoting takes the digest of a message as it was before it went into an mbox. Line ends wait until more follows: the last one belongs to the mbox.
type unquoting struct {
	sum    hash.Hash
	size   int64
	ends   int // line ends that wait
	lines  int // that ended
	quoted bool
}

func (u *unquoting) write(b []byte) {
	if len(b) == 0 {
		return
	}
	u.lineEnds(u.ends)
	u.ends = 0
	u.sum.Write(b)
	u.size += int64(len(b))
}

func (u *unquoting) lineEnds(n int) {
	for range n {
		io.WriteString(u.sum, "\r\n")
		u.size += 2
		u.lines++
	}
}

// is reports whether it was a message, which may have had no line end at its end, and what was changed of it.
func (u *unquoting) is(m *Message) (changed []string, ok bool) {
	if u.ends == 0 {
		return nil, false // the mbox ends within it
	}
	same := func() bool { return u.size == m.Size && hex.EncodeToString(u.sum.Sum(nil)) == m.SHA256 }
	// A message without a line end at its end has text there: its own one was added, and that of the mbox.
	final := u.ends == 2 && same()
	if !final {
		u.lineEnds(u.ends - 1)
	}
	if !final && !same() {
		return nil, false
	}
	return changesOf(u.lines > 0, u.quoted, final, false), true
}

// changesOf returns the names of changes.
func changesOf(lineEnds, quoted, final, bareLF bool) (changed []string) {
	for _, c := range []struct {
		is   bool
		name string
	}{{lineEnds, ChangedLineEnds}, {quoted, ChangedQuoted}, {final, ChangedFinal}, {bareLF, ChangedBareLF}} {
		if c.is {
			changed = append(changed, c.name)
		}
	}
	return changed
}
