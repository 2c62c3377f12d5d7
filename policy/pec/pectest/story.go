package pectest

import (
	"fmt"
	"time"

	"copialettere/policy/pec"
)

// Step is a message that a mailbox sends or receives.
type Step struct {
	Name    string // what it is, in a few words
	Sent    bool
	From    string // of the envelope
	To      []string
	Message []byte
}

// Story returns the mail of an office that writes certified and ordinary mail, in order, for a mailbox of alpha.test: four practices, of which one
// is complete, one waits for its receipt, one has failed and one is complete for one of two recipients; a certified message received; an anomaly;
// and ordinary mail, some of it with attachments and HTML. It begins at the given time, when it is meant to be delivered at once; the last receipt is of two minutes later.
func Story(mailbox string, begin time.Time) []Step {
	o := NewOffice(ShapeOf("aruba"), ShapeOf("legalmail"))
	o.Clock = begin.Truncate(time.Second)
	contract := Attachment{Name: "contratto.pdf", Type: "application/pdf", Content: []byte("%PDF-1.4\n% contratto di prova\n%%EOF\n")}
	var steps []Step
	received := func(name, from string, message []byte) {
		steps = append(steps, Step{Name: name, From: from, To: []string{mailbox}, Message: message})
	}
	sent := func(name string, m Mail, kind string) *Chain {
		m.From, m.MessageID = mailbox, "auto"
		c := o.Send(m, kind)
		steps = append(steps, Step{Name: name, Sent: true, From: mailbox, To: m.Recipients(), Message: c.Original})
		received("acceptance of it", o.Sender.Address(), c.Acceptance)
		o.Clock = c.Time.Add(storyPace)
		return c
	}
	delivered := func(c *Chain) {
		for _, d := range c.Deliveries {
			received("delivery to "+d.Recipient, o.receiver(d.Recipient).Address(), d.Message)
		}
	}

	received("a newsletter in HTML", "novita@ext.test", newsletter(mailbox, o.Clock))
	delivered(sent("a contract, certified", Mail{To: []string{"anna@beta.test"}, Subject: "Contratto di fornitura 2026",
		Text:        "Gentile dottoressa,\n\nin allegato il contratto firmato.\n\nCordiali saluti\nMario Verdi\n",
		Attachments: []Attachment{contract}}, "completa"))
	sent("a reminder, certified", Mail{To: []string{"comune@gamma.test"}, Subject: "Sollecito di pagamento fattura 118",
		Text: "Si sollecita il pagamento della fattura in oggetto.\n"}, "")
	failed := sent("a notice of termination, certified", Mail{To: []string{"chiusa@beta.test"}, Subject: "Disdetta contratto di locazione",
		Text: "Con la presente si comunica la disdetta.\n"}, "")
	received("failed delivery of it", o.Receivers[0].Address(), failed.Notice(Notice{Class: pec.ErroreConsegna, Recipient: "chiusa@beta.test",
		After: 45 * time.Second, Error: "no-dest", Detail: "5.1.1 - Casella inesistente"}))
	partly := sent("an invitation to two, certified", Mail{To: []string{"anna@beta.test", "comune@gamma.test"}, Subject: "Convocazione assemblea",
		Text: "L'assemblea è convocata per il 15 dicembre.\n"}, "breve")
	received("delivery to the first", o.Receivers[0].Address(), partly.Deliveries[0].Message)

	answer := *o
	answer.Sender, answer.Receivers = o.Receivers[0], []*Provider{o.Sender, o.Receivers[1]}
	envelope := answer.Send(Mail{From: "anna@beta.test", To: []string{mailbox}, Subject: "Contratto controfirmato", MessageID: "auto",
		Text: "Buongiorno,\n\nrestituisco il contratto controfirmato: è già in vigore.\n\nAnna Neri\n", Attachments: []Attachment{contract}}, "")
	received("a certified answer", o.Receivers[0].Address(), envelope.Envelope)
	o.Clock = envelope.Time.Add(storyPace)

	offer := Mail{From: "Listini <listini@ext.test>", To: []string{mailbox}, Subject: "Listino di dicembre", MessageID: "<listino-12@ext.test>",
		Time: o.Clock, Text: "Ecco il nuovo listino.\n",
		Attachments: []Attachment{Binary("listino.xlsm", 3000, 7)}}
	received("an anomaly", "listini@ext.test", o.Anomaly("listini@ext.test", offer.Subject, []string{"To: " + mailbox, "Message-ID: <listino-12@ext.test>"}, offer.Bytes(), Variation{}))
	for i, subject := range []string{"Riunione di lunedì", "Re: Riunione di lunedì", "Preventivo per il tetto"} {
		o.Clock = o.Clock.Add(storyPace)
		m := Mail{From: "Bruno Gialli <bruno@ext.test>", To: []string{mailbox}, Subject: subject, MessageID: fmt.Sprintf("<lettera-%d@ext.test>", i), Time: o.Clock,
			Text: "Ciao Mario,\n\nci sentiamo domani.\n\nBruno\n"}
		if i == 2 {
			m.Attachments = []Attachment{{Name: "preventivo.txt", Type: "text/plain", Content: []byte("Tegole: 1.200 euro\n")}}
		}
		received("an ordinary letter", "bruno@ext.test", m.Bytes())
	}
	return steps
}

// storyPace is the time from one message of a story to the next.
const storyPace = 5 * time.Second

// newsletter returns a message in HTML with an image at another host.
func newsletter(to string, at time.Time) []byte {
	return []byte(crlf("From: Novita <novita@ext.test>\nTo: " + to + "\nSubject: Le =?utf-8?Q?novit=C3=A0?= di novembre\nDate: " + at.Format(time.RFC1123Z) +
		"\nMessage-ID: <novita-11@ext.test>\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n" +
		"<html><body><h1>Novità</h1><p>Tre nuovi <b>prodotti</b> nel <a href=\"https://www.ext.test/catalogo\">catalogo</a>.</p>" +
		"<img src=\"https://www.ext.test/spia.png\" width=\"1\" height=\"1\" alt=\"\"></body></html>\n"))
}
