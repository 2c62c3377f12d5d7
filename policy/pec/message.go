package pec

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"copialettere/journal/part"
)

const (
	// maxParts is the most parts read directly inside the signed part. The rules need three; providers may add some.
	maxParts = 64
	// maxPartHeader is the most bytes of a part's header that are searched for REM fields.
	maxPartHeader = 8 << 10
	// maxEvidence is the most evidences read of a REM message.
	maxEvidence = 16
)

// Message is what Read found in a message. Its indices are those of the message's part table.
type Message struct {
	Class    Class // as declared
	Declared Declared

	Data      *Certification // from daticert.xml, or nil
	DataError string         // why Data is nil or incomplete, or an evidence is; "" for a message that needs none

	Signed    int        // the part that the signature covers, or -1 if the message is not multipart/signed
	Daticert  int        // the part daticert.xml, or -1
	Postacert int        // the part postacert.eml, else the only enclosed message, or -1; Enclosed opens it
	Evidence  []Evidence // of a REM message, in order

	Inner    Inner           // of the message in Postacert
	Invoices []InvoiceNotice // notifications of the exchange system in an envelope, in order; at most 8

	// Fault is the reader's error, if it failed. The result is then incomplete: do not keep it. Fault is never stored.
	Fault error
}

// Read reads a message from its bytes, its part table and its top-level header. It never fails: the result says what is wrong with the
// message, and Fault holds an error of r. Read looks only at the top level and at the parts directly inside the signed part, or directly
// inside the message if that declares a class and has no signature.
//
// It reads at most 4 MiB of daticert.xml, 1 MiB of the header of postacert.eml and, where that has a transfer encoding, 32 MiB of it, as a stream; 8 invoice notifications of 256 KiB each, and from a REM message
// 16 evidences of 4 MiB each and 64 part headers of 8 KiB each. It holds one of these at a time, and keeps at most 256 KiB of text from
// evidences.
func Read(r io.ReaderAt, t *part.Table, header []byte) *Message {
	m := &Message{Signed: -1, Daticert: -1, Postacert: -1}
	m.Class, m.Declared = Declare(header)
	if len(t.Parts) == 0 {
		return m
	}
	reader := &faultReader{from: r}
	container := -1
	if t.Parts[0].Type == "multipart/signed" {
		if m.Signed = t.Child(0, 1); m.Signed >= 0 && t.Parts[m.Signed].IsMultipart() {
			container = m.Signed
		}
	} else if m.Class != Ordinary && t.Parts[0].IsMultipart() {
		container = 0
	}
	if container >= 0 {
		m.readParts(reader, t, container)
	}
	if m.Postacert >= 0 {
		m.readInner(reader, t)
		if m.Class == PostaCertificata {
			m.readInvoices(reader, t)
		}
	}
	if m.Data == nil && m.DataError == "" && m.needsData() {
		m.DataError = "no daticert.xml"
	}
	m.Fault = reader.fault
	return m
}

// needsData reports whether messages of the declared class have certification data.
func (m *Message) needsData() bool {
	return m.Class != Ordinary && m.Class != Anomalia && m.Class != REM
}

// readParts reads the parts directly inside a part.
func (m *Message) readParts(r io.ReaderAt, t *part.Table, container int) {
	var others []int // XML under other names
	var messages []int
	count := 0
	for i := range t.Children(container) {
		if count++; count > maxParts {
			break
		}
		p := &t.Parts[i]
		name := strings.ToLower(p.Name())
		switch {
		case name == "daticert.xml" || name == "certdata.xml": // only RFC 6109 uses the second name
			if m.Daticert < 0 {
				m.Daticert = i
			}
		case name == "postacert.eml":
			if m.Postacert < 0 {
				m.Postacert = i
			}
		case p.IsMessage():
			messages = append(messages, i)
		case p.Type == "application/xml" || p.Type == "text/xml":
			others = append(others, i)
		}
	}
	if m.Postacert < 0 && len(messages) == 1 {
		m.Postacert = messages[0]
	}
	if m.Daticert >= 0 {
		var err error
		if m.Data, err = readCertification(r, &t.Parts[m.Daticert]); err != nil {
			m.DataError = "daticert.xml: " + err.Error()
		}
		return
	}
	for _, i := range others[:min(len(others), maxEvidence)] {
		data, err := readCertification(r, &t.Parts[i])
		if data != nil {
			m.Daticert, m.Data = i, data
			if err != nil {
				m.DataError = err.Error()
			}
			return
		}
	}
	if m.Class == Ordinary || m.Class == REM {
		m.readREM(r, t, container, others)
	}
}

// partBody returns a reader of the raw body of a part.
func partBody(r io.ReaderAt, p *part.Part) *io.SectionReader {
	return io.NewSectionReader(r, p.Body, p.End-p.Body)
}

// readCertification reads a part as daticert.xml.
func readCertification(r io.ReaderAt, p *part.Part) (*Certification, error) {
	return parseCertification(part.ContentDecoder(*p, partBody(r, p)), p.End-p.Body, p.Charset())
}

// faultReader keeps the first error of a reader other than io.EOF. It belongs to one goroutine.
type faultReader struct {
	from  io.ReaderAt
	fault error
}

func (r *faultReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := r.from.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) && r.fault == nil {
		r.fault = fmt.Errorf("read %d bytes at %d: %w", len(p), offset, err)
	}
	return n, err
}

// Verified returns the class that a signature proves: Ordinary unless it is Proven. The signed daticert.xml decides; the header is outside the
// signature. Two kinds of message have no daticert.xml:
//   - An anomaly envelope: the provider signed an enclosed message without certification data, and the header either declares an anomaly, or
//     declares nothing of PEC and has a From "Per conto di" (on behalf of) somebody.
//   - A REM message: something in the signed part belongs to REM.
func (m *Message) Verified(s Signature) Class {
	switch {
	case !s.Proven() || m.Signed < 0:
		return Ordinary
	case m.Data != nil:
		return m.Data.Class()
	case m.Daticert >= 0:
		return Ordinary
	case m.Class == REM && m.signedREM():
		return REM
	case m.Postacert >= 0 && (m.Class == Anomalia || (m.Class == Ordinary || m.Class == REM) && onBehalf(m.Declared.From)):
		return Anomalia
	}
	return Ordinary
}

// signedREM reports whether something in the signed part belongs to registered mail. Fields of the message's header do not count: anybody can
// add them to an anomaly envelope, and can have his own provider make one around any mail.
func (m *Message) signedREM() bool {
	return len(m.Evidence) > 0 || slices.ContainsFunc(m.Declared.REM, func(f Field) bool { return f.Part > 0 })
}

// onBehalf reports whether a From field is an envelope's (RFC 6109 3.1.5, 3.2.2, in the words that providers use).
func onBehalf(from string) bool {
	const prefix = "per conto di:"
	list := part.Addresses(from)
	if len(list) != 1 {
		return false
	}
	name := part.Decode(list[0].Name)
	return len(name) >= len(prefix) && equalFold(name[:len(prefix)], prefix)
}
