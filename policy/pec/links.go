package pec

import (
	"crypto/sha256"
	"encoding/hex"

	"copialettere/journal/part"
)

// Links are the ids by which the messages of a practice find one another, each as part.MessageID returns it; "" where absent.
// An id has no meaning beyond being equal to another.
//
// All messages of one practice share Identifier; receipts cite Client as well. A sent message as it was archived bears as Own what its
// sender's program had set, the Client of its receipts; or, where the access point had rewritten it before, the Identifier, with the
// former id in Client. Several messages may bear the same Own: the envelope, the message inside, and the sender's copy do.
type Links struct {
	Identifier string   // identificativo of daticert.xml, MessageIdentifier of an evidence; of an envelope without them, its Message-ID
	Client     string   // msgid of daticert.xml or AppLayerIdentifier, or else X-Riferimento-Message-ID or REM-UAMessageIdentifier
	Own        string   // Message-ID
	References []string // In-Reply-To and References: an answer to a certified message names its Identifier there. At most 50
}

// maxReferences is how many ids Links takes from In-Reply-To and References.
const maxReferences = 50

// Links returns the ids of a message. They come from daticert.xml where there is one, and of a REM message from its first evidence.
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

// MaxLinkName is the longest name of a link, in bytes.
const MaxLinkName = 255

// Names returns the names under which the journal keeps the ids of a message, so that one leads to the others: IdentifierLink of the
// provider's, and ClientLink of the one that the sender's program had set and of the message's own.
func (l Links) Names() []string {
	var list []string
	for _, name := range []string{IdentifierLink(l.Identifier), ClientLink(l.Client), ClientLink(l.Own)} {
		if name != "" {
			list = append(list, name)
		}
	}
	return list
}

// IdentifierLink returns the name of the link of a provider's id, "" for no id: "i:" and the id, or, where that is longer than
// MaxLinkName, "i#" and its SHA-256 in hexadecimal.
func IdentifierLink(id string) string { return linkName('i', id) }

// ClientLink returns the name of the link of a Message-ID, as IdentifierLink with an "m".
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
