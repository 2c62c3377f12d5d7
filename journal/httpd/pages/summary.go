package pages

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// summary is what a line of a list says of a message. Of certified mail, sender and subject are those of the message inside.
type summary struct {
	Icon    string // a symbol of templates/_icons.html
	Kind    string // in words
	Who     string // the sender; of sent mail and of delivery receipts the recipient
	To      bool   // Who is a recipient
	Subject string
	Files   bool // it has attachments
	States  []badge
}

// badge is a short remark on a message.
type badge struct {
	Style string // a class of the style sheet: "warn", "bad" or nothing
	Text  string
}

// classIcons are the icons of classes, symbols of templates/_icons.html. Any other class has that of ordinary mail.
var classIcons = map[pec.Class]string{
	pec.PostaCertificata: "envelope", pec.REM: "envelope",
	pec.Anomalia:     "anomaly",
	pec.Accettazione: "acceptance", pec.PresaInCarico: "acceptance",
	pec.AvvenutaConsegna: "delivery",
	pec.NonAccettazione:  "failure", pec.ErroreConsegna: "failure", pec.RilevazioneVirus: "failure",
	pec.PreavvisoErroreConsegna: "clock",
}

// receiptKinds are the kinds of delivery receipts. Their Italian names are those of the law.
var receiptKinds = map[string]policy.Label{
	pec.ReceiptComplete: {Italian: "completa", English: "complete (completa)"},
	pec.ReceiptBrief:    {Italian: "breve", English: "brief (breve)"},
	pec.ReceiptShort:    {Italian: "sintetica", English: "short (sintetica)"},
}

// summarize returns what a list says of an entry.
func summarize(e *journal.Entry, l policy.Language) summary {
	record := pec.Record{Message: pec.Message{Class: pec.Ordinary, Postacert: -1}}
	if len(e.Certification) > 0 && record.UnmarshalBinary(e.Certification) != nil {
		record = pec.Record{Message: pec.Message{Class: pec.Ordinary, Postacert: -1}}
	}
	m := &record.Message
	s := summary{States: statesOf(e, l)}
	s.Icon, s.Kind = summaryKind(e, m, l)
	s.Files = m.HasAttachments(&e.Parts)
	from, subject := e.From, e.Subject
	if inner := m.InnerOrData(); pec.Class(e.Class) != pec.Ordinary {
		if inner.Subject != "" {
			subject = inner.Subject
		}
		if c := pec.Class(e.Class); inner.From != "" && (c == pec.PostaCertificata || c == pec.Anomalia || c == pec.REM) {
			from = inner.From
		}
	}
	switch {
	case e.Direction == journal.Sent:
		s.To, s.Who = true, recipientsText(e)
	case pec.GroupOf(pec.Class(e.Class)) == pec.Delivery && m.Data != nil && m.Data.Delivery != "":
		s.To, s.Who = true, m.Data.Delivery
	default:
		s.Who = personText(from)
	}
	s.Who, s.Subject = calm(s.Who), calm(part.Decode(subject))
	return s
}

// summaryKind returns the icon of an entry, and what kind of message it is.
func summaryKind(e *journal.Entry, m *pec.Message, l policy.Language) (icon, kind string) {
	class := pec.Class(e.Class)
	icon, kind = cmp.Or(classIcons[class], "ordinary"), class.Label().In(l)
	switch {
	case class == pec.AvvenutaConsegna:
		receipt := m.Declared.ReceiptKind
		if m.Data != nil && m.Data.ReceiptKind != "" {
			receipt = m.Data.ReceiptKind
		}
		if receipt == "" {
			receipt = pec.ReceiptComplete
		}
		if label, ok := receiptKinds[strings.ToLower(receipt)]; ok {
			kind += ", " + label.In(l)
		}
	case e.Direction == journal.Sent && class == pec.Ordinary && e.SentTo == string(policy.SentToCertified):
		return "envelope", text(l, "Inviato a PEC", "Sent to certified mail")
	case e.Direction == journal.Sent && class == pec.Ordinary:
		return icon, text(l, "Inviato", "Sent")
	}
	return icon, kind
}

// statesOf returns the remarks on an entry that its folder does not tell.
func statesOf(e *journal.Entry, l policy.Language) (list []badge) {
	add := func(style, italian, english string) { list = append(list, badge{style, text(l, italian, english)}) }
	switch e.State {
	case journal.Deferred:
		add("warn", "consegna rinviata", "delivery deferred")
	case journal.Unknown:
		add("warn", "consegna non confermata", "delivery not confirmed")
	case journal.Refused:
		add("bad", "rifiutato dalla casella", "refused by the mailbox")
	}
	if e.Imported != nil {
		add("", "inserito a mano", "put in by hand")
	}
	if pec.Class(e.Class) == pec.Ordinary && e.DeclaredClass != "" && pec.Class(e.DeclaredClass) != pec.Ordinary {
		add("bad", "si dice PEC, non verificato", "claims to be PEC, not verified")
	}
	return list
}

// personText returns the name in a From field; the address where there is no name, or where the name may be taken for another address.
func personText(from string) string {
	list := part.Addresses(from)
	if len(list) == 0 {
		return ""
	}
	first := list[0]
	if name := strings.TrimSpace(part.Decode(first.Name)); name != "" && (first.Mailbox() == "" || !strings.Contains(name, "@")) {
		return name
	}
	return first.Mailbox()
}

// recipientsText returns the first recipient of a sent message, and how many more there are.
func recipientsText(e *journal.Entry) string {
	switch n := len(e.Recipients); n {
	case 0:
		return personText(e.To)
	case 1:
		return e.Recipients[0]
	default:
		return fmt.Sprintf("%s +%d", e.Recipients[0], n-1)
	}
}

// calm returns a text without what controls its direction or is not shown: it could make the text around it, or itself, read otherwise.
func calm(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\u200d' || r == '\u200c': // joiners, which some scripts and emoji need
			return r
		case unicode.Is(unicode.Cf, r) || r == utf8.RuneError:
			return -1
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return ' '
		}
		return r
	}, s))
}

// cut returns as much of a text as takes so many bytes in HTML, with dots where something is missing.
func cut(s string, most int) string {
	size, good := 0, 0
	for i, r := range s {
		switch r {
		case '<', '>':
			size += 4
		case '&', '"', '\'', '+':
			size += 5
		default:
			size += utf8.RuneLen(r)
		}
		if size > most {
			return strings.TrimRight(s[:good], " ") + "…"
		}
		if size <= most-3 {
			good = i + utf8.RuneLen(r)
		}
	}
	return s
}
