package pec

import (
	"crypto/sha256"
	"encoding/hex"

	"copialettere/journal/part"
)

// Links are the ids that tie the messages of a practice together, each as part.MessageID returns it; "" where absent. Ids are compared for
// equality and have no other meaning.
//
// All messages of one practice share Identifier; receipts also name Client. The Own of an archived sent message is the id that its sender's
// program set, the Client of its receipts. If the access point rewrote the message before it was archived, Own is the Identifier, and Client the
// former id. Several messages may have the same Own: the envelope, the message inside, and the sender's copy do.
type Links struct {
	Identifier string   // identificativo of daticert.xml, MessageIdentifier of an evidence; in an envelope without them, its Message-ID
	Client     string   // msgid of daticert.xml or AppLayerIdentifier, else X-Riferimento-Message-ID or REM-UAMessageIdentifier
	Own        string   // Message-ID
	References []string // In-Reply-To and References, at most 50: a reply to a certified message names its Identifier there
}

// maxReferences is the most ids that Links takes from In-Reply-To and References.
const maxReferences = 50

// Links returns the ids of a message, from daticert.xml if it has one; for a REM message, from its first evidence with an id.
func (m *Message) Links() Links {
	l := Links{Client: part.MessageID(m.Declared.Reference), Own: part.MessageID(m.Declared.MessageID)}
	if m.Data != nil {
		l.Identifier = part.MessageID(m.Data.Identifier)
		if id := part.MessageID(m.Data.MessageID); id != "" {
			l.Client = id
		}
	}
	if m.Data == nil && m.Class == REM {
		m.evidenceLinks(&l)
	}
	if l.Identifier == "" && (m.Class == PostaCertificata || m.Class == REM && m.isDispatch()) {
		l.Identifier = l.Own
	}
	for _, value := range []string{m.Declared.InReplyTo, m.Declared.References} {
		for id := range part.MessageIDs(value) {
			if len(l.References) == maxReferences {
				return l
			}
			l.References = append(l.References, id)
		}
	}
	return l
}

// evidenceLinks adds the ids of a REM message.
func (m *Message) evidenceLinks(l *Links) {
	for i := range m.Evidence {
		if l.Identifier = m.Evidence[i].messageID(); l.Identifier != "" {
			if id := part.MessageID(m.Evidence[i].ClientIdentifier); id != "" {
				l.Client = id
			}
			break
		}
	}
	for _, f := range m.Declared.REM {
		if l.Client == "" && equalFold(f.Name, "REM-UAMessageIdentifier") {
			l.Client = part.MessageID(f.Value)
		}
	}
}

// MaxLinkName is the greatest length of a link's name, in bytes.
const MaxLinkName = 255

// Names returns the names under which the journal links the messages that share an id: IdentifierLink of Identifier, and ClientLink of Client
// and of Own. Absent ids have none.
func (l Links) Names() []string {
	var list []string
	for _, name := range []string{IdentifierLink(l.Identifier), ClientLink(l.Client), ClientLink(l.Own)} {
		if name != "" {
			list = append(list, name)
		}
	}
	return list
}

// IdentifierLink returns the name of the link for a provider's id: "i:" and the id, or, if that is longer than MaxLinkName, "i#" and the id's
// SHA-256 in hexadecimal. For "" it is "".
func IdentifierLink(id string) string { return linkName('i', id) }

// ClientLink returns the name of the link for a Message-ID: like IdentifierLink, with "m" in place of "i".
func ClientLink(id string) string { return linkName('m', id) }

func linkName(kind byte, id string) string {
	switch {
	case id == "":
		return ""
	case len(id)+2 <= MaxLinkName:
		return string(kind) + ":" + id
	}
	sum := sha256.Sum256([]byte(id))
	return string(kind) + "#" + hex.EncodeToString(sum[:])
}
