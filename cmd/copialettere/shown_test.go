package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"copialettere/journal/httpd"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// TestParts lists and takes out the parts of an envelope, from the daemon and without it.
func TestParts(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	contract := pectest.Binary("contratto\u202efdp.pdf", 30_000, 1)
	c := office.Send(pectest.Mail{From: "eva@alpha.test", To: []string{anna}, Subject: "Contratto", Text: "In allegato.\n", MessageID: "auto",
		Attachments: []pectest.Attachment{contract}}, "completa")
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver(string(c.Envelope), anna, anna)
	where := p.entries(anna)[0].Folder
	check := func() {
		t.Helper()
		out := p.must("parts", anna, where, "1")
		for _, want := range []string{"1.2 ", "application/xml  daticert.xml", "1.3 ", "message/rfc822  postacert.eml", "1.3.2 ", "contratto?fdp.pdf", "2 "} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
		byName := make(map[string]httpd.PartView)
		for line := range strings.Lines(p.must("parts", anna, where, "1", "-json")) {
			var v httpd.PartView
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatal(err)
			}
			byName[v.Name] = v
		}
		want := httpd.PartView{Part: "1.3.2", Depth: 4, Type: contract.Type, Name: contract.Name, Encoding: "base64", Disposition: byName[contract.Name].Disposition,
			Size: byName[contract.Name].Size}
		if got := byName[contract.Name]; got != want || got.Size < 40_000 || !strings.HasPrefix(got.Disposition, "attachment") {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if out := p.must("part", anna, where, "1", byName["daticert.xml"].Part); !strings.Contains(out, "<identificativo>"+c.Identifier) {
			t.Errorf("daticert.xml: %s", out)
		}
		if out := p.must("part", anna, where, "1", byName["postacert.eml"].Part); out != string(c.Rewritten) {
			t.Errorf("postacert.eml: %d bytes, want %d", len(out), len(c.Rewritten))
		}
		if out := p.must("part", anna, where, "1", "1.3.2"); out != string(contract.Content) {
			t.Errorf("%d bytes, want %d", len(out), len(contract.Content))
		}
		for _, test := range []struct {
			status int
			want   string
			args   []string
		}{
			{1, "no such part", []string{"part", anna, where, "1", "1.3.9"}},
			{1, "no such part", []string{"part", anna, where, "1", "x"}},
			{2, "such as 1.2", []string{"part", anna, where, "1", ""}},
			{1, "no such entry", []string{"part", anna, where, "2", "1"}},
			{1, "no such entry", []string{"parts", anna, where, "2"}},
			{1, "no such entry", []string{"parts", "bruno@alpha.test", where, "1"}},
			{2, "folder", []string{"parts", anna, "INBOX", "1"}},
			{2, "arguments", []string{"part", anna, where, "1"}},
			{2, "arguments", []string{"parts", anna, where}},
		} {
			p.fails(test.status, []string{test.want}, test.args...)
		}
	}
	check()
	stop()
	check()
}

// TestListShowsInside: for certified mail, list shows the sender and subject of the message inside, not those of the envelope.
func TestListShowsInside(t *testing.T) {
	office, _ := chain(t)
	c := office.Send(pectest.Mail{From: "eva@alpha.test", To: []string{anna}, Subject: "Perché no?", Text: "Testo\n", MessageID: "auto"}, "completa")
	forged := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Header: func(header []string) []string {
		for i, line := range header {
			if strings.HasPrefix(line, "Subject:") {
				header[i] = "Subject: POSTA CERTIFICATA: Pagare subito"
			}
		}
		return header
	}}})
	inside := []byte("From: =?UTF-8?Q?Zo=C3=A9?= <zoe@ext.test>\r\nSubject: Saluti\r\n\r\nCiao\r\n")
	anomaly := office.Anomaly("zoe@ext.test", "Saluti", nil, inside, pectest.Variation{})
	for trust, want := range map[string][]string{
		"headers": {
			"eva@alpha.test                    Perché no? [posta-certificata, verified]",
			"eva@alpha.test                    Perché no? [posta-certificata, verified, header contradicts the certificate]",
			"Zoé <zoe@ext.test>                Saluti [anomalia, verified]",
			"posta-certificata@alpha.test      ACCETTAZIONE: Perché no? [accettazione, verified]",
		},
		"signature": {
			"posta-certificata@alpha.test      ACCETTAZIONE: Perché no? [accettazione, verified]",
		},
	} {
		p := pecPlace(t, trust, office.Authority.PEM())
		stop := p.daemon()
		p.must("mailbox", "enable", anna)
		for _, m := range [][]byte{c.Envelope, forged, anomaly, c.Acceptance} {
			p.deliver(string(m), anna, anna)
		}
		// Saying so does not make mail certified.
		p.deliver(string(c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Unsigned: true}})), anna, anna)
		stop()
		out := p.must("list", anna)
		for _, line := range want {
			if !strings.Contains(out, line+"\n") {
				t.Errorf("%s: %q is not in\n%s", trust, line, out)
			}
		}
		if unsigned := "POSTA CERTIFICATA: Perché no? [ordinary, unsigned]"; trust == "signature" && !strings.Contains(out, unsigned) && !strings.Contains(out, "POSTA CERTIFICATA: Perché no?\n") {
			t.Errorf("what is not certified shows another one's subject:\n%s", out)
		}
		list := p.entries(anna)
		if list[2].InnerFrom != "Zoé <zoe@ext.test>" || list[2].InnerSubject != "Saluti" || list[3].InnerFrom != "" {
			t.Errorf("%+v", list)
		}
		wantContradiction := []httpd.ContradictionView{{Field: "Subject", Header: "POSTA CERTIFICATA: Pagare subito", Certificate: "Perché no?"}}
		if got := list[1].Certification.Contradictions; !reflect.DeepEqual(got, wantContradiction) {
			t.Errorf("%+v", got)
		}
	}
}

// TestListCertification: -json has everything that daticert.xml says.
func TestListCertification(t *testing.T) {
	office, c := chain(t)
	p := pecPlace(t, "headers", office.Authority.PEM())
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver(string(c.Notice(pectest.Notice{Class: pec.ErroreConsegna, Recipient: "bruno@beta.test", After: time.Hour,
		Detail: "5.1.1 - casella inesistente"})), anna, anna)
	p.deliver(string(c.Taken), anna, anna)
	p.deliver("X-Ricevuta: accettazione\r\n"+string(c.Envelope), anna, anna)
	stop()
	list := p.entries(anna)
	v := list[0].Certification
	if v.ErrorDetail != "5.1.1 - casella inesistente" || v.Subject != "Contratto" || v.Replies != anna || v.Date != "03/11/2026 11:11:12" ||
		v.Zone != "+0100" || v.HeaderConflict || len(v.Contradictions) > 0 {
		t.Errorf("failure: %+v", v)
	}
	if v := list[1].Certification; !reflect.DeepEqual(v.Received, []string{"bruno@beta.test"}) {
		t.Errorf("taken: %+v", v)
	}
	if v := list[2].Certification; !v.HeaderConflict {
		t.Errorf("a header that contradicts itself: %+v", v)
	}
}

// TestListInvoiceNotices names the notifications of the exchange system for invoices.
func TestListInvoiceNotices(t *testing.T) {
	office, _ := chain(t)
	notice := func(from string) string {
		return string(office.Send(pectest.Mail{From: from, To: []string{anna}, Subject: "Ricevuta di consegna 111222333", Text: "Testo\n", MessageID: "auto",
			Attachments: []pectest.Attachment{{Name: "IT01234567890_00001_RC_001.xml", Type: "text/xml", Content: []byte(
				`<?xml version="1.0"?><types:RicevutaConsegna xmlns:types="http://www.fatturapa.gov.it/sdi/messaggi/v1.0"><IdentificativoSdI>111222333` +
					`</IdentificativoSdI><NomeFile>IT01234567890_00001.xml.p7m</NomeFile></types:RicevutaConsegna>`)}}}, "").Envelope)
	}
	p := pecPlace(t, "headers", office.Authority.PEM())
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver(notice("sdi01@pec.fatturapa.it"), anna, anna)
	p.deliver(notice("eva@alpha.test"), anna, anna)
	stop()
	out := p.must("list", anna)
	const text = "SdI RC, ricevuta di consegna: IT01234567890_00001.xml.p7m 111222333"
	if !strings.Contains(out, "[posta-certificata, verified, "+text+"]") || !strings.Contains(out, text+" (not certified as sent by the exchange system)]") {
		t.Errorf("printed\n%s", out)
	}
	list := p.entries(anna)
	for i, from := range []bool{true, false} {
		want := []httpd.InvoiceNoticeView{{Kind: "RC", Name: "ricevuta di consegna", File: "IT01234567890_00001_RC_001.xml", Part: "1.3.2",
			Invoice: "IT01234567890_00001.xml.p7m", Identifier: "111222333", FromExchange: from}}
		if got := list[i].Certification.InvoiceNotices; !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if part := p.must("part", anna, list[i].Folder, fmt.Sprint(list[i].UID), "1.3.2"); !strings.Contains(part, "RicevutaConsegna") {
			t.Errorf("part: %s", part)
		}
	}
}

// TestForgedInvoiceNotice has a notification of the exchange system in a changed envelope. With trust in signatures it counts as nobody's.
func TestForgedInvoiceNotice(t *testing.T) {
	office, _ := chain(t)
	envelope := office.Send(pectest.Mail{From: "sdi01@pec.fatturapa.it", To: []string{anna}, Subject: "Ricevuta", Text: "Testo\n", MessageID: "auto",
		Attachments: []pectest.Attachment{{Name: "IT01234567890_00001_RC_001.xml", Type: "text/xml", Content: []byte("<RicevutaConsegna/>")}}}, "").Envelope
	p := pecPlace(t, "signature", office.Authority.PEM())
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver(string(pectest.Tampered(envelope)), anna, anna)
	stop()
	if out := p.must("list", anna); !strings.Contains(out, "[ordinary, invalid, SdI RC, ricevuta di consegna: IT01234567890_00001 (not certified as ") {
		t.Errorf("printed\n%s", out)
	}
	if list := p.entries(anna); list[0].Certification.InvoiceNotices[0].FromExchange {
		t.Errorf("of the exchange system: %+v", list[0].Certification)
	}
}

// TestPracticeTimes: a refusal, a failure and a delay have their times.
func TestPracticeTimes(t *testing.T) {
	for _, test := range []struct {
		notice pectest.Notice
		want   string
	}{
		{pectest.Notice{Class: pec.NonAccettazione, After: 3 * time.Second, Detail: "errore formale"}, "not-accepted"},
		{pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: "bruno@beta.test", After: 12 * time.Hour}, "late-12h"},
		{pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: "bruno@beta.test", After: 24 * time.Hour, Detail: "5.4.1 - scaduto"}, "late-24h"},
		{pectest.Notice{Class: pec.ErroreConsegna, Recipient: "bruno@beta.test", After: time.Hour}, "failed"},
	} {
		t.Run(test.want, func(t *testing.T) {
			office, c := chain(t)
			p := pecPlace(t, "headers", office.Authority.PEM())
			stop := p.daemon()
			p.must("mailbox", "enable", anna)
			p.deliver(string(c.Notice(test.notice)), anna, anna)
			stop()
			at := c.Time.Add(test.notice.After)
			found := false
			for _, v := range p.practices() {
				for _, r := range v.Recipients {
					if r.Address != "bruno@beta.test" {
						continue
					}
					found = true
					got := timeOfStatus(r)
					if string(r.Status) != test.want || got == nil || !got.Equal(at) {
						t.Errorf("%s at %v, want %v", r.Status, got, at)
					}
				}
			}
			if out := p.must("practice", anna); !found || !strings.Contains(out, test.want+" "+at.Local().Format(time.DateTime)) {
				t.Errorf("printed\n%s", out)
			}
		})
	}
}
