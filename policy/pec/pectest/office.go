package pectest

import (
	"bytes"
	"crypto"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"

	"copialettere/policy/pec"
)

// Office is a sender's provider together with the recipients' providers. It belongs to one goroutine.
type Office struct {
	Authority *Authority
	Sender    *Provider   // of alpha.test
	Receivers []*Provider // of beta.test and gamma.test; recipients elsewhere have no PEC
	Clock     time.Time   // when the next message is sent; Send advances it by a minute
}

// Start is where the clock of an Office starts.
var Start = time.Date(2026, 11, 3, 10, 11, 12, 0, time.FixedZone("", 3600))

// NewOffice returns an office with a shape for the sender's provider and one for the recipients' providers. All sign with SHA-256.
func NewOffice(sender, receiver Shape) *Office {
	a := NewAuthority()
	provider := func(name, domain string, s Shape, n int) *Provider {
		p := &Provider{Name: name, Domain: domain, Shape: s, Digest: crypto.SHA256}
		p.Identity = a.Issue(p.Address(), name, key(n), nil)
		return p
	}
	return &Office{Authority: a, Sender: provider("ALPHA PEC S.p.A.", "alpha.test", sender, keySender), Clock: Start,
		Receivers: []*Provider{provider("Beta certificata", "beta.test", receiver, keyReceiver), provider("Gamma", "gamma.test", receiver,
			keySpare)}}
}

// Providers returns all providers, the sender's first.
func (o *Office) Providers() []*Provider { return append([]*Provider{o.Sender}, o.Receivers...) }

// receiver returns a recipient's provider, or nil for a recipient without PEC.
func (o *Office) receiver(address string) *Provider {
	for _, p := range o.Providers() {
		if strings.HasSuffix(strings.ToLower(address), "@"+p.Domain) {
			return p
		}
	}
	return nil
}

// Chain is a certified message with everything that results from it.
type Chain struct {
	Mail       Mail
	Kind       string // of delivery receipt asked for: completa, breve, sintetica, or ""
	Identifier string // of the practice, without angle brackets
	Time       time.Time
	Recipients []pec.Recipient

	Original   []byte     // as the sender's program submitted it
	Rewritten  []byte     // as the access point changed it, and envelopes and receipts enclose it
	Acceptance []byte     // accettazione
	Envelope   []byte     // posta-certificata, for all recipients
	Taken      []byte     // presa-in-carico of the first receiver; nil if no recipient has PEC
	Deliveries []Delivery // one per recipient with PEC, in order

	office *Office
}

// Delivery is a delivery receipt.
type Delivery struct {
	Recipient string
	Kind      string
	Message   []byte
}

// Send sends a message and returns its whole chain, with delivery receipts a minute later. Kind is completa, breve or sintetica; "" means
// completa without a field that asks for it. By the rules, receipts for Cc recipients are always sintetica. A zero Time, an empty From, and a
// Message-ID of "auto" are filled in.
func (o *Office) Send(m Mail, kind string) *Chain {
	if m.Time.IsZero() {
		m.Time = o.Clock
	}
	o.Clock = o.Clock.Add(time.Minute)
	if m.From == "" {
		m.From = "mario@" + o.Sender.Domain
	}
	c := &Chain{Mail: m, Kind: kind, Time: m.Time, Identifier: o.Sender.identifier(m.Time), office: o}
	if m.MessageID == "auto" {
		c.Mail.MessageID = fmt.Sprintf("<client.%d@%s>", o.Sender.issued, o.Sender.Domain)
	}
	for _, address := range m.Recipients() {
		r := pec.Recipient{Address: address, Kind: pec.KindCertified}
		if o.receiver(address) == nil {
			r.Kind = pec.KindExternal
		}
		c.Recipients = append(c.Recipients, r)
	}
	c.Original = c.Mail.Bytes()
	c.Rewritten = c.Mail.render("<"+c.Identifier+">", c.Mail.MessageID, hashNone)
	c.Acceptance = c.Notice(Notice{Class: pec.Accettazione})
	c.Envelope = c.Notice(Notice{Class: pec.PostaCertificata})
	for _, r := range c.Recipients {
		if r.Kind == pec.KindExternal {
			continue
		}
		if c.Taken == nil {
			c.Taken = c.Notice(Notice{Class: pec.PresaInCarico, Recipient: r.Address, After: 30 * time.Second})
		}
		n := Notice{Class: pec.AvvenutaConsegna, Recipient: r.Address, After: time.Minute}
		c.Deliveries = append(c.Deliveries, Delivery{r.Address, c.kindFor(r.Address), c.Notice(n)})
	}
	return c
}

// kindFor returns the kind of delivery receipt for a recipient (RFC 6109 3.3.2).
func (c *Chain) kindFor(recipient string) string {
	switch {
	case !slices.Contains(c.Mail.To, recipient):
		return pec.ReceiptShort
	case c.Kind == "":
		return pec.ReceiptComplete
	}
	return c.Kind
}

// Notice describes a message that a provider makes about a certified message.
type Notice struct {
	Class     pec.Class     // any but Anomalia, REM and Ordinary
	Recipient string        // that it is about, if it is about one
	After     time.Duration // since the message was sent
	Virus     bool          // the cause of a refusal or failure is a virus
	Error     string        // @errore; "" for the usual one of the class
	Detail    string        // errore-esteso
	Variation
}

// Notice makes a message about the certified message, from the provider that the class calls for.
func (c *Chain) Notice(n Notice) []byte {
	p, at := c.office.Sender, c.Time.Add(n.After)
	switch n.Class {
	case pec.PresaInCarico, pec.AvvenutaConsegna, pec.ErroreConsegna, pec.RilevazioneVirus:
		if receiver := c.office.receiver(n.Recipient); receiver != nil {
			p = receiver
		}
	}
	body := content{at: at, text: c.text(n), certificate: c.certificate(p, n, at), postacert: c.enclosed(n)}
	body.header = c.header(p, n, at)
	return p.message(body, n.Variation)
}

// subjects are the prefixes before the original's subject (RFC 6109 3).
var subjects = map[pec.Class]string{
	pec.PostaCertificata: "POSTA CERTIFICATA: ", pec.Accettazione: "ACCETTAZIONE: ", pec.NonAccettazione: "AVVISO DI NON ACCETTAZIONE: ",
	pec.PresaInCarico: "PRESA IN CARICO: ", pec.AvvenutaConsegna: "CONSEGNA: ", pec.ErroreConsegna: "AVVISO DI MANCATA CONSEGNA: ",
	pec.PreavvisoErroreConsegna: "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: ", pec.RilevazioneVirus: "PROBLEMA DI SICUREZZA: ",
}

// header returns the fields of a notice, without MIME fields.
func (c *Chain) header(p *Provider, n Notice, at time.Time) []string {
	subject := subjects[n.Class]
	if n.Virus && n.Class != pec.RilevazioneVirus {
		subject = strings.TrimSuffix(subject, ": ") + " PER VIRUS: "
	}
	common := []string{"Date: " + at.Format(time.RFC1123Z), "Subject: " + encodeWord(subject+c.Mail.Subject)}
	if c.Mail.MessageID != "" {
		common = append(common, "X-Riferimento-Message-ID: "+c.Mail.MessageID)
	}
	if n.Class == pec.PostaCertificata {
		lines := []string{"Return-Path: <" + c.Mail.From + ">",
			"Received: from mx.alpha.test (mx.alpha.test [192.0.2.1]) by mx.beta.test; " + at.Format(time.RFC1123Z),
			"Message-ID: <" + c.Identifier + ">", `From: "Per conto di: ` + c.Mail.From + `" <` + p.Address() + ">",
			"To: " + strings.Join(c.Mail.To, ",\r\n "), "Reply-To: " + c.replies(), "X-Trasporto: posta-certificata"}
		if len(c.Mail.Cc) > 0 {
			lines = append(lines, "Cc: "+strings.Join(c.Mail.Cc, ",\r\n "))
		}
		if c.Kind != "" {
			lines = append(lines, "X-TipoRicevuta: "+c.Kind)
		}
		return append(lines, common...)
	}
	to := c.Mail.From
	if n.Class == pec.PresaInCarico || n.Class == pec.RilevazioneVirus {
		to = "ricevute@" + c.office.Sender.Domain
	}
	lines := []string{"Return-Path: <>", "Message-ID: <" + p.identifier(at) + ">", "From: " + p.Address(), "To: " + to,
		"X-Ricevuta: " + string(n.Class)}
	if n.Virus || n.Class == pec.RilevazioneVirus {
		lines = append(lines, "X-VerificaSicurezza: errore")
	}
	if n.Class == pec.RilevazioneVirus {
		lines = append(lines, "X-Mittente: "+c.Mail.From)
	}
	return append(lines, common...)
}

func (c *Chain) replies() string {
	if c.Mail.ReplyTo != "" {
		return c.Mail.ReplyTo
	}
	return c.Mail.From
}

// enclosed returns the content of postacert.eml, or nil.
func (c *Chain) enclosed(n Notice) []byte {
	switch {
	case n.Class == pec.PostaCertificata:
		return c.Rewritten
	case n.Class != pec.AvvenutaConsegna:
		return nil
	}
	switch c.kindFor(n.Recipient) {
	case pec.ReceiptComplete:
		return c.Rewritten
	case pec.ReceiptBrief:
		h := hashDecoded
		if n.HashWrong {
			h = hashWrong
		} else if n.HashEncoded {
			h = hashEncoded
		}
		return c.Mail.render("<"+c.Identifier+">", c.Mail.MessageID, h)
	}
	return nil
}

// text returns a notice's text for people.
func (c *Chain) text(n Notice) string {
	return fmt.Sprintf("Ricevuta di %s\n\nIl messaggio \"%s\" inviato da \"%s\"\nè stato trattato il %s.\nIdentificativo messaggio: %s\n",
		n.Class, c.Mail.Subject, c.Mail.From, c.Time.Format("02/01/2006 alle ore 15:04:05 (-0700)"), c.Identifier)
}

// escape escapes text for XML.
func escape(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.String()
}

// xmlWriter collects an XML document.
type xmlWriter struct{ strings.Builder }

// line adds a formatted line, with its string arguments escaped. It changes args.
func (w *xmlWriter) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = escape(s)
		}
	}
	fmt.Fprintf(w, format+"\n", args...)
}

// errorOf returns @errore.
func (n Notice) errorOf() string {
	switch {
	case n.Error != "":
		return n.Error
	case n.Virus || n.Class == pec.RilevazioneVirus:
		return "virus"
	case n.Class == pec.NonAccettazione, n.Class == pec.ErroreConsegna, n.Class == pec.PreavvisoErroreConsegna:
		return "altro"
	}
	return "nessuno"
}

// certificate returns daticert.xml (RFC 6109 4.4).
func (c *Chain) certificate(p *Provider, n Notice, at time.Time) string {
	var b xmlWriter
	b.line(`<?xml version="1.0" encoding="UTF-8"?>`)
	b.line(`<postacert tipo="%s" errore="%s">`, string(n.Class), n.errorOf())
	b.line(`    <intestazione>`)
	b.line(`        <mittente>%s</mittente>`, c.Mail.From)
	for _, r := range c.Recipients {
		b.line(`        <destinatari tipo="%s">%s</destinatari>`, r.Kind, r.Address)
	}
	b.line(`        <risposte>%s</risposte>`, c.replies())
	b.line(`        <oggetto>%s</oggetto>`, c.Mail.Subject)
	b.line(`    </intestazione>`)
	b.line(`    <dati>`)
	b.line(`        <gestore-emittente>%s</gestore-emittente>`, p.Name)
	b.line(`        <data zona="%s">`, at.Format("-0700"))
	b.line(`            <giorno>%s</giorno>`, at.Format("02/01/2006"))
	b.line(`            <ora>%s</ora>`, at.Format("15:04:05"))
	b.line(`        </data>`)
	b.line(`        <identificativo>%s</identificativo>`, c.Identifier)
	if c.Mail.MessageID != "" {
		b.line(`        <msgid>%s</msgid>`, c.Mail.MessageID)
	}
	switch n.Class {
	case pec.PostaCertificata:
		b.line(`        <ricevuta tipo="%s" />`, c.kindFor(c.Recipients[0].Address))
	case pec.AvvenutaConsegna:
		b.line(`        <ricevuta tipo="%s" />`, c.kindFor(n.Recipient))
		b.line(`        <consegna>%s</consegna>`, n.Recipient)
	case pec.ErroreConsegna, pec.PreavvisoErroreConsegna, pec.RilevazioneVirus:
		b.line(`        <consegna>%s</consegna>`, n.Recipient)
	case pec.PresaInCarico:
		for _, r := range c.Recipients {
			if c.office.receiver(r.Address) == p {
				b.line(`        <ricezione>%s</ricezione>`, r.Address)
			}
		}
	}
	if n.Detail != "" {
		b.line(`        <errore-esteso>%s</errore-esteso>`, n.Detail)
	}
	b.line(`    </dati>`)
	b.WriteString(`</postacert>`)
	return b.String()
}

// Anomaly returns an anomaly envelope (RFC 6109 3.2.2) of the first receiver around mail that is not certified, from the given sender. Kept has
// the fields of the enclosed message that the rules keep, such as Message-ID and To, as lines.
func (o *Office) Anomaly(from, subject string, kept []string, enclosed []byte, v Variation) []byte {
	p := o.Receivers[0]
	header := append([]string{"Return-Path: <" + from + ">", `From: "Per conto di: ` + from + `" <` + p.Address() + ">", "X-Trasporto: errore",
		"Subject: " + encodeWord("ANOMALIA MESSAGGIO: "+subject), "Date: " + o.Clock.Format(time.RFC1123Z)}, kept...)
	return p.message(content{header: header, text: "Anomalia nel messaggio\n\nIl messaggio non è certificato.\n", postacert: enclosed,
		at: o.Clock}, v)
}

// evidence is an evidence of REM (ETSI EN 319 522-3), with only the elements that readers use.
const evidence = `<?xml version="1.0" encoding="UTF-8"?>
<Evidence xmlns="http://uri.etsi.org/19522/v1#" version="1">
  <EvidenceIdentifier>evidence-1@alpha.test</EvidenceIdentifier>
  <ERDSEventId>http://uri.etsi.org/19522/Event/%s</ERDSEventId>
  <EventTime>2026-11-03T09:11:12Z</EventTime>
  <e:MessageIdentifier xmlns:e="http://uri.etsi.org/19522/v1#">message-1@alpha.test</e:MessageIdentifier>
  <SenderDetails><MessageIdentifier>nested@alpha.test</MessageIdentifier></SenderDetails>
</Evidence>`

// REM returns a message of European registered mail (ETSI EN 319 532-4) with one evidence per event.
func (o *Office) REM(m Mail, events ...string) []byte {
	const boundary = "----=_Part_REM"
	var signed, b bytes.Buffer
	fmt.Fprintf(&signed, "Content-Type: multipart/mixed; boundary=%q\r\n\r\n--%s\r\nContent-Type: text/plain\r\nREM-Section-Type: rem_message/introduction"+
		"\r\n\r\nMessaggio REM\r\n--%s\r\nContent-Type: message/rfc822; name=AttachedMimeMessage\r\nContent-Transfer-Encoding: binary\r\n"+
		"Content-Disposition: attachment\r\nREM-Section-Type: rem_message/original\r\n\r\n%s", boundary, boundary, boundary, m.Bytes())
	for _, e := range events {
		fmt.Fprintf(&signed, "\r\n--%s\r\nContent-Type: application/xml; charset=UTF-8; name=\"%s.xml\"\r\nREM-Section-Type: rem_message/ERDS_evidence\r\n\r\n%s",
			boundary, e, crlf(fmt.Sprintf(evidence, e)))
	}
	signed.WriteString("\r\n--" + boundary + "--\r\n")
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: REM: %s\r\nMessage-ID: <rem-1@%s>\r\nMIME-Version: 1.0\r\n", o.Sender.Address(),
		m.To[0], m.Subject, o.Sender.Domain)
	o.Sender.signed(&b, signed.Bytes(), o.Clock, Variation{})
	return b.Bytes()
}

// OldREM returns the header of a REM message of the older ETSI TS 102 640, with a text.
func (o *Office) OldREM() []byte {
	return []byte("From: " + o.Sender.Address() + "\r\nX-REM-Msg-Type: Dispatch\r\nX-REM-Evidence-Type: SubmissionAcceptance\r\n" +
		"X-REM-Message-Identifier: rem-2@alpha.test\r\n" +
		"Subject: REM\r\n\r\nMessaggio REM\r\n")
}
