package export

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"copialettere/journal"
	"copialettere/policy/archive"
)

// byteOrderMark is that of UTF-8.
const byteOrderMark = "\ufeff"

// Status is what became of a message.
type Status string

// What became of a message. The manifest does not tell StatusKept from StatusExported.
const (
	StatusExported Status = "exported"
	StatusKept     Status = "kept"    // it was there already, and was verified
	StatusDamaged  Status = "damaged" // its bytes cannot be read, or are not those that were journaled
	StatusGone     Status = "gone"    // it was moved or deleted while the export ran
)

// What a form changes of a message, in the manifest.
const (
	ChangedLineEnds = "line-ends" // CRLF became LF
	ChangedQuoted   = "quoted"    // lines that begin with any number of ">" and "From " got one ">" more
	ChangedFinal    = "final"     // the last line got a line end, which it had not
	ChangedBareLF   = "bare-lf"   // some lines ended in LF alone already: which ones cannot be told any more
)

// manifestFields are the columns of manifest.csv: the file, and what Message has. Offset and length are those of the message in an mbox, with its
// separator line.
var manifestFields = []string{"file", "status", "mailbox", "direction", "folder", "uid", "time", "date", "mail_from", "rcpt_to", "from", "to", "subject", "inner_from",
	"inner_subject", "message_id", "class", "signature", "state", "imported", "size", "sha256", "changed", "offset", "length", "source", "quoting"}

// place is where a message went, and what was changed of it.
type place struct {
	file           string
	changed        []string
	offset, length int64 // in an mbox; length 0 elsewhere
}

// table writes lines as spreadsheets want them.
type table struct{ rows *csv.Writer }

func newTable(w io.Writer, fields []string) (*table, error) {
	if _, err := io.WriteString(w, byteOrderMark); err != nil {
		return nil, err
	}
	t := &table{csv.NewWriter(w)}
	t.rows.UseCRLF = true
	return t, t.rows.Write(fields)
}

// close writes what is held back.
func (t *table) close() error {
	t.rows.Flush()
	return t.rows.Error()
}

// message writes the line of a message in a manifest.
func (t *table) message(m *Message, s Status, p place) error {
	if s == StatusKept {
		s = StatusExported
	}
	imported, offset, length := "", "", ""
	if m.Imported {
		imported = "true"
	}
	if p.length > 0 {
		offset, length = strconv.FormatInt(p.offset, 10), strconv.FormatInt(p.length, 10)
	}
	return t.rows.Write([]string{
		p.file, string(s), m.Mailbox, m.Direction, m.Folder, strconv.FormatUint(uint64(m.UID), 10), timeText(&m.Time), timeText(&m.Date),
		PlainCell(m.MailFrom), PlainCell(m.RcptTo), PlainCell(m.From), PlainCell(m.To), PlainCell(m.Subject), PlainCell(m.InnerFrom), PlainCell(m.InnerSubject),
		PlainCell(m.MessageID), m.Class, m.Signature, m.State, imported, strconv.FormatInt(m.Size, 10), m.SHA256, strings.Join(p.changed, " "), offset, length,
		PlainCell(m.Source), m.Quoting,
	})
}

// formula finds where a spreadsheet would begin a formula: at the start of a cell. Where semicolons part the cells, as in Italy, a comma does not begin
// one, and a semicolon or an end of line within a value does, quoted or not.
var formula = regexp.MustCompile(`((?:^|[;\t\r\n]) *)([=+\-@])`)

// PlainCell returns a value that a sender has chosen for a table. A spreadsheet would take some for formulas, and carry them out: these have an apostrophe
// before them.
func PlainCell(s string) string {
	return formula.ReplaceAllString(s, "$1'$2")
}

func timeText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// writeGaps writes gaps.csv. It reports whether some could not be read.
func writeGaps(w io.Writer, gaps iter.Seq2[archive.Gap, error]) (damaged bool, err error) {
	t, err := newTable(w, []string{"mailbox", "kind", "from", "until", "reason", "detail", "direction", "mail_from", "rcpt_to", "message_id", "entries", "bytes"})
	if err != nil {
		return false, err
	}
	for g, err := range gaps {
		if errors.Is(err, journal.ErrDamaged) {
			damaged = true
			continue
		}
		if err == nil {
			err = t.rows.Write([]string{
				g.Mailbox, g.Kind, timeText(g.From), timeText(g.Until), g.Reason, PlainCell(g.Detail), g.Direction, PlainCell(g.MailFrom), PlainCell(g.RcptTo),
				PlainCell(g.MessageID), strconv.FormatUint(g.Entries, 10), strconv.FormatUint(g.Bytes, 10),
			})
		}
		if err != nil {
			return damaged, err
		}
	}
	return damaged, t.close()
}

// sumLine returns the line of a file for SHA256SUMS. A name with a line end or a backslash is escaped as sha256sum does it: with a backslash in front
// of the line.
func sumLine(digest, name string) string {
	escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
	if escaped != name {
		digest = `\` + digest
	}
	return fmt.Sprintf("%s  %s\n", digest, escaped)
}

// digested passes bytes on and takes their digests: SHA-256, and xxHash for what is read back. That one takes less time, and finds what a disk alters as well.
type digested struct {
	to  io.Writer
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
	quick *xxhash.Digest
	size  int64
}

func newDigested(to io.Writer) *digested {
	return &digested{to: to, sum: sha256.New(), quick: xxhash.New()}
}

// Write implements io.Writer.
func (d *digested) Write(b []byte) (int, error) {
	n, err := d.to.Write(b)
	d.sum.Write(b[:n])
	d.quick.Write(b[:n])
	d.size += int64(n)
	return n, err
}

func (d *digested) digest() string { return hex.EncodeToString(d.sum.Sum(nil)) }

// incompleteText is the content of INCOMPLETE.txt.
func incompleteText(missing []string) string {
	return "Not everything that was asked for could be read. The operator is told.\nNon tutto si è potuto leggere. Il gestore è avvisato.\n\n" + strings.Join(missing, "\n") + "\n"
}
