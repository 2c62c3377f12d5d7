package pec_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf16"

	"copialettere/policy/pec"
)

// minimal is the smallest daticert.xml.
const minimal = `<postacert tipo="accettazione"><intestazione><mittente>a@alpha.test</mittente><destinatari>b@beta.test</destinatari></intestazione>` +
	`<dati><gestore-emittente>ALPHA</gestore-emittente><data zona="+0200"><giorno>01/07/2026</giorno><ora>00:30:00</ora></data><identificativo>1@alpha.test</identificativo></dati></postacert>`

func TestParseCertification(t *testing.T) {
	base := pec.Certification{Type: "accettazione", Error: "nessuno", Sender: "a@alpha.test",
		Recipients: []pec.Recipient{{Address: "b@beta.test", Kind: "certificato"}},
		Provider:   "ALPHA", Time: time.Date(2026, 6, 30, 22, 30, 0, 0, time.UTC), Date: "01/07/2026 00:30:00", Zone: "+0200",
		Identifier: "1@alpha.test"}
	tests := []struct {
		name, old, new string // replace old by new in minimal
		edit           func(*pec.Certification)
		err            string
	}{
		{name: "minimal"},
		{name: "declaration, comment and DOCTYPE", old: "<postacert",
			new: "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><!-- x --><!DOCTYPE postacert SYSTEM \"https://ext.test/daticert.dtd\">\n<postacert"},
		{name: "entities are not resolved", old: "<postacert tipo=\"accettazione\"",
			new:  "<!DOCTYPE postacert [<!ENTITY x SYSTEM \"file:///etc/passwd\"><!ENTITY y \"&x;&x;\">]><postacert tipo=\"accettazione\" errore=\"&x;\"",
			edit: func(c *pec.Certification) { c.Error = "&x;" }},
		{name: "escapes", old: "b@beta.test", new: "&lt;b&#64;beta.test&gt;<![CDATA[&]]>",
			edit: func(c *pec.Certification) { c.Recipients[0].Address = "<b@beta.test>&" }},
		{name: "prefix", old: "<postacert", new: "<p:postacert xmlns:p=\"urn:x\""},
		{name: "stray text", old: "<intestazione>", new: " stray <intestazione> text "},
		{name: "unknown elements", old: "<dati>", new: "<nuovo><identificativo>no</identificativo></nuovo><dati><altro><identificativo>no</identificativo></altro>"},
		{name: "twice", old: "</identificativo>", new: "</identificativo><identificativo>2@alpha.test</identificativo>",
			edit: func(c *pec.Certification) {
				c.Identifier = ""
				c.Unread = []pec.Element{{Name: "identificativo", Text: "1@alpha.test"}, {Name: "identificativo", Text: "2@alpha.test"}}
			}, err: "identificativo: two values, neither counts"},
		{name: "twice, the sender", old: "</mittente>", new: "</mittente><mittente>z@ext.test</mittente>",
			edit: func(c *pec.Certification) { c.Unread = []pec.Element{{Name: "mittente", Text: "z@ext.test"}} }},
		{name: "twice the same", old: "</identificativo>", new: "</identificativo><identificativo>1@alpha.test</identificativo>"},
		{name: "unknown values", old: `tipo="accettazione"`, new: `errore="nuovo" tipo=" nuova " altro="x"`,
			edit: func(c *pec.Certification) { c.Type, c.Error = "nuova", "nuovo" }},
		{name: "end tag that fits none", old: "</mittente>", new: "</x></mittente>"},
		{name: "end tag missing", old: "</giorno>", new: ""},
		{name: "end tags missing of all", old: minimal, new: regexp.MustCompile("</(mittente|destinatari|intestazione|gestore-emittente|giorno|ora|data|identificativo)>").ReplaceAllString(minimal, "")},
		{name: "cut off", old: "</identificativo></dati></postacert>", new: "", edit: func(c *pec.Certification) {
			c.Identifier, c.Unread = "", []pec.Element{{Name: "identificativo", Text: "1@alpha.test"}}
		}, err: "cut short; no identificativo"},
		{name: "malformed behind the type", old: "<identificativo>1@alpha.test", new: "<\x01",
			edit: func(c *pec.Certification) { c.Identifier = "" }, err: "no identificativo"},
		{name: "malformed between the facts", old: "<dati>", new: "<\x01 & < > <!-- <![CDATA[ <1> <? </ <dati>"},
		{name: "malformed root", old: "tipo=\"accettazione\">", new: "tipo=accettazione <!-- x -->"},

		{name: "zone with a colon", old: "+0200", new: "+02:00", edit: func(c *pec.Certification) { c.Zone = "+02:00" }},
		{name: "no zone", old: ` zona="+0200"`, new: "", edit: func(c *pec.Certification) { c.Zone, c.Time = "", time.Time{} },
			err: "the time cannot be read"},
		{name: "zone Z", old: "+0200", new: "Z", edit: func(c *pec.Certification) { c.Zone, c.Time = "Z", c.Time.Add(2*time.Hour) }},
		{name: "zone of hours", old: "+0200", new: "+02", edit: func(c *pec.Certification) { c.Zone = "+02" }},
		{name: "no seconds", old: "00:30:00", new: "00:30", edit: func(c *pec.Certification) { c.Date = "01/07/2026 00:30" }},
		{name: "no seconds, zone Z", old: `zona="+0200"><giorno>01/07/2026</giorno><ora>00:30:00`, new: `zona="z"><giorno>01/07/2026</giorno><ora>00:30`,
			edit: func(c *pec.Certification) { c.Zone, c.Date, c.Time = "z", "01/07/2026 00:30", c.Time.Add(2*time.Hour) }},
		{name: "no such day", old: "01/07/2026", new: "31/06/2026", edit: func(c *pec.Certification) {
			c.Date, c.Time = "31/06/2026 00:30:00", time.Time{}
		}, err: "the time cannot be read"},
		{name: "short numbers", old: "01/07/2026</giorno><ora>00:30:00", new: "1/7/2026</giorno><ora>0:30:00",
			edit: func(c *pec.Certification) { c.Date = "1/7/2026 0:30:00" }},
		{name: "external recipient", old: "<destinatari>", new: "<destinatari tipo=\"esterno\">c@ext.test</destinatari><destinatari/><destinatari tipo=\"Nuovo\">",
			edit: func(c *pec.Certification) {
				c.Recipients = []pec.Recipient{{Address: "c@ext.test", Kind: "esterno"}, {Address: "b@beta.test", Kind: "Nuovo"}}
			}},
		{name: "too deep", old: "<dati>", new: strings.Repeat("<x>", 15), edit: func(c *pec.Certification) {
			*c = pec.Certification{Type: c.Type, Error: c.Error, Sender: c.Sender, Recipients: c.Recipients}
		}, err: "more than 16 deep"},
		{name: "two recipients of a receipt", old: "</dati>", new: "<consegna>b@beta.test</consegna><consegna>c@beta.test</consegna><consegna>b@beta.test</consegna>" +
			"<consegna>d@beta.test</consegna><consegna>c@beta.test</consegna></dati>", edit: func(c *pec.Certification) {
			c.Delivery, c.OtherDeliveries = "b@beta.test", []string{"c@beta.test", "d@beta.test"}
		}},
		{name: "recipient with stray tags", old: "b@beta.test", new: "<br/>b@beta.test</x>"},
		{name: "long text", old: "ALPHA", new: strings.Repeat("x", 4097),
			edit: func(c *pec.Certification) { c.Provider = strings.Repeat("x", 4096) }, err: "gestore-emittente over 4096 bytes"},
		{name: "text of the greatest length", old: "ALPHA", new: strings.Repeat("\u00e0", 2048),
			edit: func(c *pec.Certification) { c.Provider = strings.Repeat("\u00e0", 2048) }},
		{name: "very long text", old: "ALPHA", new: strings.Repeat("x < & ", 100_000),
			edit: func(c *pec.Certification) { c.Provider = strings.Repeat("x < & ", 682) + "x <" }, err: "gestore-emittente over 4096 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(minimal, test.old, test.new, 1)
			if test.old != "" && text == minimal {
				t.Fatal("nothing was changed")
			}
			want := base
			want.Recipients = append([]pec.Recipient(nil), base.Recipients...)
			if test.edit != nil {
				test.edit(&want)
			}
			got, err := pec.ParseCertification(strings.NewReader(text))
			if got == nil || !reflect.DeepEqual(*got, want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, want)
			}
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(strings.ToLower(err.Error()), test.err) {
				t.Errorf("error %v", err)
			}
		})
	}
	for name, text := range map[string]string{
		"empty": "", "no XML": "accettazione", "another root": "<daticert tipo=\"accettazione\"/>", "nested root": "<x>" + minimal + "</x>",
		"two roots of which the second": "<x/>" + minimal,
	} {
		if c, err := pec.ParseCertification(strings.NewReader(text)); c != nil || err == nil {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// TestCertificationText checks that a fault in one fact costs no other, and that what cannot be read is kept as written.
func TestCertificationText(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "Contratto n. 5", "Contratto n. 5"},
		{"entities", "a &lt;b&gt; &amp; &quot;c&quot; &apos;d&apos; &#233;&#xE9;", "a <b> & \"c\" 'd' \u00e9\u00e9"},
		{"reference to a character that XML forbids", "riga&#11;uno", "riga&#11;uno"},
		{"references that are none", "&#xD800; &#1114112; &#; &#x; &euro; &#99999999999999; &", "&#xD800; &#1114112; &#; &#x; &euro; &#99999999999999; &"},
		{"character that XML forbids", "riga\x0b\x01uno", "riga\x0b\x01uno"},
		{"bare <", "a < b", "a < b"},
		{"bare < before a digit", "prezzo <100 euro", "prezzo <100 euro"},
		{"bare < before a letter", "se a <b allora", "se a <b allora"},
		{"bare &", "Rossi & Bianchi", "Rossi & Bianchi"},
		{"address in angle brackets", "Re: <mario@alpha.test> scrive", "Re: <mario@alpha.test> scrive"},
		{"markup", "un <b>grande</b> affare<br/>", "un <b>grande</b> affare<br/>"},
		{"tags of the rules", "il <identificativo>2@alpha.test</identificativo> di <ora>", "il <identificativo>2@alpha.test</identificativo> di <ora>"},
		{"comment and CDATA", "a<!-- </oggetto> -->b<![CDATA[<c> &amp; </oggetto>]]>d", "ab<c> &amp; </oggetto>d"},
		{"beginnings of comment and CDATA", "a <!-- b <![CDATA[ c <? d", "a <!-- b <![CDATA[ c <? d"},
		{"no UTF-8", "perch\xe9", "perch\u00e9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(minimal, "</intestazione>", "<oggetto>"+test.text+"</oggetto></intestazione>", 1)
			want, err := pec.ParseCertification(strings.NewReader(minimal))
			if err != nil {
				t.Fatal(err)
			}
			want.Subject = test.want
			if got, err := pec.ParseCertification(strings.NewReader(text)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
			}
		})
	}
	for name, text := range map[string]string{"no type": "<postacert>", "type of another name": "<postacert type='accettazione'>"} {
		c, err := pec.ParseCertification(strings.NewReader(text + strings.TrimPrefix(minimal, `<postacert tipo="accettazione">`)))
		if err == nil || err.Error() != "no type" || c == nil || c.Identifier != "1@alpha.test" || c.Class() != pec.Ordinary {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// TestSubjectThatIsNotEscaped has a provider that does not escape subjects. The subject ends its element and adds facts that its writer chose:
// none of them counts.
func TestSubjectThatIsNotEscaped(t *testing.T) {
	const forged = `Ciao</oggetto><mittente>z@ext.test</mittente></intestazione><dati><data zona="+1200"><giorno>01/01/2020</giorno><ora>00:00:00</ora></data>` +
		`<identificativo>2@alpha.test</identificativo><msgid>&lt;2@z&gt;</msgid><ricevuta tipo="sintetica"/></dati><intestazione><oggetto>`
	text := strings.Replace(minimal, "</intestazione>", "<oggetto>"+forged+"</oggetto></intestazione>", 1)
	text = strings.Replace(text, "</dati></postacert>", `<msgid>&lt;1@a&gt;</msgid><ricevuta tipo="breve"/></dati></postacert>`, 1)
	c, err := pec.ParseCertification(strings.NewReader(text))
	if c == nil || err == nil || c.Sender != "a@alpha.test" || c.Identifier+c.MessageID+c.Date+c.Zone+c.ReceiptKind != "" || !c.Time.IsZero() || len(c.Unread) != 13 {
		t.Fatalf("%+v, %v", c, err)
	}
	if m := (&pec.Message{Data: c}); len(m.Practices()) > 0 || len(m.Events()) > 0 {
		t.Errorf("practices %q, events %+v", m.Practices(), m.Events())
	}
}

// TestCertificationEncodings reads the document in every encoding that it may have.
func TestCertificationEncodings(t *testing.T) {
	const provider = "Societ\u00e0 100 \u20ac"
	document := func(encoding string) string {
		return `<?xml version="1.0" encoding="` + encoding + `"?>` + strings.Replace(minimal, "ALPHA", provider, 1)
	}
	coded := func(text string, order binary.AppendByteOrder) string {
		var b []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			b = order.AppendUint16(b, unit)
		}
		return string(b)
	}
	latin9 := strings.NewReplacer("\u00e0", "\xe0", "\u20ac", "\xa4")
	for name, text := range map[string]string{
		"UTF-8":                               document("UTF-8"),
		"UTF-8 with a byte-order mark":        "\ufeff" + document("UTF-8"),
		"UTF-8, called otherwise":             document("ISO-8859-1"),
		"UTF-8, called UTF-16":                document("UTF-16"),
		"UTF-16LE":                            coded(document("UTF-16"), binary.LittleEndian),
		"UTF-16BE":                            coded(document("UTF-16"), binary.BigEndian),
		"UTF-16LE with a byte-order mark":     coded("\ufeff"+document("UTF-16"), binary.LittleEndian),
		"UTF-16BE with a byte-order mark":     coded("\ufeff"+document("UTF-16"), binary.BigEndian),
		"UTF-16 without a declaration":        coded("\n"+strings.Replace(minimal, "ALPHA", provider, 1), binary.BigEndian),
		"ISO-8859-15":                         latin9.Replace(document("ISO-8859-15")),
		"ISO-8859-15 in single quotes":        latin9.Replace(strings.ReplaceAll(document("iso-8859-15"), `"`, "'")),
		"Windows-1252":                        strings.NewReplacer("\u00e0", "\xe0", "\u20ac", "\x80").Replace(document("windows-1252")),
		"Windows-1252 that is called UTF-8":   strings.NewReplacer("\u00e0", "\xe0", "\u20ac", "\x80").Replace(document("UTF-8")),
		"Windows-1252, of an unknown charset": strings.NewReplacer("\u00e0", "\xe0", "\u20ac", "\x80").Replace(document("x-none")),
	} {
		if c, err := pec.ParseCertification(iotest.OneByteReader(strings.NewReader(text))); err != nil || c.Provider != provider {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	half := coded(minimal, binary.LittleEndian)
	c, err := pec.ParseCertification(strings.NewReader(strings.Replace(half, coded("ALPHA", binary.LittleEndian), "\x3d\xd8\x00\xde\x00\xdea\x00\x3d\xd8", 1)))
	if err != nil || c.Provider != "\U0001f600\ufffda\ufffd" {
		t.Errorf("surrogates: %+v, %v", c, err)
	}
}

// TestCertificationRecipients checks how many recipients are kept, and that what follows them is read.
func TestCertificationRecipients(t *testing.T) {
	document := func(n int, address string) string {
		head, tail, _ := strings.Cut(minimal, "<destinatari>b@beta.test</destinatari>")
		var b strings.Builder
		b.WriteString(head)
		for i := range n {
			fmt.Fprintf(&b, "        <destinatari tipo=\"certificato\">"+address+"</destinatari>\n", i)
		}
		return b.String() + tail
	}
	for _, test := range []struct {
		name    string
		n       int
		address string
		kept    int
		err     string
	}{
		{"2,000", 2000, "persona.numero.%06d@comune.di.prova.pec.alpha.test", 2000, ""},
		{"1,800 of the greatest length", 1800, strings.Repeat("x", 248) + "%06d", 1800, ""},
		{"as many as are kept", 10_893, "persona%06d@pec.alpha.test", 10_893, ""},
		{"one too many", 10_894, "persona%06d@pec.alpha.test", 10_893, "recipients not kept: 1"},
	} {
		text := document(test.n, test.address)
		c, err := pec.ParseCertification(strings.NewReader(text))
		if c == nil || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Fatalf("%s: %v", test.name, err)
		}
		if len(c.Recipients) != test.kept || c.Recipients[test.kept-1].Address != fmt.Sprintf(test.address, test.kept-1) || c.Omitted != test.n-test.kept ||
			c.Identifier != "1@alpha.test" || c.Time.IsZero() {
			t.Errorf("%s: %d recipients, %d omitted, %s, %s, of %d bytes", test.name, len(c.Recipients), c.Omitted, c.Identifier, c.Time, len(text))
		}
	}
}

// TestCertificationCases reads receipts in the forms of real ones.
func TestCertificationCases(t *testing.T) {
	base := pec.Certification{Type: "avvenuta-consegna", Error: "nessuno", Sender: "anna@alpha.test", Replies: "anna@alpha.test", Subject: "Prova",
		Recipients: []pec.Recipient{{Address: "bruno@beta.test", Kind: "certificato"}}, Provider: "Gestore Alfa", Delivery: "bruno@beta.test",
		Date: "20/11/2026 10:11:12", Zone: "+0100", Time: time.Date(2026, 11, 20, 9, 11, 12, 0, time.UTC), ReceiptKind: "completa"}
	for name, edit := range map[string]func(*pec.Certification){
		"daticert-forbidden-character": func(c *pec.Certification) {
			c.Subject, c.Provider, c.Date, c.Time = "riga&#11;uno", "GESTORE", "28/11/2026 10:11:12", time.Date(2026, 11, 28, 9, 11, 12, 0, time.UTC)
			c.Recipients[0].Address, c.Delivery, c.ReceiptKind = "bob@pec.test", "bob@pec.test", "sintetica"
			c.Identifier, c.MessageID = "opec.2@pec.test", "<c2@alpha.test>"
		},
		"daticert-no-seconds": func(c *pec.Certification) {
			c.Identifier, c.MessageID = "T11@pec.alpha.test", "<m11@alpha.test>"
			c.Date, c.Time = "20/11/2026 10:11", c.Time.Truncate(time.Minute)
		},
		"daticert-zone-z": func(c *pec.Certification) {
			c.Identifier, c.MessageID, c.Zone, c.Date = "T13@pec.alpha.test", "<m13@alpha.test>", "Z", "20/11/2026 09:11:12"
		},
		"daticert-iso8859-15": func(c *pec.Certification) {
			c.Identifier, c.MessageID, c.Provider = "T51@pec.alpha.test", "<m51@alpha.test>", "Gestore 100 €"
		},
	} {
		message, err := os.ReadFile("testdata/" + name + ".eml")
		if err != nil {
			t.Fatal(err)
		}
		want := base
		want.Recipients = slices.Clone(base.Recipients)
		edit(&want)
		m, _ := read(t, message)
		if m.DataError != "" || m.Data == nil || !reflect.DeepEqual(*m.Data, want) {
			t.Errorf("%s: %q\ngot  %+v\nwant %+v", name, m.DataError, m.Data, want)
		}
		if len(m.Events()) != 1 {
			t.Errorf("%s: events %+v", name, m.Events())
		}
	}
}

// TestSecondDelivery checks that a receipt about two recipients gives an event for each, and is stored that way.
func TestSecondDelivery(t *testing.T) {
	text := strings.NewReplacer("accettazione", "avvenuta-consegna", "</dati>", "<consegna>b@beta.test</consegna><consegna>C@beta.test</consegna></dati>").Replace(minimal)
	c, err := pec.ParseCertification(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r := pec.Record{Message: pec.Message{Class: pec.AvvenutaConsegna, Data: c, Signed: -1, Daticert: -1, Postacert: -1}}
	b, err := r.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	var kept pec.Record
	if err := kept.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	states := make(pec.States)
	states.Apply(&kept.Message)
	for _, address := range []string{"b@beta.test", "c@beta.test"} {
		if o := states[pec.Key{Identifier: "1@alpha.test", Recipient: address}]; o.Status() != pec.StatusDelivered {
			t.Errorf("%s: %q", address, o.Status())
		}
	}
}

// TestRecordFits checks that the largest record fits into an entry of the journal.
func TestRecordFits(t *testing.T) {
	const most = 1 << 20 // journal.MaxCertification
	long := strings.Repeat("x y", 600)
	var b strings.Builder
	b.WriteString("<postacert tipo='" + long + "' errore='" + long + "'><intestazione>")
	for range 12_000 {
		b.WriteString("<destinatari tipo='x'>" + "y</destinatari><destinatari tipo='certificato'>persona@pec.alpha.test</destinatari>")
	}
	for _, name := range []string{"mittente", "risposte", "oggetto"} {
		b.WriteString(strings.Repeat("<"+name+">"+strings.Repeat(long, 3)+"</"+name+">", 30))
	}
	b.WriteString("</intestazione><dati><data zona='" + long + "'>")
	for _, name := range []string{"giorno", "ora", "gestore-emittente", "identificativo", "msgid", "errore-esteso"} {
		for i := range 30 {
			fmt.Fprintf(&b, "<%s>%d%s</%s>", name, i, strings.Repeat("z", 8000), name)
		}
	}
	for i := range 10_000 {
		fmt.Fprintf(&b, "<consegna>%d@pec.alpha.test</consegna><ricezione>%d@pec.alpha.test</ricezione>", i, i)
	}
	c, err := pec.ParseCertification(strings.NewReader(b.String()))
	if c == nil || err == nil {
		t.Fatal(err)
	}
	value := strings.Repeat("v", 1<<10)
	r := pec.Record{Message: pec.Message{Class: pec.Ordinary, Data: c, DataError: err.Error(), Declared: pec.Declared{Receipt: value, Transport: value,
		ReceiptKind: value, Reference: value, SecurityCheck: value, Sender: value, From: value, MessageID: value, InReplyTo: value, References: value}},
		Signature: pec.Signature{Reason: value, Digest: value, Provider: value, Chain: [][]byte{make([]byte, 256<<10)}}}
	r.Message.Declared.ReplyTo, r.Message.Inner = value, pec.Inner{From: value, Subject: value, Date: value, MessageID: value}
	for range 8 {
		r.Message.Invoices = append(r.Message.Invoices, pec.InvoiceNotice{Kind: value, File: value, Invoice: value, Identifier: value})
	}
	for range 64 {
		r.Message.Declared.REM = append(r.Message.Declared.REM, pec.Field{Name: value, Value: value})
	}
	stored, err := r.AppendBinary(nil)
	if err != nil || len(stored) > most || len(c.Recipients) < 10_000 || len(c.OtherDeliveries) < 500 || c.Omitted < 10_000 {
		t.Errorf("%d bytes, %d recipients, %d omitted, %v", len(stored), len(c.Recipients), c.Omitted, err)
	}
}

func TestCertificationIsBounded(t *testing.T) {
	head, tail, _ := strings.Cut(minimal, "<destinatari>")
	for name, text := range map[string]string{"recipients": "<destinatari>b@beta.test</destinatari>", "stray text": "xxxxxxxxxxxxxxxx ",
		"open": "<x>", "attributes": "<x a='", "closed": "</x>", "comments": "<!--", "sections": "<![CDATA[", "instructions": "<?", "declarations": "<!DOCTYPE ",
		"all facts": "<mittente><risposte><oggetto><destinatari>", "quotes": "<x '\"", "brackets": "<",
		"references": "<oggetto>&#&#&#", "texts": "<oggetto>" + strings.Repeat("<!--<?<![CDATA[<", 200) + "</oggetto>",
		"long texts": "<oggetto>" + strings.Repeat("<!--<?<![CDATA[<", 20_000) + "</oggetto>"} {
		const length = 5 << 20
		r := strings.NewReader(head + strings.Repeat(text, length/len(text)) + "<destinatari>" + tail)
		c, err := pec.ParseCertification(r)
		if err == nil || c == nil || c.Type != "accettazione" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if left := r.Len(); left < 1<<19 {
			t.Errorf("%s: all but %d bytes were read", name, left)
		}
	}
}

// TestCertificationProlog checks that a document without the root element is not read to its end.
func TestCertificationProlog(t *testing.T) {
	root := strings.IndexByte(minimal, '>') + 1 // bytes to the end of the start tag
	for n, want := range map[int]bool{256<<10 - root: true, 256<<10 - root + 1: false} {
		r := strings.NewReader(strings.Repeat(" ", n) + minimal + strings.Repeat(" ", 1<<20))
		if c, err := pec.ParseCertification(r); (c != nil) != want || want == (err != nil) || r.Len() < 1<<19 {
			t.Errorf("behind %d bytes: %+v, %v, %d bytes left", n, c, err, r.Len())
		}
	}
}

func FuzzParseCertification(f *testing.F) {
	f.Add(minimal)
	f.Add("\xef\xbb\xbf<?xml version='1.0' encoding='UTF-16'?>" + minimal)
	f.Add("<!DOCTYPE a [<!ENTITY b \"c\">]><postacert tipo='&b;'>")
	f.Add("<postacert tipo=x><intestazione><oggetto>a < b <c <!-- </oggetto><destinatari>d<destinatari>e</intestazione><dati><consegna>f</consegna><consegna>g")
	f.Add("\xff\xfe<\x00p\x00o\x00s\x00t\x00a\x00c\x00e\x00r\x00t\x00>\x00\x3d\xd8")
	f.Add("<postacert tipo=accettazione errore><a:b c='d'/></a><dati><data zona='+0100'><giorno>1/1/0001</giorno><ora>0:0:0")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := pec.ParseCertification(io.MultiReader(strings.NewReader(text)))
		if c == nil && err == nil || c != nil && c.Type == "" && err == nil {
			t.Fatalf("%+v, %v", c, err)
		}
		if c == nil {
			return
		}
		r := pec.Record{Message: pec.Message{Class: pec.Ordinary, Data: c, Signed: -1, Daticert: -1, Postacert: -1}}
		b, err := r.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var again pec.Record
		if err := again.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("stored and read: %v\n%+v\nwant\n%+v", err, again.Message.Data, c)
		}
	})
}
