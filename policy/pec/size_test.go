package pec_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// TestRecordFitsAnEntry has a message with the most of everything that a record keeps, and a signer with the longest name. The record must fit
// into an entry, or the message could never be delivered.
func TestRecordFitsAnEntry(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail, long := letter(), strings.Repeat("x", 5_000)
	mail.Attachments = nil
	for i := range 9 {
		mail.Attachments = append(mail.Attachments, pectest.Attachment{Name: fmt.Sprintf("IT01234567890_%d_RC_001.xml", i), Type: "text/xml",
			Content: []byte("<RicevutaConsegna><IdentificativoSdI>" + long + "</IdentificativoSdI><NomeFile>" + long + "</NomeFile></RicevutaConsegna>")})
	}
	c := o.Send(mail, "")
	var names []pkix.AttributeTypeAndValue
	for i := range 240 {
		description := asn1.ObjectIdentifier{2, 5, 4, 13}
		names = append(names, pkix.AttributeTypeAndValue{Type: description, Value: fmt.Sprint(i, strings.Repeat(",", 900))})
	}
	for name, edit := range map[string]func(*x509.Certificate){
		"trusted": func(*x509.Certificate) {},
		"ran out": func(c *x509.Certificate) { c.NotAfter = c.NotBefore.AddDate(1, 0, 0) },
	} {
		identity := o.Authority.Issue(o.Sender.Address(), "Alpha", o.Sender.Identity.Key, func(c *x509.Certificate) {
			c.Subject.ExtraNames = names
			edit(c)
		})
		message := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Identity: identity, Certificate: func(s string) string {
			var facts, deliveries strings.Builder
			for i := range 20 {
				fmt.Fprintf(&facts, "<oggetto>%d%s</oggetto>", i, long)
			}
			for i := range 20_000 {
				fmt.Fprintf(&facts, "<destinatari>%d%s@x.test</destinatari>", i, long[:40])
			}
			s = strings.Replace(s, "<risposte>", facts.String()+"<risposte>"+long, 1)
			for i := range 500 {
				fmt.Fprintf(&deliveries, "<consegna>%d%s</consegna>", i, long[:100])
			}
			return strings.Replace(s, "</dati>", deliveries.String()+"</dati>", 1)
		}}})
		var more strings.Builder
		for i := range 65 {
			fmt.Fprintf(&more, "REM-%d%s: %s\r\n", i, long[:900], long[:990])
		}
		message = append([]byte(more.String()+"References: "+long[:990]+"\r\nIn-Reply-To: "+long[:990]+"\r\n"), message...)
		m, _ := read(t, message)
		r := pec.Record{Message: *m}
		r.Signature = verify(t, pec.NewVerifier(verifierBundle(o), nil, pec.WithSHA1Chains(), pec.WithRevocation(nil)), message)
		stored, err := r.AppendBinary(nil)
		if err != nil || len(stored) > journal.MaxCertification || len(m.Data.Recipients) < 7_000 || len(m.Declared.REM) != 64 || len(m.Invoices) != 8 {
			t.Errorf("%s: %d bytes (%v) for %d recipients, %d fields, %d invoices, a reason of %d bytes", name, len(stored), err, len(m.Data.Recipients),
				len(m.Declared.REM), len(m.Invoices), len(r.Signature.Reason))
		}
	}
}
