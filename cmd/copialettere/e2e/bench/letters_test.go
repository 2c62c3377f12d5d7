//go:build bench

package bench

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"copialettere/policy/pec/pectest"
)

// letter is a message for one mailbox.
type letter struct {
	from, to string
	text     []byte
}

// letters are what TestBenchBytes delivers. Each seed gives others, and the same ones again.
type letters struct {
	random *rand.Rand
	words  []string
	usual  *rand.Zipf // of words
}

func newLetters(seed uint64) *letters {
	l := &letters{random: rand.New(rand.NewPCG(seed, 0)), words: make([]string, 30_000)}
	syllables := strings.Fields("a ca re to mi la so ne pra ti con de ver sta gio nu ri cor le bel fra za lo du per me no si vi gra te or al un es pe ra gli qua cer zio men")
	for i := range l.words {
		for range 1 + l.random.IntN(2) + l.random.IntN(3) {
			l.words[i] += syllables[l.random.IntN(len(syllables))]
		}
	}
	l.usual = rand.NewZipf(l.random, 1.1, 8, uint64(len(l.words)-1))
	return l
}

// line returns some words.
func (l *letters) line(count int) string {
	words := make([]string, count)
	for i := range words {
		words[i] = l.words[l.usual.Uint64()]
	}
	return strings.ToUpper(words[0][:1]) + strings.Join(words, " ")[1:]
}

// paragraphs returns prose of about that many characters.
func (l *letters) paragraphs(size int) (list []string) {
	for size > 0 {
		var b strings.Builder
		for range 1 + l.random.IntN(4) {
			b.WriteString(l.line(6+l.random.IntN(14)) + ". ")
		}
		list = append(list, strings.TrimSpace(b.String()))
		size -= b.Len()
	}
	return list
}

// between returns a number; small ones are more frequent.
func (l *letters) between(least, most int) int {
	share := l.random.Float64()
	return least + int(share*share*float64(most-least))
}

// characters returns that many random ones of an alphabet.
func (l *letters) characters(count int, of string) string {
	b := make([]byte, count)
	for i := range b {
		b[i] = of[l.random.IntN(len(of))]
	}
	return string(b)
}

const (
	hexadecimal  = "0123456789abcdef"
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// bytes returns random bytes.
func (l *letters) bytes(count int) []byte { return noise(count, l.random.IntN(1<<40)) }

// received returns the fields that two servers put before a message.
func (l *letters) received(helo, address, to string, at time.Time) string {
	date := at.Format("Mon, 2 Jan 2006 15:04:05 -0700") + " (CET)"
	mx := fmt.Sprintf("mx%d.alpha.test", 1+l.random.IntN(3))
	return "Received: from " + mx + " (" + mx + " [192.0.2.1])\r\n\tby mail.alpha.test (Postfix) with ESMTPS id 4" + l.characters(14, alphanumeric) +
		"\r\n\tfor <" + to + ">; " + date + "\r\nReceived: from " + helo + " (" + helo + " [" + address + "])\r\n" +
		"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)\r\n" +
		"\t(No client certificate requested)\r\n\tby " + mx + " (Postfix) with ESMTPS id 4" + l.characters(14, alphanumeric) + "\r\n\tfor <" + to + ">; " + date + "\r\n"
}

// eight is one of the mailboxes.
func eight(i int) string {
	return fmt.Sprintf("ufficio.%s@alpha.test", []string{"acquisti", "vendite", "legale", "personale", "tecnico", "anagrafe", "tributi", "protocollo"}[i%8])
}

// certified returns messages of one provider of certified mail to eight mailboxes: 45 % acceptances of 11 kB, 25 % full delivery receipts and 30 % envelopes of 13
// to 40 kB, about what is seen at real ones. Of a provider all have the certificates (its own, that of an intermediate authority and of the root, 4.4 kB in
// all), the words of its letters, in text and HTML, and the form. Nothing else is alike in two messages: signatures (RSA, 2048 bits), digests, ids, dates, boundaries, subjects,
// the correspondents, and what they write. One in eight of the enclosed messages has an attachment that does not compress, of 2 to 9 kB.
func (l *letters) certified(count int) []letter {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	provider := office.Sender
	authority := office.Authority.Subordinate("Agenzia per la certificazione di prova, Area Soluzioni per la Pubblica Amministrazione CA1", func(c *x509.Certificate) {
		c.PolicyIdentifiers = []asn1.ObjectIdentifier{{2, 5, 29, 32, 0}}
		c.CRLDistributionPoints = []string{"http://ca1.agenzia.ext.test/CRL", "ldap://ldap.agenzia.ext.test/cn%3dRoot%20CA,o%3dAgenzia,c%3dIT?authorityRevocationList;binary"}
		c.OCSPServer = []string{"http://ca1.agenzia.ext.test/OCSP"}
		for i := range 20 {
			c.PermittedEmailAddresses = append(c.PermittedEmailAddresses, fmt.Sprintf("pec%d.gestore%d.test", i*i, i))
		}
	})
	identity := authority.Issue(provider.Address(), provider.Name, provider.Identity.Key, func(c *x509.Certificate) {
		c.Subject = pkix.Name{Country: []string{"IT"}, Organization: []string{provider.Name}, CommonName: provider.Name, Locality: []string{"Ponte San Pietro"},
			OrganizationalUnit: []string{"Posta elettronica certificata"}}
		c.PolicyIdentifiers = []asn1.ObjectIdentifier{{1, 3, 76, 16, 3, 1, 1}}
		c.CRLDistributionPoints = []string{"http://ca1.agenzia.ext.test/CRL"}
		c.OCSPServer = []string{"http://ca1.agenzia.ext.test/OCSP"}
		c.IssuingCertificateURL = []string{"http://ca1.agenzia.ext.test/CRT"}
	})
	identity.Extra = append(identity.Extra, office.Authority.Certificate, authority.Certificate)
	provider.Identity = identity
	provider.Letter = letterOfProvider
	provider.Boundary = func(usual string) string {
		return strings.TrimSuffix(usual, "_1") + "_" + l.characters(24, "0123456789")
	}
	list := make([]letter, count)
	for i := range list {
		list[i] = l.certifiedOne(office, i)
	}
	return list
}

// certifiedOne returns message number i.
func (l *letters) certifiedOne(office *pectest.Office, i int) letter {
	office.Clock = pectest.Start.Add(time.Duration(i)*17*time.Minute + time.Duration(l.random.IntN(900))*time.Second)
	other, mine := fmt.Sprintf("%s.%s@alpha.test", strings.ToLower(l.line(1)), l.characters(4, hexadecimal)), eight(i)
	kind := l.random.IntN(100)
	mail := pectest.Mail{From: mine, To: []string{other}, Subject: l.line(3 + l.random.IntN(6)), MessageID: "<" + l.characters(32, hexadecimal) + "@" + l.characters(8, hexadecimal) + ".test>",
		Boundary: "----=_NextPart_" + l.characters(4, hexadecimal) + "_" + l.characters(17, hexadecimal)}
	if kind >= 70 {
		mail.From, mail.To = other, []string{mine}
	}
	l.write(&mail, l.between(500, 7_000))
	if l.random.IntN(8) == 0 {
		mail.Attachments = []pectest.Attachment{{Name: l.line(1) + ".pdf", Type: "application/pdf", Content: append([]byte("%PDF-1.7\n"), l.bytes(l.between(2_000, 9_000))...)}}
	}
	chain := office.Send(mail, "completa")
	text := chain.Acceptance
	switch {
	case kind >= 70:
		text = chain.Envelope
	case kind >= 45:
		text = chain.Deliveries[0].Message
	}
	return letter{office.Sender.Address(), mine, append([]byte(l.received("mail-out.pec.test", "198.51.100.24", mine, chain.Time)), text...)}
}

// write gives a mail a text of about that many characters, and the same in HTML.
func (l *letters) write(mail *pectest.Mail, size int) {
	paragraphs := l.paragraphs(size)
	mail.Text = strings.Join(paragraphs, "\n\n") + "\n"
	mail.HTML = mailProgramHTML[l.random.IntN(len(mailProgramHTML))]
	before, after, _ := strings.Cut(mail.HTML, "TEXT")
	element, _, _ := strings.Cut(after, "\n")
	var b strings.Builder
	for _, p := range paragraphs {
		b.WriteString(strings.Replace(element, "WORDS", p, 1) + "\n")
	}
	mail.HTML = before + b.String() + after[len(element):]
}

// mailProgramHTML is HTML as mail programs make it. Behind TEXT stands what it has for one paragraph.
var mailProgramHTML = []string{
	`<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" xmlns:w="urn:schemas-microsoft-com:office:word" xmlns="http://www.w3.org/TR/REC-html40"><head>
<META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset=utf-8"><meta name=Generator content="Microsoft Word 15 (filtered medium)"><style><!--
/* Font Definitions */
@font-face	{font-family:"Cambria Math";	panose-1:2 4 5 3 5 4 6 3 2 4;}
@font-face	{font-family:Calibri;	panose-1:2 15 5 2 2 2 4 3 2 4;}
/* Style Definitions */
p.MsoNormal, li.MsoNormal, div.MsoNormal	{margin:0cm;	margin-bottom:.0001pt;	font-size:11.0pt;	font-family:"Calibri",sans-serif;	mso-fareast-language:EN-US;}
a:link, span.MsoHyperlink	{mso-style-priority:99;	color:#0563C1;	text-decoration:underline;}
a:visited, span.MsoHyperlinkFollowed	{mso-style-priority:99;	color:#954F72;	text-decoration:underline;}
span.StileMessaggioDiPostaElettronica17	{mso-style-type:personal-compose;	font-family:"Calibri",sans-serif;	color:windowtext;}
.MsoChpDefault	{mso-style-type:export-only;	font-family:"Calibri",sans-serif;	mso-fareast-language:EN-US;}
@page WordSection1	{size:612.0pt 792.0pt;	margin:70.85pt 2.0cm 2.0cm 2.0cm;}
div.WordSection1	{page:WordSection1;}
--></style></head><body lang=IT link="#0563C1" vlink="#954F72"><div class=WordSection1>
TEXT<p class=MsoNormal><span style='font-size:11.0pt;font-family:"Calibri",sans-serif'>WORDS<o:p></o:p></span></p><p class=MsoNormal><o:p>&nbsp;</o:p></p>
</div></body></html>
`,
	`<!DOCTYPE html>
<html>
  <head>
    <meta http-equiv="content-type" content="text/html; charset=UTF-8">
  </head>
  <body text="#000000" bgcolor="#FFFFFF">
TEXT    <p>WORDS<br>    </p>
  </body>
</html>
`,
	`<div dir="ltr">
TEXT<div>WORDS</div><div><br></div>
</div>
`,
}

// letterOfProvider puts the text of a notice into the words of its provider.
func letterOfProvider(text string) (plain, html string) {
	title, rest, _ := strings.Cut(text, "\n\n")
	const note = "L'allegato daticert.xml contiene informazioni di servizio sulla trasmissione. Il messaggio originale, se presente, si trova nell'allegato postacert.eml.\n" +
		"Questa ricevuta, per Sua garanzia, è firmata digitalmente e la preghiamo di conservarla come attestato della consegna del messaggio alla casella destinataria.\n" +
		"La firma digitale del gestore garantisce l'integrità e la provenienza di questo messaggio, che non richiede risposta.\n"
	plain = "-- " + title + " --\n\n" + rest + "\n" + note
	html = `<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN" "http://www.w3.org/TR/html4/loose.dtd">
<html><head><meta http-equiv="Content-Type" content="text/html; charset=ISO-8859-1"><title>` + title + `</title>
<style type="text/css">
body { font-family: Verdana, Arial, Helvetica, sans-serif; font-size: 12px; color: #333333; background-color: #ffffff; margin: 0; padding: 10px; }
h3 { font-size: 15px; font-weight: bold; color: #00529b; border-bottom: 1px solid #cccccc; padding-bottom: 4px; }
.nota { font-size: 10px; color: #777777; margin-top: 18px; border-top: 1px dotted #cccccc; padding-top: 6px; }
.dati { background-color: #f4f7fa; border: 1px solid #d5dfe8; padding: 8px; }
</style></head><body>
<h3>` + title + `</h3><hr noshade size="1">
<table border="0" cellpadding="4" cellspacing="0" width="100%"><tr><td class="dati">` + strings.ReplaceAll(rest, "\n", "<br>\n") + `</td></tr></table>
<div class="nota">` + strings.ReplaceAll(note, "\n", "<br>\n") + `</div>
<div class="nota">Servizio di posta elettronica certificata di ALPHA PEC S.p.A. - Assistenza: numero verde 800 000 000, dal lunedì al venerdì dalle 8.30 alle 18.00 - https://assistenza.pec.test/</div>
</body></html>
`
	return plain, html
}

// ordinary returns text mail to eight mailboxes, of 2 to 20 kB: as Gmail, Outlook and servers with Postfix send it, two thirds with an alternative in HTML. The Received and
// authentication fields are those of the servers, the keys and signatures of DKIM random, all else unique.
func (l *letters) ordinary(count int) []letter {
	list := make([]letter, count)
	for i := range list {
		to, at := eight(i), pectest.Start.Add(time.Duration(i)*11*time.Minute)
		domain := fmt.Sprintf("ext%d.test", l.random.IntN(40))
		from := strings.ToLower(l.line(1)) + "." + strings.ToLower(l.line(1)) + "@" + domain
		mail := pectest.Mail{From: fmt.Sprintf("%q <%s>", l.line(2), from), To: []string{to}, Subject: l.line(2 + l.random.IntN(6)), Time: at,
			Boundary: "000000000000" + l.characters(16, hexadecimal), MessageID: "<" + l.characters(40, alphanumeric) + "@mail." + domain + ">", EightBit: l.random.IntN(2) == 0}
		size := l.between(500, 8_000)
		if l.random.IntN(3) == 0 {
			mail.Text = strings.Join(l.paragraphs(2*size), "\n\n") + "\n"
		} else {
			l.write(&mail, size)
		}
		signature := base64.StdEncoding.EncodeToString(l.bytes(256))
		head := l.received([]string{"mail-ed1-f41.google.ext.test", "EUR05-VI1-obe.outbound.outlook.ext.test", "mail." + domain}[i%3],
			fmt.Sprintf("203.0.113.%d", l.random.IntN(255)), to, at) +
			"Authentication-Results: mx.alpha.test;\r\n\tdkim=pass (2048-bit key; unprotected) header.d=" + domain + " header.i=@" + domain + " header.a=rsa-sha256 header.s=" +
			[]string{"20230601", "selector1", "mail"}[i%3] + " header.b=" + l.characters(8, alphanumeric) + ";\r\n\tdkim-atps=neutral;\r\n\tspf=pass smtp.mailfrom=" + from + "\r\n" +
			"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=" + domain + "; s=" + []string{"20230601", "selector1", "mail"}[i%3] + "; t=" + fmt.Sprint(at.Unix()) + ";\r\n" +
			"\th=from:to:subject:date:message-id:mime-version:content-type:from;\r\n\tbh=" + base64.StdEncoding.EncodeToString(l.bytes(32)) + ";\r\n\tb=" +
			signature[:70] + "\r\n\t " + signature[70:142] + "\r\n\t " + signature[142:214] + "\r\n\t " + signature[214:286] + "\r\n\t " + signature[286:] + "\r\n" +
			[]string{"X-Google-DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=1e100.net; s=20230601;\r\n\tbh=" + base64.StdEncoding.EncodeToString(l.bytes(32)) + ";\r\n\tb=" +
				signature[100:170] + "\r\nX-Gm-Message-State: " + l.characters(80, alphanumeric) + "\r\nX-Received: by 2002:a17:906:" + l.characters(4, hexadecimal) + ":b0:" + l.characters(3, hexadecimal) + ":" + l.characters(4, hexadecimal) + " with SMTP id " + l.characters(20, alphanumeric) + "\r\n",
				"x-ms-exchange-senderadcheck: 1\r\nx-ms-exchange-antispam-relay: 0\r\nx-microsoft-antispam: BCL:0;ARA:13230040|376014|1800799024|366016|38070700018;\r\nx-microsoft-antispam-message-info: " +
					l.characters(600, alphanumeric) + "\r\nContent-Language: it-IT\r\nX-MS-Has-Attach:\r\nX-MS-TNEF-Correlator:\r\nx-ms-traffictypediagnostic: AS8PR05MB" + l.characters(4, "0123456789") + ":EE_\r\n",
				"User-Agent: Mozilla Thunderbird\r\nContent-Language: it\r\nX-Spamd-Result: default: False [-2.10 / 15.00];\r\n\tBAYES_HAM(-3.00)[99.99%];\r\n\tMIME_GOOD(-0.10)[text/plain]\r\n"}[i%3]
		list[i] = letter{from, to, append([]byte(head), mail.Bytes()...)}
	}
	return list
}

// attachments returns messages of 100 kB of random base64.
func (l *letters) attachments(count int) []letter {
	list := make([]letter, count)
	for i := range list {
		to := eight(i)
		mail := pectest.Mail{From: sender, To: []string{to}, Subject: l.line(4), Text: l.line(20) + ".\n", Time: pectest.Start.Add(time.Duration(i) * time.Minute),
			MessageID: "<" + l.characters(30, alphanumeric) + "@ext.test>", Attachments: []pectest.Attachment{{Name: l.line(1) + ".jpg", Type: "image/jpeg", Content: l.bytes(73_000)}}}
		list[i] = letter{sender, to, mail.Bytes()}
	}
	return list
}
