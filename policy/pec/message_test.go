package pec_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/part"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// scan returns the part table of a message and its top-level header.
func scan(message []byte) (*part.Table, []byte) {
	s := part.NewScanner(part.DefaultLimits())
	s.Write(message)
	table := s.Close()
	return table, s.Header()
}

// read reads a message.
func read(t testing.TB, message []byte) (*pec.Message, *part.Table) {
	t.Helper()
	table, header := scan(message)
	m := pec.Read(bytes.NewReader(message), table, header)
	if m.Fault != nil {
		t.Fatal(m.Fault)
	}
	return m, table
}

// verify verifies the signature of a message, an hour after it was sent.
func verify(t testing.TB, v *pec.Verifier, message []byte) pec.Signature {
	t.Helper()
	m, table := read(t, message)
	s, err := v.Verify(context.Background(), bytes.NewReader(message), table, m.Declared.From, pectest.Start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verifierFor returns a Verifier that trusts the authority of an office.
func verifierFor(o *pectest.Office) *pec.Verifier {
	return pec.NewVerifier(verifierBundle(o), nil)
}

// verifierBundle returns the trust bundle of an office.
func verifierBundle(o *pectest.Office) []*x509.Certificate {
	return []*x509.Certificate{o.Authority.Certificate}
}

// letter is a message to two recipients with PEC, one more in Cc, and one without PEC.
func letter() pectest.Mail {
	return pectest.Mail{To: []string{"anna@beta.test", "Bruno@gamma.test", "carla@ext.test"}, Cc: []string{"dario@beta.test"},
		Subject: "Fattura n. 1: perché <no> & \"sì\"", Text: "Gentile cliente,\nperché no?\n", MessageID: "auto", ReplyTo: "ufficio@alpha.test",
		Attachments: []pectest.Attachment{{Name: "fattura.pdf", Type: "application/pdf", Content: bytes.Repeat([]byte("fattura "), 700)},
			{Name: "perché.txt", Type: "text/csv", Content: []byte("a;b;c\r\n")}}}
}

// kinds are the types of PEC message, with what readers should find in each.
var kinds = []struct {
	name      string
	notice    pectest.Notice
	kind      string     // of receipt that the sender asks for
	postacert string     // what it encloses: "", "message" or "hashes"
	err       string     // @errore
	state     pec.Status // of the recipient that it is about, else of anna@beta.test, if nothing else is known
}{
	{name: "accettazione", notice: pectest.Notice{Class: pec.Accettazione}, err: "nessuno", state: "accepted"},
	{name: "non accettazione, formal", notice: pectest.Notice{Class: pec.NonAccettazione, Detail: "errore formale"}, err: "altro",
		state: "not-accepted"},
	{name: "non accettazione, virus", notice: pectest.Notice{Class: pec.NonAccettazione, Virus: true}, err: "virus", state: "not-accepted"},
	{name: "presa in carico", notice: pectest.Notice{Class: pec.PresaInCarico, Recipient: "anna@beta.test"}, err: "nessuno", state: "accepted"},
	{name: "consegna completa", notice: pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "anna@beta.test"}, kind: "completa",
		postacert: "message", err: "nessuno", state: "delivered"},
	{name: "consegna, kind not asked for", notice: pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "anna@beta.test"},
		postacert: "message", err: "nessuno", state: "delivered"},
	{name: "consegna breve", notice: pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "anna@beta.test"}, kind: "breve",
		postacert: "hashes", err: "nessuno", state: "delivered"},
	{name: "consegna sintetica", notice: pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "anna@beta.test"}, kind: "sintetica",
		err: "nessuno", state: "delivered"},
	{name: "consegna in copia", notice: pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "dario@beta.test"}, kind: "completa",
		err: "nessuno", state: "delivered"},
	{name: "mancata consegna", notice: pectest.Notice{Class: pec.ErroreConsegna, Recipient: "anna@beta.test",
		Detail: "5.1.1 - BETA - indirizzo non valido"}, err: "altro", state: "failed"},
	{name: "mancata consegna, no-dest", notice: pectest.Notice{Class: pec.ErroreConsegna, Recipient: "anna@beta.test", Error: "no-dest"},
		err: "no-dest", state: "failed"},
	{name: "mancata consegna, virus", notice: pectest.Notice{Class: pec.ErroreConsegna, Recipient: "anna@beta.test", Virus: true},
		err: "virus", state: "failed"},
	{name: "preavviso, 12 hours", notice: pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: "anna@beta.test",
		After: 12 * time.Hour, Detail: "4.4.1 - in attesa"}, err: "altro", state: "late-12h"},
	{name: "preavviso, 24 hours", notice: pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: "anna@beta.test",
		After: 24 * time.Hour, Detail: "5.4.1 - scaduto"}, err: "altro", state: "late-24h"},
	{name: "rilevazione virus", notice: pectest.Notice{Class: pec.RilevazioneVirus, Recipient: "anna@beta.test"}, err: "virus"},
	{name: "busta di trasporto", notice: pectest.Notice{Class: pec.PostaCertificata}, kind: "breve", postacert: "message", err: "nessuno"},
}

// TestEveryTypeInEveryShape makes and reads each type of message in each provider's shape, with each digest.
func TestEveryTypeInEveryShape(t *testing.T) {
	for _, shape := range pectest.Shapes() {
		for _, digest := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
			o := pectest.NewOffice(shape, shape)
			for _, p := range o.Providers() {
				p.Digest = digest
			}
			v := verifierFor(o)
			for _, k := range kinds {
				t.Run(fmt.Sprintf("%s/%s/%s", shape.Name, digest, k.name), func(t *testing.T) {
					mail := letter()
					mail.EightBit = shape.PostacertNoCode
					c := o.Send(mail, k.kind)
					message := c.Notice(k.notice)
					m, table := read(t, message)
					if m.Class != k.notice.Class || m.Declared.Reference != c.Mail.MessageID || m.Declared.Conflict {
						t.Errorf("declared %s, %+v", m.Class, m.Declared)
					}
					checkData(t, m, c, k.notice, k.err)
					s := verify(t, v, message)
					if s.Result != pec.ResultVerified || s.Weak != (digest == crypto.SHA1) || s.Digest != digest.String() || len(s.Chain) != 2 {
						t.Errorf("signature %s: %s, weak %v, %s, %d certificates", s.Result, s.Reason, s.Weak, s.Digest, len(s.Chain))
					}
					if !s.SigningTime.Equal(c.Time.Add(k.notice.After)) {
						t.Errorf("signed at %v", s.SigningTime)
					}
					if got := m.Verified(s); got != k.notice.Class {
						t.Errorf("verified class %s", got)
					}
					checkPostacert(t, m, table, message, c, k.postacert)
					key := pec.Key{Identifier: c.Identifier, Recipient: "anna@beta.test"}
					if k.notice.Recipient != "" {
						key.Recipient = k.notice.Recipient
					}
					if got := apply([]*pec.Message{m})[key].Status(); got != k.state {
						t.Errorf("state %q, want %q", got, k.state)
					}
				})
			}
		}
	}
}

// checkData checks the certification data of a notice.
func checkData(t *testing.T, m *pec.Message, c *pectest.Chain, n pectest.Notice, errore string) {
	t.Helper()
	if m.Data == nil || m.DataError != "" {
		t.Fatalf("no data: %s", m.DataError)
	}
	at := c.Time.Add(n.After)
	want := pec.Certification{Type: string(n.Class), Error: errore, Sender: "mario@alpha.test", Recipients: c.Recipients,
		Replies: "ufficio@alpha.test",
		Subject: c.Mail.Subject, Provider: m.Data.Provider, Time: at.UTC(), Date: at.Format("02/01/2006 15:04:05"), Zone: "+0100",
		Identifier: c.Identifier,
		MessageID:  c.Mail.MessageID, ErrorDetail: n.Detail}
	switch n.Class {
	case pec.PostaCertificata:
		want.ReceiptKind = "breve"
	case pec.AvvenutaConsegna:
		want.Delivery, want.ReceiptKind = n.Recipient, c.Kind
		if n.Recipient == "dario@beta.test" {
			want.ReceiptKind = "sintetica"
		} else if c.Kind == "" {
			want.ReceiptKind = "completa"
		}
	case pec.ErroreConsegna, pec.PreavvisoErroreConsegna, pec.RilevazioneVirus:
		want.Delivery = n.Recipient
	case pec.PresaInCarico:
		want.Received = []string{"anna@beta.test", "dario@beta.test"}
	}
	if !reflect.DeepEqual(*m.Data, want) {
		t.Errorf("data\n%+v\nwant\n%+v", *m.Data, want)
	}
	if want.Provider == "" {
		t.Error("no provider")
	}
	if l := m.Links(); l.Identifier != c.Identifier || "<"+l.Client+">" != c.Mail.MessageID {
		t.Errorf("links %+v", l)
	}
}

// checkPostacert checks the enclosed message, and that the part table from Enclosed is that of the enclosed message alone.
func checkPostacert(t *testing.T, m *pec.Message, table *part.Table, message []byte, c *pectest.Chain, want string) {
	t.Helper()
	if want == "" {
		if m.Postacert != -1 {
			t.Errorf("postacert.eml is part %d", m.Postacert)
		}
		return
	}
	r, inner, err := pec.Enclosed(bytes.NewReader(message), table, m.Postacert)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if alone, _ := scan(text); !reflect.DeepEqual(alone, inner) {
		t.Errorf("table\n%+v\nwant\n%+v", inner, alone)
	}
	if want == "message" && !bytes.Equal(text, c.Rewritten) {
		t.Errorf("postacert.eml is\n%s\nwant\n%s", text, c.Rewritten)
	}
	if want == "hashes" && !bytes.Contains(text, []byte("fattura.pdf.hash")) {
		t.Errorf("postacert.eml is\n%s", text)
	}
}

// TestVariants reads every variant of a message, with the class that its header declares and the one that its signature proves.
func TestVariants(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	v := verifierFor(o)
	c := o.Send(letter(), "completa")
	envelope := func(v pectest.Variation) []byte {
		return c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: v})
	}
	without := func(prefix string) func([]string) []string {
		return func(h []string) []string {
			return slices.DeleteFunc(h, func(line string) bool { return strings.HasPrefix(line, prefix) })
		}
	}
	with := func(line string) func([]string) []string {
		return func(h []string) []string { return append([]string{line}, h...) }
	}
	xml := func(old, new string) pectest.Variation {
		return pectest.Variation{Certificate: func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("%q is not in daticert.xml", old)
			}
			return strings.Replace(s, old, new, 1)
		}}
	}
	ordinary := o.Send(pectest.Mail{To: []string{"anna@beta.test"}, Subject: "ACCETTAZIONE: x", Text: "Ciao\n", MessageID: "auto"}, "").Original
	forwarded := forward(c.Envelope)
	tests := []struct {
		name     string
		message  []byte
		declared pec.Class
		verified pec.Class
		result   pec.Result
		data     string // type in daticert.xml, "-" for no data
	}{
		{"as it should be", c.Envelope, pec.PostaCertificata, pec.PostaCertificata, pec.ResultVerified, "posta-certificata"},
		{"ordinary", ordinary, pec.Ordinary, pec.Ordinary, pec.ResultUnsigned, "-"},
		{"forged X-Trasporto on ordinary mail", append([]byte("X-Trasporto: posta-certificata\r\n"), ordinary...), pec.PostaCertificata,
			pec.Ordinary, pec.ResultUnsigned, "-"},
		{"forged with a daticert.xml, unsigned", envelope(pectest.Variation{Unsigned: true}), pec.PostaCertificata, pec.Ordinary,
			pec.ResultUnsigned, "posta-certificata"},
		{"PEC attached to ordinary mail", forwarded, pec.Ordinary, pec.Ordinary, pec.ResultUnsigned, "-"},
		{"PEC attached, forged header", append([]byte("X-Ricevuta: accettazione\r\n"), forwarded...), pec.Accettazione, pec.Ordinary,
			pec.ResultUnsigned, "-"},
		{"PEC inside a PEC", o.Send(pectest.Mail{To: []string{"anna@beta.test"}, Subject: "I: x", Text: "Inoltro\n",
			Attachments: []pectest.Attachment{{Name: "posta.eml", Type: "message/rfc822", Content: c.Acceptance}}}, "").Envelope,
			pec.PostaCertificata, pec.PostaCertificata, pec.ResultVerified, "posta-certificata"},
		{"anomaly around ordinary mail", o.Anomaly("zoe@ext.test", "x", nil, ordinary, pectest.Variation{}), pec.Anomalia, pec.Anomalia,
			pec.ResultVerified, "-"},
		{"anomaly around a PEC", o.Anomaly("zoe@ext.test", "POSTA CERTIFICATA: x", []string{"Message-ID: <" + c.Identifier + ">"},
			c.Envelope, pectest.Variation{}),
			pec.Anomalia, pec.Anomalia, pec.ResultVerified, "-"},
		{"anomaly that keeps X-Ricevuta of what it encloses", o.Anomaly("zoe@ext.test", "x", []string{"X-Ricevuta: accettazione"},
			c.Acceptance, pectest.Variation{}),
			pec.Anomalia, pec.Anomalia, pec.ResultVerified, "-"},
		{"anomaly without X-Trasporto", o.Anomaly("zoe@ext.test", "x", nil, ordinary, pectest.Variation{Header: without("X-Trasporto")}),
			pec.Ordinary, pec.Anomalia, pec.ResultVerified, "-"},
		{"anomaly with a field of REM in place of X-Trasporto", o.Anomaly("zoe@ext.test", "x", nil, ordinary,
			pectest.Variation{Header: func(h []string) []string { return append(without("X-Trasporto")(h), "REM-MessageType: dispatch") }}),
			pec.REM, pec.Anomalia, pec.ResultVerified, "-"},
		{"anomaly in the name of the provider, with a field of REM in place of X-Trasporto", o.Anomaly("zoe@ext.test", "x", nil, ordinary,
			pectest.Variation{Header: func(h []string) []string {
				return append(without("From")(without("X-Trasporto")(h)), "From: posta-certificata@beta.test", "REM-MessageType: dispatch")
			}}), pec.REM, pec.Ordinary, pec.ResultVerified, "-"},
		{"anomaly in the name of the provider, without X-Trasporto", o.Anomaly("zoe@ext.test", "x", nil, ordinary,
			pectest.Variation{Header: func(h []string) []string {
				return append(without("From")(without("X-Trasporto")(h)), "From: posta-certificata@beta.test")
			}}), pec.Ordinary, pec.Ordinary, pec.ResultVerified, "-"},
		{"forged anomaly", append([]byte("X-Trasporto: errore\r\n"), ordinary...), pec.Anomalia, pec.Ordinary, pec.ResultUnsigned, "-"},
		{"no header of PEC, signed", envelope(pectest.Variation{Header: without("X-Trasporto")}), pec.Ordinary, pec.PostaCertificata,
			pec.ResultVerified, "posta-certificata"},
		{"header of another type", envelope(pectest.Variation{Header: func(h []string) []string {
			return append(without("X-Trasporto")(h), "X-Ricevuta: avvenuta-consegna")
		}}), pec.AvvenutaConsegna, pec.PostaCertificata, pec.ResultVerified, "posta-certificata"},
		{"unknown X-Ricevuta", c.Notice(pectest.Notice{Class: pec.Accettazione, Variation: pectest.Variation{Header: func(h []string) []string {
			return append(without("X-Ricevuta")(h), "X-Ricevuta: accettazione-nuova")
		}}}), pec.Ordinary, pec.Accettazione, pec.ResultVerified, "accettazione"},
		{"missing daticert.xml", envelope(pectest.Variation{Certificate: func(string) string { return "" }}), pec.PostaCertificata,
			pec.Ordinary, pec.ResultVerified, "-"},
		{"receipt without daticert.xml", c.Notice(pectest.Notice{Class: pec.Accettazione,
			Variation: pectest.Variation{Certificate: func(string) string { return "" }}}),
			pec.Accettazione, pec.Ordinary, pec.ResultVerified, "-"},
		{"unknown type in daticert.xml", envelope(xml(`tipo="posta-certificata"`, `tipo="posta-nuova"`)), pec.PostaCertificata,
			pec.Ordinary, pec.ResultVerified, "posta-nuova"},
		{"no type in daticert.xml", envelope(xml(`tipo="posta-certificata"`, ``)), pec.PostaCertificata, pec.Ordinary, pec.ResultVerified, ""},
		{"daticert.xml that is no XML", envelope(xml("<?xml", "\x00\x01")), pec.PostaCertificata, pec.Ordinary, pec.ResultVerified, "-"},
		{"anomaly with a daticert.xml that is no XML", envelope(pectest.Variation{Certificate: func(string) string { return "x" },
			Header: func(h []string) []string {
				return append(without("X-Trasporto")(h), "X-Trasporto: errore")
			}}), pec.Anomalia, pec.Ordinary, pec.ResultVerified, "-"},
		{"another root", envelope(pectest.Variation{Certificate: func(s string) string { return strings.ReplaceAll(s, "postacert", "altro") }}),
			pec.PostaCertificata, pec.Ordinary, pec.ResultVerified, "-"},
		{"stray text", envelope(xml("<intestazione>", "testo <b>perso</b> <intestazione>")), pec.PostaCertificata, pec.PostaCertificata,
			pec.ResultVerified, "posta-certificata"},
		{"tampered text", pectest.Tampered(c.Envelope), pec.PostaCertificata, pec.Ordinary, pec.ResultInvalid, "posta-certificata"},
		{"tampered signature", pectest.TamperedSignature(c.Envelope), pec.PostaCertificata, pec.Ordinary, pec.ResultInvalid,
			"posta-certificata"},
		{"unclosed", pectest.Unclosed(c.Envelope), pec.PostaCertificata, pec.PostaCertificata, pec.ResultVerified, "posta-certificata"},
		{"cut off in the signed part", c.Envelope[:len(c.Envelope)/2], pec.PostaCertificata, pec.Ordinary, pec.ResultInvalid,
			"posta-certificata"},
		{"LF line ends", pectest.LF(c.Envelope), pec.PostaCertificata, pec.PostaCertificata, pec.ResultVerified, "posta-certificata"},
		{"opaque signature", envelope(pectest.Variation{Opaque: true}), pec.PostaCertificata, pec.Ordinary, pec.ResultUnsigned, "-"},
		{"two senders", envelope(pectest.Variation{Header: with("From: zoe@ext.test")}), pec.PostaCertificata, pec.Ordinary,
			pec.ResultUntrusted, "posta-certificata"},
		{"another sender", envelope(pectest.Variation{Header: func(h []string) []string {
			return append(without("From")(h),
				"From: zoe@ext.test")
		}}),
			pec.PostaCertificata, pec.Ordinary, pec.ResultUntrusted, "posta-certificata"},
		{"sender in another case", envelope(pectest.Variation{Header: func(h []string) []string {
			return append(without("From")(h),
				"From: <POSTA-certificata@ALPHA.test>")
		}}),
			pec.PostaCertificata, pec.PostaCertificata, pec.ResultVerified, "posta-certificata"},
		{"no sender", envelope(pectest.Variation{Header: without("From")}), pec.PostaCertificata, pec.Ordinary, pec.ResultUntrusted,
			"posta-certificata"},
		{"SHA-384", envelope(pectest.Variation{Digest: crypto.SHA384}), pec.PostaCertificata, pec.PostaCertificata, pec.ResultVerified,
			"posta-certificata"},
		{"SHA-512", envelope(pectest.Variation{Digest: crypto.SHA512}), pec.PostaCertificata, pec.PostaCertificata, pec.ResultVerified,
			"posta-certificata"},
		{"part behind the signature", []byte(strings.Replace(string(c.Envelope), "\r\n------3F1A5C7E9B2D4F60--",
			"\r\n------3F1A5C7E9B2D4F60\r\n\r\npiè\r\n------3F1A5C7E9B2D4F60--", 1)),
			pec.PostaCertificata, pec.Ordinary, pec.ResultInvalid, "posta-certificata"},
		{"PEC in a mailing list", []byte("From: lista@ext.test\r\nContent-Type: multipart/mixed; boundary=lista\r\n\r\n--lista\r\n" +
			bodyOf(c.Envelope) + "\r\n--lista--\r\n"),
			pec.Ordinary, pec.Ordinary, pec.ResultUnsigned, "-"},
		{"rem", o.REM(letter(), "SubmissionAcceptance"), pec.REM, pec.REM, pec.ResultVerified, "-"},
		{"old rem", o.OldREM(), pec.REM, pec.Ordinary, pec.ResultUnsigned, "-"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, _ := read(t, test.message)
			s := verify(t, v, test.message)
			data := "-"
			if m.Data != nil {
				data = m.Data.Type
			}
			if m.Class != test.declared || data != test.data {
				t.Errorf("declared %s, data %s (%s); want %s, %s", m.Class, data, m.DataError, test.declared, test.data)
			}
			if got := m.Verified(s); got != test.verified || s.Result != test.result {
				t.Errorf("verified %s, signature %s: %s; want %s, %s", got, s.Result, s.Reason, test.verified, test.result)
			}
			if (s.Reason == "") != (s.Result == pec.ResultVerified) {
				t.Errorf("%s with the reason %q", s.Result, s.Reason)
			}
			if got := pec.Believed(pec.TrustSignature, m.Class, m.Verified(s)); got != test.verified {
				t.Errorf("believed %s", got)
			}
		})
	}
}

// forward returns ordinary mail with a message attached as some programs do: the message's parts directly inside.
func forward(message []byte) []byte {
	return []byte("From: zoe@ext.test\r\nTo: anna@beta.test\r\nSubject: I: x\r\nContent-Type: multipart/mixed; boundary=inoltro\r\n\r\n--inoltro\r\n\r\nInoltro\r\n" +
		"--inoltro\r\nContent-Type: message/rfc822; name=posta.eml\r\n\r\n" + string(message) + "\r\n--inoltro--\r\n")
}

// bodyOf returns a message from its Content-Type onward.
func bodyOf(message []byte) string {
	_, rest, _ := strings.Cut(string(message), "MIME-Version: 1.0\r\n")
	return rest
}

func TestEncodedPostacert(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := o.Send(letter(), "")
	message := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{PostacertEnc: true}})
	m, table := read(t, message)
	checkPostacert(t, m, table, message, c, "message")
	for _, i := range []int{-1, len(table.Parts)} {
		if _, _, err := pec.Enclosed(bytes.NewReader(message), table, i); !errors.Is(err, pec.ErrEnclosed) {
			t.Errorf("part %d: %v", i, err)
		}
	}
}

// TestNames reads parts with wrong names and types.
func TestNames(t *testing.T) {
	const message = "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nx"
	tests := []struct {
		name  string
		shape func(*pectest.Shape)
	}{
		{"as they should be", func(*pectest.Shape) {}},
		{"daticert.xml by another name", func(s *pectest.Shape) { s.CertificateName = "dati.xml" }},
		{"daticert.xml as in RFC 6109", func(s *pectest.Shape) { s.CertificateName = "certdata.xml" }},
		{"daticert.xml of another type", func(s *pectest.Shape) { s.CertificateType = "application/octet-stream" }},
		{"another XML", func(s *pectest.Shape) {
			s.ExtraPart = "Content-Type: text/xml; name=dati.xml\r\n\r\n<postacert tipo='altro'/>"
		}},
		{"another message", func(s *pectest.Shape) { s.ExtraPart = message }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shape := pectest.ShapeOf("aruba")
			test.shape(&shape)
			o := pectest.NewOffice(shape, shape)
			c := o.Send(letter(), "")
			m, table := read(t, c.Envelope)
			if m.Data == nil || m.Data.Type != "posta-certificata" || m.DataError != "" {
				t.Errorf("data %+v, %s", m.Data, m.DataError)
			}
			checkPostacert(t, m, table, c.Envelope, c, "message")
		})
	}
	// Without the name, a single enclosed message is postacert.eml; of two, neither is.
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	one := bytes.ReplaceAll(o.Send(letter(), "").Envelope, []byte("postacert.eml"), []byte("originale.eml"))
	two := bytes.Replace(one, []byte("\r\n------=_Part_PEC_1--"), []byte("\r\n------=_Part_PEC_1\r\n"+message+"\r\n------=_Part_PEC_1--"), 1)
	named := bytes.ReplaceAll(two, []byte("daticert.xml"), []byte("dati.xml"))
	named = bytes.Replace(named, []byte("\r\n------=_Part_PEC_1\r\n"),
		[]byte("\r\n------=_Part_PEC_1\r\nContent-Type: text/xml\r\n\r\n<x/>\r\n------=_Part_PEC_1\r\n"), 1)
	if m, _ := read(t, named); m.Data == nil || m.Data.Type != "posta-certificata" {
		t.Errorf("behind another XML: %+v, %s", m.Data, m.DataError)
	}
	for text, want := range map[string]bool{string(one): true, string(two): false} {
		if m, _ := read(t, []byte(text)); (m.Postacert >= 0) != want {
			t.Errorf("postacert.eml is part %d", m.Postacert)
		}
	}
}

func TestREM(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	message := o.REM(letter(), "SubmissionAcceptance", "ContentConsignment")
	m, table := read(t, message)
	if m.Class != pec.REM || m.Postacert < 0 || len(m.Declared.REM) != 4 || len(m.Evidence) != 2 {
		t.Fatalf("%s, original in part %d, %d fields, %d evidences", m.Class, m.Postacert, len(m.Declared.REM), len(m.Evidence))
	}
	want := pec.Evidence{Part: m.Evidence[1].Part, Name: "ContentConsignment.xml",
		Event: "http://uri.etsi.org/19522/Event/ContentConsignment", Time: "2026-11-03T09:11:12Z",
		At: time.Date(2026, 11, 3, 9, 11, 12, 0, time.UTC), Identifier: "evidence-1@alpha.test", MessageIdentifier: "message-1@alpha.test"}
	if !reflect.DeepEqual(m.Evidence[1], want) || table.Parts[want.Part].Name() != "ContentConsignment.xml" {
		t.Errorf("evidence %+v", m.Evidence[1])
	}
	if f := m.Declared.REM[1]; f.Name != "REM-Section-Type" || f.Value != "rem_message/original" || f.Part != m.Postacert {
		t.Errorf("field %+v", f)
	}
	// Attached to ordinary mail, it is ordinary mail.
	if m, _ := read(t, forward(message)); m.Class != pec.Ordinary {
		t.Errorf("forwarded: %s", m.Class)
	}
	// A signed message without such fields is not REM.
	if m, _ := read(t, []byte(strings.ReplaceAll(string(message), "REM-Section-Type", "X-Section-Type"))); m.Class != pec.Ordinary {
		t.Errorf("without fields: %s", m.Class)
	}
}

// failing is a reader that fails beyond an offset.
type failing struct {
	*bytes.Reader
	from int64
}

var errDisk = errors.New("disk on fire")

func (f failing) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > f.from {
		return 0, errDisk
	}
	return f.Reader.ReadAt(p, offset)
}

// TestReadFault checks that an error of the reader is not mistaken for a fault of the message.
func TestReadFault(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := o.Send(letter(), "")
	table, header := scan(c.Envelope)
	for name, from := range map[string]int64{"everything": 0, "the signature": table.Parts[table.Child(0, 2)].Body,
		"the end": int64(len(c.Envelope)) - 10} {
		r := failing{bytes.NewReader(c.Envelope), from}
		m := pec.Read(r, table, header)
		if name == "everything" && !errors.Is(m.Fault, errDisk) {
			t.Errorf("%s: Read: %v", name, m.Fault)
		}
		s, err := verifierFor(o).Verify(context.Background(), r, table, m.Declared.From, pectest.Start)
		if name != "the end" && (!errors.Is(err, errDisk) || s.Result != "") {
			t.Errorf("%s: %s, %v", name, s.Result, err)
		}
		if name == "the end" && (err != nil || s.Result != pec.ResultVerified) {
			t.Errorf("%s: %s %s, %v", name, s.Result, s.Reason, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := verifierFor(o).Verify(ctx, bytes.NewReader(c.Envelope), table, "", pectest.Start); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := o.Send(pectest.Mail{To: []string{"anna@beta.test"}, Subject: "x", Text: "y\n", MessageID: "auto"}, "breve")
	f.Add(c.Envelope)
	f.Add(c.Acceptance)
	f.Add(c.Deliveries[0].Message)
	f.Add(o.Anomaly("zoe@ext.test", "x", nil, c.Original, pectest.Variation{}))
	f.Add(o.REM(c.Mail, "SubmissionAcceptance"))
	f.Add([]byte{})
	v := verifierFor(o)
	f.Fuzz(func(t *testing.T, message []byte) {
		m, table := read(t, message)
		s := verify(t, v, message)
		if class := m.Verified(s); class != pec.Ordinary && !s.Proven() {
			t.Errorf("%s by a signature that is %s", class, s.Result)
		}
		if m.Postacert >= 0 {
			if r, inner, err := pec.Enclosed(bytes.NewReader(message), table, m.Postacert); err == nil {
				if checks, err := pec.BriefHashes(r, inner, r, inner); err != nil || pec.WorstHash(checks) != pec.HashMatch {
					t.Errorf("hashes: %v, %+v", err, checks)
				}
				if _, err := inner.AppendBinary(nil); err != nil {
					t.Errorf("table of the enclosed message: %v", err)
				}
			}
		}
		r := pec.Record{Message: *m, Signature: s}
		b, err := r.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var again pec.Record
		if err := again.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("stored and read: %v\n%+v\nwant\n%+v", err, again, r)
		}
		m.Links()
		pec.States{}.Apply(m)
	})
}
