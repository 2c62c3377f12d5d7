package pec_test

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec"
)

// minimal is a daticert.xml with as little as may be.
const minimal = `<postacert tipo="accettazione"><intestazione><mittente>a@alpha.test</mittente><destinatari>b@beta.test</destinatari></intestazione>` +
	`<dati><gestore-emittente>ALPHA</gestore-emittente><data zona="+0200"><giorno>01/07/2026</giorno><ora>00:30:00</ora></data><identificativo>1@alpha.test</identificativo></dati></postacert>`

func TestParseCertification(t *testing.T) {
	base := pec.Certification{Type: "accettazione", Error: "nessuno", Sender: "a@alpha.test",
		Recipients: []pec.Recipient{{Address: "b@beta.test", Kind: "certificato"}},
		Provider:   "ALPHA", Time: time.Date(2026, 6, 30, 22, 30, 0, 0, time.UTC), Date: "01/07/2026 00:30:00", Zone: "+0200",
		Identifier: "1@alpha.test"}
	tests := []struct {
		name, old, new string // what is changed in the minimal one
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
		{name: "twice", old: "</identificativo>", new: "</identificativo><identificativo>2@alpha.test</identificativo>"},
		{name: "unknown values", old: `tipo="accettazione"`, new: `errore="nuovo" tipo=" nuova " altro="x"`,
			edit: func(c *pec.Certification) { c.Type, c.Error = "nuova", "nuovo" }},
		{name: "end tag that fits none", old: "</mittente>", new: "</x></mittente>"},
		{name: "end tag missing", old: "</giorno>", new: "", edit: func(c *pec.Certification) { c.Date, c.Time = "", time.Time{} }},
		{name: "cut off", old: "</identificativo></dati></postacert>", new: "", edit: func(c *pec.Certification) { c.Identifier = "" }},
		{name: "malformed behind the type", old: "<identificativo>1@alpha.test", new: "<\x01",
			edit: func(c *pec.Certification) { c.Identifier = "" }, err: "syntax error"},
		{name: "zone with a colon", old: "+0200", new: "+02:00", edit: func(c *pec.Certification) { c.Zone = "+02:00" }},
		{name: "no zone", old: ` zona="+0200"`, new: "", edit: func(c *pec.Certification) { c.Zone, c.Time = "", time.Time{} }},
		{name: "no such day", old: "01/07/2026", new: "31/06/2026", edit: func(c *pec.Certification) {
			c.Date, c.Time = "31/06/2026 00:30:00", time.Time{}
		}},
		{name: "short numbers", old: "01/07/2026</giorno><ora>00:30:00", new: "1/7/2026</giorno><ora>0:30:00",
			edit: func(c *pec.Certification) { c.Date = "1/7/2026 0:30:00" }},
		{name: "external recipient", old: "<destinatari>", new: "<destinatari tipo=\"esterno\">c@ext.test</destinatari><destinatari/><destinatari tipo=\"Nuovo\">",
			edit: func(c *pec.Certification) {
				c.Recipients = []pec.Recipient{{Address: "c@ext.test", Kind: "esterno"}, {Address: "b@beta.test", Kind: "Nuovo"}}
			}},
		{name: "too deep", old: "<dati>", new: strings.Repeat("<x>", 20), edit: func(c *pec.Certification) {
			*c = pec.Certification{Type: c.Type, Error: c.Error, Sender: c.Sender, Recipients: c.Recipients}
		}, err: "more than 16 deep"},
		{name: "long text", old: "ALPHA", new: strings.Repeat("x", 10_000),
			edit: func(c *pec.Certification) { c.Provider = strings.Repeat("x", 4096) }},
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
		"no type": strings.Replace(minimal, "tipo", "type", 1), "two roots of which the second": "<x/>" + minimal,
	} {
		if c, err := pec.ParseCertification(strings.NewReader(text)); c != nil || err == nil {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestCertificationIsBounded(t *testing.T) {
	head, tail, _ := strings.Cut(minimal, "<destinatari>")
	for name, text := range map[string]string{"recipients": "<destinatari>b@beta.test</destinatari>", "stray text": "xxxxxxxxxxxxxxxx ",
		"open": "<x>", "attributes": "<x a='", "closed": "</x>"} {
		r := strings.NewReader(head + strings.Repeat(text, 4<<20/len(text)) + "<destinatari>" + tail)
		c, err := pec.ParseCertification(r)
		if err == nil || c == nil || c.Type != "accettazione" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if left := r.Len(); left < 3<<20 {
			t.Errorf("%s: all but %d bytes were read", name, left)
		}
	}
}

func FuzzParseCertification(f *testing.F) {
	f.Add(minimal)
	f.Add("\xef\xbb\xbf<?xml version='1.0' encoding='UTF-16'?>" + minimal)
	f.Add("<!DOCTYPE a [<!ENTITY b \"c\">]><postacert tipo='&b;'>")
	f.Add("<postacert tipo=accettazione errore><a:b c='d'/></a><dati><data zona='+0100'><giorno>1/1/0001</giorno><ora>0:0:0")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := pec.ParseCertification(io.MultiReader(strings.NewReader(text)))
		if c == nil && err == nil || c != nil && c.Type == "" {
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
