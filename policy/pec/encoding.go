package pec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// recordVersion is the first byte of the stored form.
const recordVersion = 1

// ErrRecord says that bytes are not the stored form of a Record.
var ErrRecord = errors.New("malformed PEC record")

// Record is what the journal keeps with an entry. The package comment describes its stored form.
type Record struct {
	Message   Message // without Fault
	Signature Signature
}

// Verified returns the class that the signature proves: see Message.Verified.
func (r *Record) Verified() Class { return r.Message.Verified(r.Signature) }

// The tags of the stored form. Never change one; add at the end.
const (
	tagClass byte = iota + 1
	tagReceipt
	tagTransport
	tagDeclaredKind
	tagReference
	tagSecurityCheck
	tagDeclaredSender
	tagFrom
	tagOwnID
	tagInReplyTo
	tagReferences
	tagREM
	tagConflict
	tagDataError
	tagSigned
	tagDaticert
	tagPostacert
	tagEvidence
	tagData
	tagSignature
)

// More tags of the stored form.
const (
	tagReplyTo byte = iota + 40
	tagInnerFrom
	tagInnerSubject
	tagInnerDate
	tagInnerID
	tagInvoice
	tagInnerTo
	tagInnerCc
	tagInnerFile
)

// The tags inside tagData.
const (
	tagType byte = iota + 1
	tagError
	tagSender
	tagRecipient
	tagReplies
	tagSubject
	tagProvider
	tagDataTime
	tagDate
	tagZone
	tagIdentifier
	tagMessageID
	tagReceiptKind
	tagDelivery
	tagReceived
	tagErrorDetail
	tagOtherDelivery
	tagUnread
	tagOmitted
)

// The tags inside tagSignature, tagREM, tagEvidence and tagRecipient.
const (
	tagResult byte = iota + 1
	tagReason
	tagWeak
	tagDigest
	tagSigningTime
	tagIndexProvider
	tagCertificate
	tagRevocation
	tagRevocationReason
)

// The tags inside tagInvoice.
const (
	tagInvoiceKind byte = iota + 1
	tagInvoiceNotice
	tagInvoiceFile
	tagInvoiceIdentifier
	tagInvoicePart
)

const (
	tagName byte = iota + 1
	tagValue
	tagPart
	tagEvent
	tagEventTime
	tagEvidenceID
	tagEvidenceMessage
)

// Further tags inside tagEvidence, and those inside tagEvidenceReason.
const (
	tagEvidenceAt byte = iota + 16
	tagEvidenceSubmitted
	tagEvidenceClient
	tagEvidenceIssuer
	tagEvidenceSender
	tagEvidenceSubject
	tagEvidenceError
	tagEvidenceReason
	tagEvidenceRecipient // as tagRecipient
	tagEvidenceRefersTo
)

const (
	tagReasonCode byte = iota + 1
	tagReasonDetail
)

// encoder appends fields. Empty values are left out.
type encoder []byte

func (e *encoder) bytes(tag byte, b []byte) {
	*e = append(binary.AppendUvarint(append(*e, tag), uint64(len(b))), b...)
}

func (e *encoder) string(tag byte, s string) {
	if s != "" {
		e.bytes(tag, []byte(s))
	}
}

func (e *encoder) bool(tag byte, b bool) {
	if b {
		e.bytes(tag, nil)
	}
}

// index encodes the index of a part; -1 is left out.
func (e *encoder) index(tag byte, i int) {
	if i >= 0 {
		e.bytes(tag, binary.AppendUvarint(nil, uint64(i)))
	}
}

func (e *encoder) time(tag byte, t time.Time) {
	if !t.IsZero() {
		e.bytes(tag, binary.AppendVarint(nil, t.Unix()))
	}
}

// AppendBinary appends the stored form to b. The error is always nil. Times are kept to the second.
func (r *Record) AppendBinary(b []byte) ([]byte, error) {
	e := encoder(append(b, recordVersion))
	m, d := &r.Message, &r.Message.Declared
	e.string(tagClass, string(m.Class))
	for _, f := range d.fields() {
		e.string(f.tag, *f.slot)
	}
	for _, f := range d.REM {
		var inner encoder
		inner.string(tagName, f.Name)
		inner.string(tagValue, f.Value)
		inner.index(tagPart, f.Part)
		e.bytes(tagREM, inner)
	}
	e.bool(tagConflict, d.Conflict)
	e.string(tagDataError, m.DataError)
	e.index(tagSigned, m.Signed)
	e.index(tagDaticert, m.Daticert)
	e.index(tagPostacert, m.Postacert)
	for _, f := range m.Inner.fields() {
		e.string(f.tag, *f.slot)
	}
	for i := range m.Invoices {
		var inner encoder
		for _, f := range m.Invoices[i].fields() {
			inner.string(f.tag, *f.slot)
		}
		inner.index(tagInvoicePart, m.Invoices[i].Part)
		e.bytes(tagInvoice, inner)
	}
	for _, name := range m.Inner.Files {
		e.bytes(tagInnerFile, []byte(name))
	}
	for i := range m.Evidence {
		e.bytes(tagEvidence, m.Evidence[i].encode())
	}
	if m.Data != nil {
		e.bytes(tagData, m.Data.encode())
	}
	if s := r.Signature.encode(); len(s) > 0 {
		e.bytes(tagSignature, s)
	}
	return e, nil
}

func (c *Certification) encode() []byte {
	var e encoder
	for _, f := range c.fields() {
		e.string(f.tag, *f.slot)
	}
	e.recipients(tagRecipient, c.Recipients)
	e.time(tagDataTime, c.Time)
	for _, address := range c.Received {
		e.bytes(tagReceived, []byte(address))
	}
	for _, address := range c.OtherDeliveries {
		e.bytes(tagOtherDelivery, []byte(address))
	}
	for _, u := range c.Unread {
		var inner encoder
		inner.string(tagName, u.Name)
		inner.string(tagValue, u.Text)
		e.bytes(tagUnread, inner)
	}
	if c.Omitted > 0 {
		e.index(tagOmitted, c.Omitted)
	}
	return e
}

func (e *encoder) recipients(tag byte, list []Recipient) {
	for _, r := range list {
		var inner encoder
		inner.string(tagName, r.Address)
		inner.string(tagValue, r.Kind)
		e.bytes(tag, inner)
	}
}

func (v *Evidence) encode() []byte {
	var e encoder
	e.index(tagPart, v.Part)
	for _, f := range v.fields() {
		e.string(f.tag, *f.slot)
	}
	e.time(tagEvidenceAt, v.At)
	for _, r := range v.Reasons {
		var inner encoder
		inner.string(tagReasonCode, r.Code)
		for _, d := range r.Details {
			inner.bytes(tagReasonDetail, []byte(d))
		}
		e.bytes(tagEvidenceReason, inner)
	}
	e.recipients(tagEvidenceRecipient, v.Recipients)
	for _, n := range v.RefersTo {
		e.index(tagEvidenceRefersTo, n)
	}
	return e
}

func (s *Signature) encode() []byte {
	var e encoder
	e.string(tagResult, string(s.Result))
	e.string(tagRevocation, string(s.Revocation))
	for _, f := range s.fields() {
		e.string(f.tag, *f.slot)
	}
	e.bool(tagWeak, s.Weak)
	e.time(tagSigningTime, s.SigningTime)
	for _, c := range s.Chain {
		e.bytes(tagCertificate, c)
	}
	return e
}

// textField is a string field with its tag.
type textField struct {
	tag  byte
	slot *string
}

func (d *Declared) fields() []textField {
	return []textField{{tagReceipt, &d.Receipt}, {tagTransport, &d.Transport}, {tagDeclaredKind, &d.ReceiptKind}, {tagReference, &d.Reference},
		{tagSecurityCheck, &d.SecurityCheck}, {tagDeclaredSender, &d.Sender}, {tagFrom, &d.From}, {tagOwnID, &d.MessageID},
		{tagInReplyTo, &d.InReplyTo}, {tagReferences, &d.References}, {tagReplyTo, &d.ReplyTo}}
}

func (n *Inner) fields() []textField {
	return []textField{{tagInnerFrom, &n.From}, {tagInnerSubject, &n.Subject}, {tagInnerDate, &n.Date}, {tagInnerID, &n.MessageID},
		{tagInnerTo, &n.To}, {tagInnerCc, &n.Cc}}
}

func (n *InvoiceNotice) fields() []textField {
	return []textField{{tagInvoiceKind, &n.Kind}, {tagInvoiceNotice, &n.File}, {tagInvoiceFile, &n.Invoice},
		{tagInvoiceIdentifier, &n.Identifier}}
}

func (c *Certification) fields() []textField {
	return []textField{{tagType, &c.Type}, {tagError, &c.Error}, {tagSender, &c.Sender}, {tagReplies, &c.Replies}, {tagSubject, &c.Subject},
		{tagProvider, &c.Provider}, {tagDate, &c.Date}, {tagZone, &c.Zone}, {tagIdentifier, &c.Identifier}, {tagMessageID, &c.MessageID},
		{tagReceiptKind, &c.ReceiptKind}, {tagDelivery, &c.Delivery}, {tagErrorDetail, &c.ErrorDetail}}
}

func (s *Signature) fields() []textField {
	return []textField{{tagReason, &s.Reason}, {tagDigest, &s.Digest}, {tagIndexProvider, &s.Provider},
		{tagRevocationReason, &s.RevocationReason}}
}

func (v *Evidence) fields() []textField {
	return []textField{{tagName, &v.Name}, {tagEvent, &v.Event}, {tagEventTime, &v.Time}, {tagEvidenceID, &v.Identifier},
		{tagEvidenceMessage, &v.MessageIdentifier}, {tagEvidenceSubmitted, &v.Submitted}, {tagEvidenceClient, &v.ClientIdentifier},
		{tagEvidenceIssuer, &v.Issuer}, {tagEvidenceSender, &v.Sender}, {tagEvidenceSubject, &v.Subject}, {tagEvidenceError, &v.Error}}
}

// setText sets the field with a tag, and reports whether there is one.
func setText(fields []textField, tag byte, value []byte) bool {
	for _, f := range fields {
		if f.tag == tag {
			*f.slot = string(value)
			return true
		}
	}
	return false
}

// UnmarshalBinary reads the stored form, which must fill b. It keeps no reference to b. The memory it takes is proportional to len(b),
// whatever b holds. Errors wrap ErrRecord and leave r unchanged.
func (r *Record) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != recordVersion {
		return fmt.Errorf("%w: unknown version", ErrRecord)
	}
	read := Record{Message: Message{Class: Ordinary, Signed: -1, Daticert: -1, Postacert: -1}}
	if err := decodeFields(b[1:], read.decodeField); err != nil {
		return err
	}
	*r = read
	return nil
}

// decodeFields calls field for each field in b, and stops at its first error.
func decodeFields(b []byte, field func(tag byte, value []byte) error) error {
	for len(b) > 0 {
		tag := b[0]
		n, size := binary.Uvarint(b[1:])
		if size <= 0 || n > uint64(len(b)-1-size) {
			return fmt.Errorf("%w: cut short or damaged", ErrRecord)
		}
		b = b[1+size:]
		if err := field(tag, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func decodeIndex(value []byte) (int, error) {
	n, size := binary.Uvarint(value)
	if size <= 0 || size != len(value) || n > math.MaxInt32 {
		return -1, fmt.Errorf("%w: number of a part", ErrRecord)
	}
	return int(n), nil
}

func decodeTime(value []byte) (time.Time, error) {
	n, size := binary.Varint(value)
	t := time.Unix(n, 0).UTC()
	if size <= 0 || size != len(value) || n < -1<<36 || n > 1<<38 {
		return time.Time{}, fmt.Errorf("%w: time", ErrRecord)
	}
	return t, nil
}

func (r *Record) decodeField(tag byte, value []byte) (err error) {
	m := &r.Message
	if setText(m.Declared.fields(), tag, value) || setText(m.Inner.fields(), tag, value) {
		return nil
	}
	switch tag {
	case tagClass:
		if len(value) > 0 {
			m.Class = Class(value)
		}
	case tagREM:
		f := Field{Part: -1}
		err = decodeFields(value, f.decodeField)
		m.Declared.REM = append(m.Declared.REM, f)
	case tagConflict:
		m.Declared.Conflict = true
	case tagDataError:
		m.DataError = string(value)
	case tagSigned:
		m.Signed, err = decodeIndex(value)
	case tagDaticert:
		m.Daticert, err = decodeIndex(value)
	case tagPostacert:
		m.Postacert, err = decodeIndex(value)
	case tagInnerFile:
		m.Inner.Files = append(m.Inner.Files, string(value))
	case tagInvoice:
		n := InvoiceNotice{Part: -1}
		err = decodeFields(value, n.decodeField)
		m.Invoices = append(m.Invoices, n)
	case tagEvidence:
		v := Evidence{Part: -1}
		err = decodeFields(value, v.decodeField)
		m.Evidence = append(m.Evidence, v)
	case tagData:
		m.Data = new(Certification)
		err = decodeFields(value, m.Data.decodeField)
	case tagSignature:
		err = decodeFields(value, r.Signature.decodeField)
	}
	return err
}

func (f *Field) decodeField(tag byte, value []byte) (err error) {
	switch tag {
	case tagName:
		f.Name = string(value)
	case tagValue:
		f.Value = string(value)
	case tagPart:
		f.Part, err = decodeIndex(value)
	}
	return err
}

// appendRecipient adds a recipient as encoder.recipients stored it.
func appendRecipient(list []Recipient, value []byte) ([]Recipient, error) {
	var f Field
	err := decodeFields(value, f.decodeField)
	return append(list, Recipient{Address: f.Name, Kind: f.Value}), err
}

func (n *InvoiceNotice) decodeField(tag byte, value []byte) (err error) {
	if tag == tagInvoicePart {
		n.Part, err = decodeIndex(value)
	} else {
		setText(n.fields(), tag, value)
	}
	return err
}

func (v *Evidence) decodeField(tag byte, value []byte) (err error) {
	switch tag {
	case tagPart:
		v.Part, err = decodeIndex(value)
	case tagEvidenceAt:
		v.At, err = decodeTime(value)
	case tagEvidenceReason:
		var r Reason
		err = decodeFields(value, r.decodeField)
		v.Reasons = append(v.Reasons, r)
	case tagEvidenceRecipient:
		v.Recipients, err = appendRecipient(v.Recipients, value)
	case tagEvidenceRefersTo:
		var n int
		n, err = decodeIndex(value)
		v.RefersTo = append(v.RefersTo, n)
	default:
		setText(v.fields(), tag, value)
	}
	return err
}

func (r *Reason) decodeField(tag byte, value []byte) error {
	switch tag {
	case tagReasonCode:
		r.Code = string(value)
	case tagReasonDetail:
		r.Details = append(r.Details, string(value))
	}
	return nil
}

func (c *Certification) decodeField(tag byte, value []byte) (err error) {
	switch tag {
	case tagRecipient:
		c.Recipients, err = appendRecipient(c.Recipients, value)
	case tagDataTime:
		c.Time, err = decodeTime(value)
	case tagReceived:
		c.Received = append(c.Received, string(value))
	case tagOtherDelivery:
		c.OtherDeliveries = append(c.OtherDeliveries, string(value))
	case tagUnread:
		var f Field
		err = decodeFields(value, f.decodeField)
		c.Unread = append(c.Unread, Element{Name: f.Name, Text: f.Value})
	case tagOmitted:
		c.Omitted, err = decodeIndex(value)
	default:
		setText(c.fields(), tag, value)
	}
	return err
}

func (s *Signature) decodeField(tag byte, value []byte) (err error) {
	switch tag {
	case tagResult:
		s.Result = Result(value)
	case tagRevocation:
		s.Revocation = Revocation(value)
	case tagWeak:
		s.Weak = true
	case tagSigningTime:
		s.SigningTime, err = decodeTime(value)
	case tagCertificate:
		s.Chain = append(s.Chain, append([]byte(nil), value...))
	default:
		setText(s.fields(), tag, value)
	}
	return err
}
