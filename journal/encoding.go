package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// An encoded value is a list of fields: tag (one byte), length (uvarint), bytes. Unknown tags are skipped, so a later version may add
// fields. A list is a repeated field. Empty fields are left out.
const (
	tagTime        = 1 // int64 nanoseconds since 1970, big-endian
	tagDirection   = 2
	tagMailFrom    = 3
	tagRcptTo      = 4
	tagORCPT       = 5
	tagRecipient   = 6
	tagPeerName    = 7
	tagPeerAddr    = 8
	tagPeerHelo    = 9
	tagPeerProto   = 10
	tagQueueID     = 11
	tagTransaction = 12
	tagSize        = 13 // uvarint
	tagSHA256      = 14
	tagChunk       = 15 // id, size as uvarint
	tagClass       = 16
	tagFrom        = 17
	tagTo          = 18
	tagSubject     = 19
	tagDate        = 20
	tagMessageID   = 21
	tagFlag        = 22
	tagParts       = 23

	tagDeclaredClass = 24
	tagSignature     = 25
	tagSentTo        = 26
	tagCertification = 27
	tagLink          = 28
	tagEnvelope      = 29 // part.Envelope
	// Records of skips and gaps.
	tagKind    = 40
	tagReason  = 41
	tagUntil   = 42
	tagDetail  = 43
	tagEntries = 44 // uvarint
	tagBytes   = 45 // uvarint
	// Acts, holds, and entries that are put aside.
	tagWho       = 46
	tagMonth     = 47
	tagFromPlace = 48 // as in a delivery key
	tagToPlace   = 49
	tagEntry     = 50
	tagOutcome   = 51
	tagDelivery  = 52 // month, delivery key
	tagCut       = 53 // of a record
	tagUIDs      = 54 // UIDs.encode: of an act on several entries
	tagToUIDs    = 55

	tagDeletedUID = 56 // uvarint

	tagImportedBy = 57 // of an imported entry
	tagImportDate = 58

	tagImportSource  = 59
	tagImportQuoting = 60
	tagImportOnce    = 61 // empty
)

var errEncoding error = damage("malformed value")

// errSealed says that a value is sealed under a key that is not there.
var errSealed = fmt.Errorf("sealed under a key of its mailbox that is lost or was destroyed; if it is lost, put the file of these keys back from a backup of "+
	"the data folder, or name the key that opens it in [encryption]: %w", errEncoding)

// errPacked says that a value cannot be unpacked.
var errPacked = fmt.Errorf("it, or both copies of its dictionary, cannot be unpacked: %w", errEncoding)

type encoder struct{ b []byte }

func (e *encoder) bytes(tag byte, v []byte) {
	e.b = append(e.b, tag)
	e.b = binary.AppendUvarint(e.b, uint64(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) string(tag byte, v string) {
	if v == "" {
		return
	}
	e.b = append(e.b, tag)
	e.b = binary.AppendUvarint(e.b, uint64(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) uint(tag byte, v uint64) {
	var buf [binary.MaxVarintLen64]byte
	e.bytes(tag, buf[:binary.PutUvarint(buf[:], v)])
}

func (e *encoder) time(tag byte, t time.Time) {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], uint64(t.UnixNano()))
	e.bytes(tag, buf[:])
}

// decodeFields calls field for every field of b.
func decodeFields(b []byte, field func(tag byte, v []byte) error) error {
	if len(b) > 0 && b[0] == kv.Sealed {
		return errSealed
	}
	if isPacked(b) {
		return errPacked
	}
	for len(b) > 0 {
		tag := b[0]
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return errEncoding
		}
		v := b[1+w : 1+w+int(n)]
		b = b[1+w+int(n):]
		if err := field(tag, v); err != nil {
			return fmt.Errorf("field %d: %w", tag, err)
		}
	}
	return nil
}

func decodeTime(v []byte) (time.Time, error) {
	if len(v) != 8 {
		return time.Time{}, errEncoding
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC(), nil
}

// maxSize is the largest size of a message, in bytes, that a decoder believes.
const maxSize = 1 << 50

// decodeSize reads a number of bytes from 0 to largest.
func decodeSize(v []byte, largest uint64) (int64, error) {
	n, w := binary.Uvarint(v)
	if w != len(v) || w <= 0 || n > largest {
		return 0, errEncoding
	}
	return int64(n), nil
}

func decodeCount(v []byte) (uint64, error) {
	n, w := binary.Uvarint(v)
	if w != len(v) || w <= 0 {
		return 0, errEncoding
	}
	return n, nil
}

// encode returns the value of the entry's e key; parts is its encoded part table. The Ref is in the key, the State in the o key.
func (e *Entry) encode(parts []byte) []byte {
	enc := encoder{b: make([]byte, 0, 512+len(parts)+len(e.Certification))}
	enc.time(tagTime, e.Time)
	enc.bytes(tagDirection, []byte{byte(e.Direction)})
	enc.string(tagMailFrom, e.MailFrom)
	enc.string(tagRcptTo, e.RcptTo)
	enc.string(tagORCPT, e.ORCPT)
	for _, r := range e.Recipients {
		enc.string(tagRecipient, r)
	}
	enc.string(tagPeerName, e.Peer.Name)
	enc.string(tagPeerAddr, e.Peer.Addr)
	enc.string(tagPeerHelo, e.Peer.Helo)
	enc.string(tagPeerProto, e.Peer.Protocol)
	enc.string(tagQueueID, e.QueueID)
	enc.string(tagTransaction, e.Transaction)
	enc.uint(tagSize, uint64(e.Size))
	enc.bytes(tagSHA256, e.SHA256[:])
	for _, c := range e.Chunks {
		enc.bytes(tagChunk, binary.AppendUvarint(c.ID[:], uint64(c.Size)))
	}
	enc.string(tagClass, e.Class)
	enc.string(tagFrom, e.From)
	enc.string(tagTo, e.To)
	enc.string(tagSubject, e.Subject)
	enc.string(tagDate, e.Date)
	enc.string(tagMessageID, e.MessageID)
	for _, f := range e.Flags {
		enc.string(tagFlag, f)
	}
	enc.string(tagDeclaredClass, e.DeclaredClass)
	enc.string(tagSignature, e.Signature)
	enc.string(tagSentTo, e.SentTo)
	if len(e.Certification) > 0 {
		enc.bytes(tagCertification, e.Certification)
	}
	for _, l := range e.Links {
		enc.string(tagLink, l)
	}
	if e.Imported != nil {
		enc.bytes(tagImportedBy, []byte(e.Imported.Who))
		enc.time(tagImportDate, e.Imported.Date)
		enc.string(tagImportSource, e.Imported.Source)
		enc.string(tagImportQuoting, e.Imported.Quoting)
		if e.Imported.Once {
			enc.bytes(tagImportOnce, nil)
		}
	}
	for i := range e.Envelopes {
		// No error is possible.
		b, _ := e.Envelopes[i].AppendBinary(nil)
		enc.bytes(tagEnvelope, b)
	}
	enc.bytes(tagParts, parts)
	return enc.b
}

func decodeEntry(r Ref, b []byte) (*Entry, error) {
	e := &Entry{Ref: r}
	return e.decode(b, e.decodeField)
}

// decodeHead is decodeEntry without Parts and Chunks.
func decodeHead(r Ref, b []byte) (*Entry, error) {
	e := &Entry{Ref: r}
	all := string(b) // the strings of the entry are parts of it: one allocation, not twenty
	return e.decode(b, func(tag byte, v []byte) error {
		if tag == tagParts || tag == tagChunk {
			return nil
		}
		if s := e.stringField(tag); s != nil {
			at := cap(b) - cap(v) // v is a slice of b
			*s = all[at : at+len(v)]
			return nil
		}
		return e.decodeField(tag, v)
	})
}

func (e *Entry) decode(b []byte, field func(byte, []byte) error) (*Entry, error) {
	if err := decodeFields(b, field); err != nil {
		r := e.Ref
		return nil, fmt.Errorf("entry %s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
	}
	return e, nil
}

// salvage reads what it can of the value of an entry that may be malformed or cut off. whole says that the list of chunks is complete: it
// adds up to the size of the message, which is encoded before it.
func salvage(r Ref, b []byte) (e *Entry, whole bool) {
	e = &Entry{Ref: r}
	_ = decodeFields(b, func(tag byte, v []byte) error {
		_ = e.decodeField(tag, v)
		return nil
	})
	left := e.Size
	for _, c := range e.Chunks {
		left -= c.Size
	}
	return e, left == 0 && e.SHA256 != Digest{} // the digest stands between the two, and tells an empty message from nothing
}

func (e *Entry) decodeField(tag byte, v []byte) (err error) {
	if s := e.stringField(tag); s != nil {
		*s = string(v)
		return nil
	}
	switch tag {
	case tagTime:
		e.Time, err = decodeTime(v)
	case tagDirection:
		if len(v) != 1 {
			return errEncoding
		}
		e.Direction = Direction(v[0])
		if e.Direction != Received && e.Direction != Sent {
			return errEncoding
		}
	case tagRecipient:
		e.Recipients = append(e.Recipients, string(v))
	case tagSize:
		e.Size, err = decodeSize(v, maxSize)
	case tagSHA256:
		if len(v) != len(e.SHA256) {
			return errEncoding
		}
		copy(e.SHA256[:], v)
	case tagChunk:
		var c ChunkRef
		if len(v) < len(c.ID) {
			return errEncoding
		}
		copy(c.ID[:], v)
		// A reader of the message would never get past a chunk without bytes.
		if c.Size, err = decodeSize(v[len(c.ID):], codec.MaxSize); c.Size == 0 {
			return errEncoding
		}
		e.Chunks = append(e.Chunks, c)
	case tagFlag:
		e.Flags = append(e.Flags, string(v))
	case tagCertification:
		e.Certification = bytes.Clone(v)
	case tagImportedBy:
		e.imported().Who = string(v)
	case tagImportDate:
		e.imported().Date, err = decodeTime(v)
	case tagImportSource:
		e.imported().Source = string(v)
	case tagImportQuoting:
		e.imported().Quoting = string(v)
	case tagImportOnce:
		e.imported().Once = true
	case tagLink:
		e.Links = append(e.Links, string(v))
	case tagEnvelope:
		var envelope part.Envelope
		if err = envelope.UnmarshalBinary(v); err != nil {
			return fmt.Errorf("%w: %w", errEncoding, err)
		}
		e.Envelopes = append(e.Envelopes, envelope)
	case tagParts:
		if err = e.Parts.UnmarshalBinary(v); err != nil {
			err = fmt.Errorf("%w: %w", errEncoding, err)
		}
	}
	return err
}

func (e *Entry) imported() *Import {
	if e.Imported == nil {
		e.Imported = new(Import)
	}
	return e.Imported
}

func (e *Entry) stringField(tag byte) *string {
	switch tag {
	case tagMailFrom:
		return &e.MailFrom
	case tagRcptTo:
		return &e.RcptTo
	case tagORCPT:
		return &e.ORCPT
	case tagPeerName:
		return &e.Peer.Name
	case tagPeerAddr:
		return &e.Peer.Addr
	case tagPeerHelo:
		return &e.Peer.Helo
	case tagPeerProto:
		return &e.Peer.Protocol
	case tagQueueID:
		return &e.QueueID
	case tagTransaction:
		return &e.Transaction
	case tagClass:
		return &e.Class
	case tagDeclaredClass:
		return &e.DeclaredClass
	case tagSignature:
		return &e.Signature
	case tagSentTo:
		return &e.SentTo
	case tagFrom:
		return &e.From
	case tagTo:
		return &e.To
	case tagSubject:
		return &e.Subject
	case tagDate:
		return &e.Date
	case tagMessageID:
		return &e.MessageID
	}
	return nil
}

// outcome is the value of an o key: what is known of an entry that is not known to be delivered.
type outcome struct {
	state       State  // Unknown, Deferred or Refused
	withdrawal  bool   // the transaction may withdraw the entry when the next hop refuses it for good
	refused     bool   // a later repetition was refused for good
	transaction string // the one that set the outcome last

	supersedes []delivery // the older entries that it supersedes and that share its fate when it is withdrawn; at most 255
}

func (o outcome) encode() []byte {
	var flags byte
	if o.withdrawal {
		flags |= 1
	}
	if o.refused {
		flags |= 2
	}
	if len(o.supersedes) == 0 {
		return append([]byte{byte(o.state), flags}, o.transaction...)
	}
	b := []byte{byte(o.state), flags | 4, byte(len(o.supersedes))}
	for _, d := range o.supersedes {
		b = d.append(b)
	}
	return append(b, o.transaction...)
}

func decodeOutcome(b []byte) (outcome, error) {
	if len(b) < 2 || State(b[0]) > Refused {
		return outcome{}, fmt.Errorf("outcome: %w", errEncoding)
	}
	o := outcome{state: State(b[0]), withdrawal: b[1]&1 != 0, refused: b[1]&2 != 0}
	rest := b[2:]
	if b[1]&4 != 0 {
		if len(rest) == 0 || len(rest) < 1+int(rest[0])*deliverySize {
			return outcome{}, fmt.Errorf("outcome: %w", errEncoding)
		}
		n := int(rest[0])
		rest = rest[1:]
		for range n {
			d, err := decodeDelivery(rest[:deliverySize])
			if err != nil {
				return outcome{}, fmt.Errorf("outcome: %w", err)
			}
			o.supersedes = append(o.supersedes, d)
			rest = rest[deliverySize:]
		}
	}
	o.transaction = string(rest)
	return o, nil
}

// sizeEstimate is about the length of the encoded entry without its part table, in bytes, and never much less.
func (e *Entry) sizeEstimate() int {
	n := 1024 + len(e.Chunks)*24 + len(e.MailFrom) + len(e.RcptTo) + len(e.ORCPT) + len(e.Class) +
		len(e.DeclaredClass) + len(e.Signature) + len(e.SentTo) + len(e.Certification) +
		len(e.From) + len(e.To) + len(e.Subject) + len(e.Date) + len(e.MessageID) +
		len(e.Peer.Name) + len(e.Peer.Addr) + len(e.Peer.Helo) + len(e.Peer.Protocol) + len(e.QueueID) + len(e.Transaction)
	if e.Imported != nil {
		n += 48 + len(e.Imported.Who) + len(e.Imported.Source) + len(e.Imported.Quoting)
	}
	for i := range e.Envelopes {
		n += 32
		for _, v := range e.Envelopes[i].Values {
			n += len(v)
		}
	}
	for _, list := range [...][]string{e.Recipients, e.Flags, e.Links} {
		for _, s := range list {
			n += len(s) + 4
		}
	}
	return n
}
