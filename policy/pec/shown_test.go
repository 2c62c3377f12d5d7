package pec_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"copialettere/journal/part"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// TestInner reads the header of the enclosed message in every form of enclosure.
func TestInner(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := letter()
	mail.From = "mario@alpha.test"
	c := o.Send(mail, "completa")
	encoded := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{PostacertEnc: true}})
	anomaly := o.Anomaly("zoe@ext.test", "Saluti", nil, []byte("From: Zoe <zoe@ext.test>\r\nSubject: Saluti\r\n\r\nCiao\r\n"), pectest.Variation{})
	for _, test := range []struct {
		name    string
		message []byte
		from    string
		subject string
	}{
		{"envelope", c.Envelope, "mario@alpha.test", mail.Subject},
		{"encoded, which the rules forbid", encoded, "mario@alpha.test", mail.Subject},
		{"complete receipt", c.Deliveries[0].Message, "mario@alpha.test", mail.Subject},
		{"anomaly, without certification data", anomaly, "Zoe <zoe@ext.test>", "Saluti"},
		{"acceptance, which encloses nothing", c.Acceptance, "", ""},
		{"no certified mail", c.Original, "", ""},
	} {
		m, _ := read(t, test.message)
		if m.Inner.From != test.from || part.Decode(m.Inner.Subject) != test.subject {
			t.Errorf("%s: %+v", test.name, m.Inner)
		}
	}
}

// TestContradictions changes one thing in the header or the certification data of good messages.
func TestContradictions(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := letter()
	c := o.Send(mail, "breve")
	virus := pectest.Notice{Class: pec.ErroreConsegna, Recipient: "anna@beta.test", Virus: true}
	field := func(name, value string) func([]string) []string {
		return func(header []string) []string {
			var list []string
			for _, line := range header {
				if n, _, _ := strings.Cut(line, ":"); !strings.EqualFold(n, name) {
					list = append(list, line)
				}
			}
			if value != "" {
				list = append(list, name+": "+value)
			}
			return list
		}
	}
	data := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Errorf("no %q in daticert.xml", old)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	envelope := pectest.Notice{Class: pec.PostaCertificata}
	acceptance := pectest.Notice{Class: pec.Accettazione}
	delivery := pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "anna@beta.test"}
	for _, test := range []struct {
		name   string
		notice pectest.Notice
		header func([]string) []string
		data   func(string) string
		want   string // fields, separated by bars
	}{
		{"envelope", envelope, nil, nil, ""},
		{"acceptance", acceptance, nil, nil, ""},
		{"delivery", delivery, nil, nil, ""},
		{"failure by a virus", virus, nil, nil, ""},
		{"class of a receipt", acceptance, field("X-Ricevuta", "avvenuta-consegna"), nil, "X-Ricevuta avvenuta-consegna accettazione"},
		{"a receipt as an envelope", acceptance, field("X-Trasporto", "posta-certificata"), nil, "X-Trasporto posta-certificata accettazione"},
		{"an envelope as an anomaly", envelope, field("X-Trasporto", "errore"), nil, "X-Trasporto errore posta-certificata"},
		{"a header that says nothing", envelope, field("X-Trasporto", ""), nil, "X-Trasporto  posta-certificata"},
		{"another letter case", envelope, field("X-Trasporto", "Posta-Certificata"), nil, ""},
		{"kind of receipt", envelope, field("X-TipoRicevuta", "completa"), nil, "X-TipoRicevuta completa breve"},
		{"no kind stands for completa", envelope, field("X-TipoRicevuta", ""), nil, "X-TipoRicevuta  breve"},
		{"reference", acceptance, field("X-Riferimento-Message-ID", "<other@alpha.test>"), nil,
			"X-Riferimento-Message-ID <other@alpha.test> " + c.Mail.MessageID},
		{"Message-ID", envelope, field("Message-ID", "<other@alpha.test>"), nil, "Message-ID <other@alpha.test> " + c.Identifier},
		{"no virus", virus, nil, data(`errore="virus"`, `errore="altro"`), "X-VerificaSicurezza errore altro"},
		{"on behalf of another", envelope, field("From", `"Per conto di: eva@ext.test" <posta-certificata@alpha.test>`), nil,
			`From "Per conto di: eva@ext.test" <posta-certificata@alpha.test> mario@alpha.test`},
		{"on behalf of a name", envelope, field("From", `"Per conto di: Mario Rossi" <posta-certificata@alpha.test>`), nil, ""},
		{"answers elsewhere", envelope, field("Reply-To", "eva@ext.test"), nil, "Reply-To eva@ext.test ufficio@alpha.test"},
		{"answers with a name", envelope, field("Reply-To", "Ufficio <UFFICIO@alpha.test>"), nil, ""},
		{"another subject", acceptance, field("Subject", "ACCETTAZIONE: altro"), nil, "Subject ACCETTAZIONE: altro " + mail.Subject},
		{"more before the subject", acceptance, field("Subject", "ACCETTAZIONE: urgente: "+mail.Subject), nil,
			"Subject ACCETTAZIONE: urgente: " + mail.Subject + " " + mail.Subject},
		{"another word before the subject", acceptance, field("Subject", "RICEVUTA: "+mail.Subject), nil, ""},
		{"subject with other spaces", acceptance, field("Subject", "ACCETTAZIONE:  "+strings.ReplaceAll(mail.Subject, " ", "\r\n\t")), nil, ""},
		{"date an hour off", acceptance, field("Date", "Tue, 03 Nov 2026 11:11:12 +0100"), nil, ""},
		{"date further off", acceptance, field("Date", "Tue, 03 Nov 2026 11:11:13 +0100"), nil,
			"Date Tue, 03 Nov 2026 11:11:13 +0100 03/11/2026 10:11:12 +0100"},
		{"another sender", envelope, nil, data("<mittente>mario@alpha.test", "<mittente>eva@alpha.test"),
			`From "Per conto di: mario@alpha.test" <posta-certificata@alpha.test> eva@alpha.test|postacert.eml From mario@alpha.test eva@alpha.test`},
		{"another subject certified", delivery, nil, data("<oggetto>Fattura n. 1", "<oggetto>Fattura n. 2"),
			"Subject CONSEGNA: " + mail.Subject + " Fattura n. 2" + mail.Subject[len("Fattura n. 1"):] +
				"|postacert.eml Subject " + mail.Subject + " Fattura n. 2" + mail.Subject[len("Fattura n. 1"):]},
		{"no subject certified", acceptance, nil, data("<oggetto>"+xmlText(mail.Subject)+"</oggetto>", ""), ""},
		{"nothing certified", acceptance, nil, func(string) string { return "" }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := test.notice
			n.Header, n.Certificate = test.header, test.data
			message := c.Notice(n)
			m, _ := read(t, message)
			_, header := scan(message)
			var got []string
			for _, x := range m.Contradictions(part.Value(header, "Subject"), part.Value(header, "Date")) {
				got = append(got, fmt.Sprintf("%s %s %s", x.Field, x.Header, x.Certificate))
			}
			if strings.Join(got, "|") != test.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.ReplaceAll(test.want, "|", "\n"))
			}
		})
	}
	// A good message of any type, in any shape, has no contradiction.
	for _, shape := range pectest.Shapes() {
		o := pectest.NewOffice(shape, shape)
		for _, k := range kinds {
			message := o.Send(letter(), k.kind).Notice(k.notice)
			m, _ := read(t, message)
			_, header := scan(message)
			if list := m.Contradictions(part.Value(header, "Subject"), part.Value(header, "Date")); len(list) > 0 {
				t.Errorf("%s, %s: %+v", shape.Name, k.name, list)
			}
		}
	}
}

// xmlText escapes text for XML.
func xmlText(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.String()
}

// invoiceXML is a notification from the exchange system, with invented content.
func invoiceXML(root, body string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<types:" + root +
		` xmlns:types="http://www.fatturapa.gov.it/sdi/messaggi/v1.0" versione="1.0">` + body + "</types:" + root + ">")
}

func TestInvoiceNotices(t *testing.T) {
	const ids = "<IdentificativoSdI> 111222333 </IdentificativoSdI><NomeFile>IT01234567890_00001.xml.p7m</NomeFile>"
	const file, by = "IT01234567890_00001.xml.p7m", "IT01234567890_00001"
	for _, test := range []struct {
		name    string
		content []byte
		want    string // kind, invoice, identifier
	}{
		{"IT01234567890_00001_RC_001.xml", invoiceXML("RicevutaConsegna", ids+"<DataOraConsegna>x</DataOraConsegna>"), "RC " + file + " 111222333"},
		{"IT01234567890_00001_NS_001.xml", invoiceXML("NotificaScarto", ids), "NS " + file + " 111222333"},
		{"IT01234567890_00001_NS_002.xml", invoiceXML("RicevutaScarto", ids), "NS " + file + " 111222333"},
		{"IT01234567890_00001_MC_001.xml", invoiceXML("NotificaMancataConsegna", ids), "MC " + file + " 111222333"},
		{"IT01234567890_00001_MC_002.xml", invoiceXML("RicevutaImpossibilitaRecapito", ids), "MC " + file + " 111222333"},
		{"IT01234567890_00001_NE_001.xml", invoiceXML("NotificaEsito",
			ids+"<EsitoCommittente><IdentificativoSdI>999</IdentificativoSdI></EsitoCommittente>"), "NE " + file + " 111222333"},
		{"IT01234567890_00001_DT_001.xml", invoiceXML("NotificaDecorrenzaTermini", ids), "DT " + file + " 111222333"},
		{"IT01234567890_00001_AT_001.xml", invoiceXML("AttestazioneTrasmissioneFattura", ids), "AT " + file + " 111222333"},
		{"IT01234567890_00001_MT_001.xml", invoiceXML("MetadatiInvioFile", ids+"<Formato>FPA12</Formato>"), "MT " + file + " 111222333"},
		{"it01234567890_a1b2c_rc_001.XML", invoiceXML("RicevutaConsegna", ids), "RC " + file + " 111222333"},
		{"IT01234567890_00001_RC_003.xml", invoiceXML("NotificaScarto", ids), "NS " + file + " 111222333"},
		{"IT01234567890_00001_RC_004.xml", invoiceXML("Altro", "<X><NomeFile>y</NomeFile></X>"), "RC " + by + " "},
		{"IT01234567890_00001_RC_005.xml", invoiceXML("RicevutaConsegna", ids)[:200], "RC " + by + " 111222333"},
		{"IT01234567890_00001_RC_008.xml", invoiceXML("RicevutaConsegna", "<Note>\x01 a & b < c</Note>"+ids), "RC " + file + " 111222333"},
		{"IT01234567890_00001_RC_006.xml", []byte("no XML < at all"), "RC " + by + " "},
		{"IT01234567890_00001_RC_007.xml", nil, "RC " + by + " "},
		{"IT01234567890_00001_RC_001.xml.p7m", []byte("signed"), "RC " + by + " "},
		{"IT01234567890_00001_AT_001.zip", []byte("PK"), "AT " + by + " "},
		{"DE123456789_00001_RC_001.xml", invoiceXML("RicevutaConsegna", ids), "RC " + file + " 111222333"},
		{"IT01234567890_00001.xml", invoiceXML("FatturaElettronica", ids), ""},
		{"IT01234567890_00001_XX_001.xml", invoiceXML("RicevutaConsegna", ids), ""},
		{"IT01234567890_000001_RC_001.xml", invoiceXML("RicevutaConsegna", ids), ""},
		{"1T01234567890_00001_RC_001.xml", invoiceXML("RicevutaConsegna", ids), ""},
		{"IT01234567890_00001_RC_001_2.xml", invoiceXML("RicevutaConsegna", ids), ""},
		{"IT01234567890_00001_RC_001.pdf", invoiceXML("RicevutaConsegna", ids), ""},
		{"IT_RC_001.xml", invoiceXML("RicevutaConsegna", ids), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := pectest.NewOffice(pectest.ShapeOf("legalmail"), pectest.ShapeOf("aruba"))
			c := o.Send(pectest.Mail{From: "sdi01@pec.fatturapa.it", To: []string{"anna@beta.test"}, Subject: "Ricevuta", Text: "Testo\n", MessageID: "auto",
				Attachments: []pectest.Attachment{{Name: "altro.xml", Type: "text/xml", Content: invoiceXML("RicevutaConsegna", ids)},
					{Name: test.name, Type: "application/octet-stream", Content: test.content}}}, "completa")
			m, table := read(t, c.Envelope)
			got := ""
			for _, n := range m.Invoices {
				got += fmt.Sprintf("%s %s %s", n.Kind, n.Invoice, n.Identifier)
				if n.File != test.name || table.Parts[n.Part].Name() != test.name {
					t.Errorf("file %q, part %d", n.File, n.Part)
				}
				if pec.InvoiceKinds()[n.Kind] == "" {
					t.Errorf("the kind %s has no name", n.Kind)
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !m.Data.FromExchange() {
				t.Error("not from the exchange system")
			}
			// A receipt for somebody's message with such a file is not a notification.
			if m, _ := read(t, c.Deliveries[0].Message); len(m.Invoices) > 0 {
				t.Errorf("a receipt: %+v", m.Invoices)
			}
		})
	}
	for _, sender := range []string{"eva@ext.test", "sdi01@pec.fatturapa.it.ext.test", "", "pec.fatturapa.it"} {
		if (&pec.Certification{Sender: sender}).FromExchange() {
			t.Errorf("%q is the exchange system", sender)
		}
	}
}

func FuzzInvoiceNotice(f *testing.F) {
	f.Add("IT01234567890_00001_RC_001.xml", invoiceXML("RicevutaConsegna", "<IdentificativoSdI>1</IdentificativoSdI>"))
	o := pectest.NewOffice(pectest.ShapeOf("legalmail"), pectest.ShapeOf("aruba"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		c := o.Send(pectest.Mail{To: []string{"anna@beta.test"}, Attachments: []pectest.Attachment{{Name: name, Type: "text/xml", Content: content}}}, "")
		m, _ := read(t, c.Envelope)
		for _, n := range m.Invoices {
			if len(n.Identifier) > 1<<10 || len(n.Invoice) > 1<<10 || len(n.Kind) != 2 {
				t.Errorf("%+v", n)
			}
		}
	})
}

// TestParts lists every part of an envelope, and finds each by its number.
func TestParts(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := letter()
	c := o.Send(mail, "completa")
	encoded := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{PostacertEnc: true}})
	other := bytes.Replace(encoded, []byte("Content-Type: message/rfc822; name=\"postacert.eml\""),
		[]byte("Content-Type: application/octet-stream; name=\"postacert.eml\""), 1)
	wrapped := []byte("Content-Type: multipart/mixed; boundary=w\r\n\r\n--w\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString(encoded) + "\r\n--w--\r\n")
	const inside = ` 1.3.1 text/plain; 1.3.2 application/pdf fattura.pdf; 1.3.3 text/csv perché.txt;`
	const all = ` multipart/signed; 1 multipart/mixed; 1.1 multipart/alternative; 1.1.1 text/plain; 1.1.2 text/html; 1.2 application/xml daticert.xml;` +
		` 1.3 message/rfc822 postacert.eml;  multipart/mixed;` + inside + ` 2 application/x-pkcs7-signature smime.p7s;`
	for _, test := range []struct {
		name, want string
		message    []byte
		prefix     string
	}{
		{"envelope", all, c.Envelope, ""},
		{"encoded", all, encoded, ""},
		{"of another type", strings.Replace(all, "message/rfc822", "application/octet-stream", 1), other, ""},
		{"encoded in one that is encoded", " multipart/mixed; 1 message/rfc822;" + strings.NewReplacer(" 1", " 1.1", " 2 ", " 1.2 ").Replace(" "+all), wrapped, "1."},
		{"a multipart with the name of a message", " multipart/mixed; 1 multipart/mixed postacert.eml; 1.1 text/plain; 1.2 text/plain;", []byte(
			"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b; name=postacert.eml\r\n\r\n" +
				"--b\r\n\r\nuno\r\n--b\r\n\r\ndue\r\n--b--\r\n--a--\r\n"), "-"},
		{"no multipart", " 1 text/plain;", []byte("Subject: x\r\n\r\nText\r\n"), "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			table, _ := scan(test.message)
			got, numbers := "", make(map[string]bool)
			for l, err := range pec.Parts(bytes.NewReader(test.message), table) {
				if err != nil || l.Closed != "" {
					t.Fatalf("%v, %s", err, l.Closed)
				}
				got += strings.TrimRight(" "+l.Number+" "+l.Part.Type+" "+l.Part.Name(), " ") + ";"
				if l.Number == "" {
					continue
				}
				if numbers[l.Number] {
					t.Errorf("%s twice", l.Number)
				}
				numbers[l.Number] = true
				found, err := pec.FindPart(bytes.NewReader(test.message), table, l.Number)
				if err != nil || found.Part.Type != l.Part.Type {
					t.Errorf("%s: %+v, %v", l.Number, found, err)
				}
			}
			if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(test.want), " ") {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if test.prefix == "-" { // no certified mail
				return
			}
			for number, want := range map[string]string{
				test.prefix + "1.3": string(c.Rewritten), test.prefix + "1.3.2": string(mail.Attachments[0].Content),
				test.prefix + "1.3.3": string(mail.Attachments[1].Content),
			} {
				l, err := pec.FindPart(bytes.NewReader(test.message), table, number)
				if err != nil {
					t.Fatalf("%s: %v", number, err)
				}
				if content, err := io.ReadAll(l.Content()); err != nil || string(content) != want {
					t.Errorf("%s: %d bytes, want %d, %v", number, len(content), len(want), err)
				}
			}
			l, err := pec.FindPart(bytes.NewReader(test.message), table, test.prefix+"1.2")
			if err != nil {
				t.Fatal(err)
			}
			if data, err := pec.ParseCertification(l.Content()); err != nil || data.Identifier != c.Identifier {
				t.Errorf("daticert.xml: %+v, %v", data, err)
			}
			for _, number := range []string{"", "0", "1.9", "1.3.2.1", "x", "1.", "01"} {
				if l, err := pec.FindPart(bytes.NewReader(test.message), table, number); !errors.Is(err, pec.ErrNoPart) {
					t.Errorf("%q: %+v, %v", number, l, err)
				}
			}
		})
	}
	t.Run("bounded", func(t *testing.T) {
		message := []byte("Subject: x\r\n\r\nText\r\n")
		for range 10 {
			message = fmt.Appendf(nil, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", base64.StdEncoding.EncodeToString(message))
		}
		table, _ := scan(message)
		deepest := 0
		for l, err := range pec.Parts(bytes.NewReader(message), table) {
			if err != nil {
				t.Fatal(err)
			}
			deepest = max(deepest, l.Depth)
		}
		if deepest != 4 {
			t.Errorf("%d messages opened in one another, want 4", deepest)
		}
	})
	t.Run("fault", func(t *testing.T) {
		table, _ := scan(wrapped)
		var last error
		for _, err := range pec.Parts(brokenReader{}, table) {
			last = err
		}
		if !errors.Is(last, io.ErrUnexpectedEOF) {
			t.Errorf("error %v", last)
		}
	})
}

// brokenReader always fails.
type brokenReader struct{}

func (brokenReader) ReadAt([]byte, int64) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzParts(f *testing.F) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := o.Send(letter(), "")
	f.Add(c.Envelope)
	f.Add(c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{PostacertEnc: true}}))
	f.Fuzz(func(t *testing.T, message []byte) {
		table, _ := scan(message)
		for l, err := range pec.Parts(bytes.NewReader(message), table) {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, l.Content()); err != nil {
				t.Fatal(err)
			}
			if l.Number == "" {
				continue
			}
			if found, err := pec.FindPart(bytes.NewReader(message), table, l.Number); err != nil || found.Part != l.Part {
				t.Fatalf("%s: %+v, %v", l.Number, found, err)
			}
		}
		m, _ := read(t, message)
		m.Contradictions("x", "x")
	})
}
