package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
)

// Envelope is with what a message came, in envelope.json. Others script against its names.
type Envelope struct {
	Mailbox    string    `json:"mailbox"`
	Direction  string    `json:"direction"` // "received" or "sent"
	Folder     string    `json:"folder"`    // with its month: "INBOX/2026-11"
	UID        uint32    `json:"uid"`
	Time       time.Time `json:"time"`                // of the arrival, or of the import; UTC
	MailFrom   string    `json:"mail_from"`           // empty is the null sender
	Recipients []string  `json:"recipients"`          // of a received message the one of this mailbox; of a sent one all, Bcc included
	ORCPT      string    `json:"orcpt,omitempty"`     // to which address the message was first sent, as the MTA told
	PeerName   string    `json:"peer_name,omitempty"` // the client that handed the message to the MTA, as the MTA told
	PeerAddr   string    `json:"peer_addr,omitempty"`
	PeerHelo   string    `json:"peer_helo,omitempty"`
	Protocol   string    `json:"protocol,omitempty"`
	QueueID    string    `json:"queue_id,omitempty"` // of the MTA
	// Transaction is the id in the log of the hook.
	Transaction string    `json:"transaction,omitempty"`
	State       string    `json:"state"` // "delivered", "unknown", "deferred" or "refused"
	Flags       []string  `json:"flags,omitempty"`
	ImportedBy  string    `json:"imported_by,omitempty"`    // who put it in by hand: no hook has seen it come
	Dated       time.Time `json:"imported_dated,omitzero"`  // its own date, where it was put in by hand
	Class       string    `json:"class"`                    // what kind of message it is believed to be
	Declared    string    `json:"declared_class,omitempty"` // what its header says
	Size        int64     `json:"size"`                     // bytes
	SHA256      string    `json:"sha256"`                   // of the bytes that were journaled
	SentTo      string    `json:"sent_to,omitempty"`        // of a sent message: "certified", "other" or "unknown"
	Header
}

// Header is what the header of a message says, decoded, each at most 1 KiB.
type Header struct {
	MessageID string `json:"message_id,omitempty"`
	Subject   string `json:"subject,omitempty"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Date      string `json:"header_date,omitempty"`
}

func envelopeOf(e *journal.Entry, s *scanned) *Envelope {
	v := &Envelope{
		Mailbox: e.Mailbox, Direction: e.Direction.String(), Folder: e.FolderName(), UID: e.UID, Time: e.Time.UTC(), MailFrom: e.MailFrom,
		Recipients: archive.RecipientsOf(e), ORCPT: e.ORCPT, PeerName: e.Peer.Name, PeerAddr: e.Peer.Addr, PeerHelo: e.Peer.Helo, Protocol: e.Peer.Protocol,
		QueueID: e.QueueID, Transaction: e.Transaction, State: e.State.String(), Flags: e.Flags, Class: e.Class, Declared: e.DeclaredClass,
		Size: e.Size, SHA256: e.SHA256.String(), SentTo: e.SentTo, Header: s.header,
	}
	if e.Imported != nil {
		v.ImportedBy, v.Dated = e.Imported.Who, e.Imported.Date.UTC()
	}
	return v
}

// Digests are those of a message and its parts, in digests.json.
type Digests struct {
	Message PartDigest   `json:"message"`
	Parts   []PartDigest `json:"parts"` // that enclose no other part, those of enclosed messages included, in the order of the message
}

// PartDigest is the digest of a message, or of the content of a part with its transfer encoding undone.
type PartDigest struct {
	Number string `json:"number,omitempty"` // as of IMAP: "1.3.2"; of a message inside a part it begins with the number of that part
	Name   string `json:"name,omitempty"`   // of the file, as the message has it
	Type   string `json:"type"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
	SHA512 string `json:"sha512,omitempty"` // of the message only
}

// maxParts is the most parts of one message whose digests are told.
const maxParts = 10_000

// message is one message that is put into a bundle, read once and found whole.
type message struct {
	entry    *journal.Entry
	body     io.ReaderAt
	record   *pec.Record // what was found at the arrival; nil where nothing was kept
	envelope *Envelope
	*scanned
}

// errChanged says that a message does not read as it was journaled.
var errChanged = errors.New("its bytes are not those that were journaled")

// readMessage reads a message through, and finds its parts. An error says that it is not as it was journaled, or cannot be read.
func readMessage(e *journal.Entry, body io.ReaderAt) (*message, error) {
	m := &message{entry: e, body: body}
	one, err := scan(body, e.Size)
	switch {
	case err != nil:
		return nil, err
	case one.sha256 != e.SHA256.String():
		return nil, fmt.Errorf("%s %d: %w: %w", e.FolderName(), e.UID, errChanged, journal.ErrDamaged)
	}
	m.scanned, m.envelope = one, envelopeOf(e, one)
	return m, m.readRecord()
}

// readRecord reads what was found of a message at its arrival.
func (m *message) readRecord() error {
	if len(m.entry.Certification) == 0 {
		return nil
	}
	m.record = new(pec.Record)
	if err := m.record.UnmarshalBinary(m.entry.Certification); err != nil {
		return fmt.Errorf("%s %d: %w: %w", m.entry.FolderName(), m.entry.UID, journal.ErrDamaged, err)
	}
	return nil
}

// scanned is what the bytes of a message tell: made anew, so that whoever checks a bundle finds the same.
type scanned struct {
	table          *part.Table
	header         Header
	found          *pec.Message
	sha256, sha512 string
}

// scan reads a message through.
func scan(body io.ReaderAt, size int64) (*scanned, error) {
	short, long, s := sha256.New(), sha512.New(), part.NewScanner(part.DefaultLimits())
	n, err := io.Copy(io.MultiWriter(short, long, s), io.NewSectionReader(body, 0, size))
	if err != nil {
		return nil, err
	}
	if n != size {
		return nil, fmt.Errorf("%d bytes of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	one := &scanned{table: s.Close(), sha256: hex.EncodeToString(short.Sum(nil)), sha512: hex.EncodeToString(long.Sum(nil))}
	h := s.Header()
	one.found = pec.Read(body, one.table, h)
	text := func(name string) string { return strings.ToValidUTF8(clip(part.Decode(part.Value(h, name))), "\ufffd") }
	one.header = Header{text("Message-ID"), text("Subject"), text("From"), text("To"), text("Date")}
	return one, one.found.Fault
}

// clip cuts a value of a header.
func clip(s string) string { return s[:min(len(s), 1<<10)] }

// digests returns the digests of the parts.
func (s *scanned) digests(ctx context.Context, body io.ReaderAt, size int64) (*Digests, error) {
	d := &Digests{Message: PartDigest{Name: messageName, Type: "message/rfc822", Size: size, SHA256: s.sha256, SHA512: s.sha512}, Parts: []PartDigest{}}
	for l, err := range pec.Parts(body, s.table) {
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case l.Number == "" || l.Part.IsMultipart():
			continue
		case len(d.Parts) == maxParts:
			return d, nil
		}
		sum := sha256.New()
		n, err := io.Copy(sum, l.Content())
		if err != nil {
			return nil, err
		}
		d.Parts = append(d.Parts, PartDigest{Number: l.Number, Name: part.Decode(l.Part.Name()), Type: l.Part.Type, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	return d, nil
}

// content returns the content of a part by its index, its transfer encoding undone.
func content(body io.ReaderAt, t *part.Table, i int) io.Reader {
	p := t.Parts[i]
	return part.ContentDecoder(p, io.NewSectionReader(body, p.Body, p.End-p.Body))
}

// copies returns the parts of certified mail that a bundle has as files of their own, by the names of those files.
func (s *scanned) copies() map[string]int {
	list := make(map[string]int)
	if i := s.found.Daticert; i >= 0 {
		list[daticertName] = i
	}
	if i := s.found.Postacert; i >= 0 {
		list[postacertName] = i
	}
	if _, i := pec.SignatureParts(s.table); i >= 0 {
		list[cmsName] = i
	}
	return list
}

// writeMessage adds the files of a message to a folder.
func (w *writer) writeMessage(folder string, m *message) (*Report, error) {
	name := func(file string) string { return folder + "/" + file }
	if err := w.add(name(messageName), m.entry.Time, io.NewSectionReader(m.body, 0, m.entry.Size)); err != nil {
		return nil, err
	}
	if err := w.addJSON(name(envelopeName), m.envelope); err != nil {
		return nil, err
	}
	digests, err := m.digests(w.ctx, m.body, m.entry.Size)
	if err != nil {
		return nil, fmt.Errorf("%s %d: parts: %w", m.entry.FolderName(), m.entry.UID, err)
	}
	if err := w.addJSON(name(digestsName), digests); err != nil {
		return nil, err
	}
	for _, file := range []string{daticertName, postacertName, cmsName} {
		if i, ok := m.copies()[file]; ok {
			if err := w.add(name(file), m.entry.Time, content(m.body, m.table, i)); err != nil {
				return nil, err
			}
		}
	}
	report, chain := reportOf(folder, m)
	if err := w.addJSON(name(reportName), report); err != nil {
		return nil, err
	}
	if len(chain) > 0 {
		var all bytes.Buffer
		for _, b := range chain {
			all.Write(pemOf(b))
		}
		if err := w.addBytes(name(chainName), all.Bytes()); err != nil {
			return nil, err
		}
		if report.Proven {
			if err := w.addBytes(name(anchorName), pemOf(chain[len(chain)-1])); err != nil {
				return nil, err
			}
		}
	}
	return report, nil
}
