package pec_test

import (
	"cmp"
	"encoding/base64"
	"strings"
	"testing"

	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// TestAttachments names the attachments of messages.
func TestAttachments(t *testing.T) {
	multipart := func(kind string, parts ...string) string {
		return "Content-Type: multipart/" + kind + "; boundary=" + kind + "\r\n\r\n--" + kind + "\r\n" +
			strings.Join(parts, "\r\n--"+kind+"\r\n") + "\r\n--" + kind + "--\r\n"
	}
	const (
		text    = "Content-Type: text/plain\r\n\r\nText"
		html    = "Content-Type: text/html\r\n\r\n<img src=cid:logo>"
		pdf     = "Content-Type: application/pdf; name=a.pdf\r\n\r\nx"
		unnamed = "Content-Type: application/pdf\r\n\r\nx"
		logo    = "Content-Type: image/png; name=logo.png\r\nContent-ID: <logo>\r\nContent-Disposition: inline\r\n\r\nx"
		photo   = "Content-Type: image/png; name=photo.png\r\nContent-Disposition: inline\r\n\r\nx"
		note    = "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=note.txt\r\n\r\nx"
		seal    = "Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Disposition: attachment; filename=smime.p7s\r\n\r\nx"
		data    = "Content-Type: application/xml; name=daticert.xml\r\n\r\n<postacert tipo=\"posta-certificata\"></postacert>"
	)
	message := func(name, inside string) string {
		return "Content-Type: message/rfc822; name=" + name + "\r\n\r\nSubject: inside\r\n" + inside
	}
	encoded := func(inside string) string {
		return "Content-Type: message/rfc822; name=postacert.eml\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			base64.StdEncoding.EncodeToString([]byte("Subject: inside\r\nTo: a@b.test\r\nCc: c@d.test\r\n"+inside))
	}
	for name, c := range map[string]struct{ message, want string }{
		"text":                       {text, ""},
		"a file alone":               {pdf, "a.pdf"},
		"mixed":                      {multipart("mixed", text, pdf, note, unnamed), "a.pdf note.txt -"},
		"picture of a text":          {multipart("related", html, logo), ""},
		"picture":                    {multipart("mixed", text, photo), "photo.png"},
		"forwarded":                  {multipart("mixed", text, message("old.eml", multipart("related", html, pdf)), note), "old.eml note.txt"},
		"signed":                     {multipart("signed", multipart("mixed", text, pdf), seal), "a.pdf"},
		"certified":                  {"X-Trasporto: posta-certificata\r\n" + multipart("signed", multipart("mixed", text, data, message("postacert.eml", multipart("related", html, logo, pdf))), seal), "a.pdf"},
		"certified, text":            {"X-Trasporto: posta-certificata\r\n" + multipart("signed", multipart("mixed", text, data, message("postacert.eml", text)), seal), ""},
		"receipt":                    {"X-Ricevuta: accettazione\r\n" + multipart("signed", multipart("mixed", text, data), seal), ""},
		"certified, in base64":       {"X-Trasporto: posta-certificata\r\n" + multipart("signed", multipart("mixed", text, data, encoded(multipart("mixed", text, pdf, note, unnamed))), seal), "inside: a.pdf note.txt -"},
		"certified, in base64, text": {"X-Trasporto: posta-certificata\r\n" + multipart("signed", multipart("mixed", text, data, encoded(text)), seal), ""},
		"certified, forwarded":       {multipart("mixed", text, message("postacert.eml", multipart("mixed", text, pdf))), "postacert.eml"},
	} {
		t.Run(name, func(t *testing.T) {
			s := part.NewScanner(part.DefaultLimits())
			if _, err := s.Write([]byte(c.message)); err != nil {
				t.Fatal(err)
			}
			table := s.Close()
			m := pec.Read(strings.NewReader(c.message), table, s.Header())
			var names []string
			for i := range m.Attachments(table) {
				name := table.Parts[i].Name()
				if name == "" {
					name = "-"
				}
				names = append(names, name)
			}
			if m.HasAttachments(table) != (c.want != "") {
				t.Errorf("attachments: %v", m.HasAttachments(table))
			}
			if strings.Contains(c.message, "base64") && (m.Inner.Subject != "inside" || m.Inner.To != "a@b.test" || m.Inner.Cc != "c@d.test") {
				t.Errorf("inside %+v", m.Inner)
			}
			for i, name := range m.Inner.Files {
				if i == 0 {
					names = append(names, "inside:")
				}
				names = append(names, cmp.Or(name, "-"))
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
