package part

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// EnvelopeField is a field of a message header that IMAP's ENVELOPE shows (RFC 3501 section 7.4.2).
type EnvelopeField int

// The fields, in the order of ENVELOPE. Their numbers are stored: add at the end only.
const (
	EnvelopeDate EnvelopeField = iota
	EnvelopeSubject
	EnvelopeFrom
	EnvelopeSender
	EnvelopeReplyTo
	EnvelopeTo
	EnvelopeCc
	EnvelopeBcc
	EnvelopeInReplyTo
	EnvelopeMessageID

	envelopeFields = iota
)

// envelopeNames are the names of the fields, by their number.
var envelopeNames = [envelopeFields]string{"Date", "Subject", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "In-Reply-To", "Message-ID"}

// String returns the name of the field in a header.
func (f EnvelopeField) String() string { return envelopeNames[f] }

// Limits of what a Scanner keeps of the envelopes of one message.
const (
	maxEnvelopes     = 64
	maxEnvelopeBytes = 16 << 10 // of all of them
)

// Envelope holds the values of one message's header that ENVELOPE shows. Of the outermost message it holds only those that a journal entry does not
// keep anyway: Sender, Reply-To, Cc, Bcc and In-Reply-To.
type Envelope struct {
	Part   int                    // index of the message in the Table
	Values [envelopeFields]string // as Value returns them; "" if absent
}

// ErrEnvelope says that bytes are not the stored form of an Envelope.
var ErrEnvelope = errors.New("malformed envelope")

// AppendBinary appends the stored form: as unsigned varints the index of the part and one bit for each value that is present, in the order of their
// numbers; then those values, each with its length in front.
func (e *Envelope) AppendBinary(b []byte) ([]byte, error) {
	present := uint64(0)
	for k, v := range e.Values {
		if v != "" {
			present |= 1 << k
		}
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(e.Part)), present)
	for _, v := range e.Values {
		if v != "" {
			b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
		}
	}
	return b, nil
}

// UnmarshalBinary reads the stored form, which must fill b. It does not keep b. Errors wrap ErrEnvelope and leave e as it was.
func (e *Envelope) UnmarshalBinary(b []byte) error {
	number := func() (uint64, bool) {
		n, w := binary.Uvarint(b)
		if w <= 0 {
			return 0, false
		}
		b = b[w:]
		return n, true
	}
	var read Envelope
	index, ok1 := number()
	present, ok2 := number()
	if !ok1 || !ok2 || index > maxStoredParts || present >= 1<<envelopeFields {
		return fmt.Errorf("%w: its beginning", ErrEnvelope)
	}
	read.Part = int(index)
	for k := range read.Values {
		if present&(1<<k) == 0 {
			continue
		}
		n, ok := number()
		if !ok || n == 0 || n > uint64(len(b)) {
			return fmt.Errorf("%w: %s", ErrEnvelope, EnvelopeField(k))
		}
		read.Values[k], b = string(b[:n]), b[n:]
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: it goes on", ErrEnvelope)
	}
	*e = read
	return nil
}

// maxStoredParts is the largest index of a part that is believed.
const maxStoredParts = 1 << 20

// Envelopes returns the envelopes of the message, and of those enclosed in it, whose headers have ended so far. One that would be over a limit is
// left out. The slice is valid until Reset; its values belong to the caller.
func (s *Scanner) Envelopes() []Envelope { return s.envelopes }

// takeEnvelope takes a field of the header of the message whose envelope is the last one. It reports false if it is over a limit.
func (s *Scanner) takeEnvelope(f Field) bool {
	k := envelopeSlot(f.Name)
	if k < 0 {
		return true
	}
	e := &s.envelopes[len(s.envelopes)-1]
	field := EnvelopeField(k)
	if e.Part == 0 && (field == EnvelopeDate || field == EnvelopeSubject || field == EnvelopeFrom || field == EnvelopeTo || field == EnvelopeMessageID) {
		return true
	}
	if s.envelopeSeen&(1<<k) != 0 {
		return true // the first counts
	}
	s.envelopeSeen |= 1 << k
	value := unfold(f.Value, MaxField+1)
	if s.envelopeRoom -= len(value); s.envelopeRoom < 0 || len(value) > MaxField {
		return false
	}
	e.Values[k] = value
	return true
}

// envelopeSlot returns the number of a field of ENVELOPE, or -1.
func envelopeSlot(name []byte) int {
	if len(name) < 2 || len(name) > 11 {
		return -1
	}
	switch name[0] | 0x20 {
	case 'd', 's', 'f', 'r', 't', 'c', 'b', 'i', 'm':
	default:
		return -1
	}
	for k, want := range envelopeNames {
		if len(want) == len(name) && strings.EqualFold(want, string(name)) {
			return k
		}
	}
	return -1
}
