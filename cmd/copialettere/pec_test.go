package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/httpd"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// pecPlace is a place with a daemon that receives certified mail.
func pecPlace(t *testing.T, trust string, bundle []byte) *place {
	t.Helper()
	p := newPlace(t)
	p.configure(fmt.Sprintf("[pec]\ntrust = %q\n", trust))
	if bundle != nil {
		name := filepath.Join(p.dir, "bundle.pem")
		if err := os.WriteFile(name, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		p.configure(fmt.Sprintf("trust_bundle = %q\n", name))
	}
	p.must("init")
	return p
}

// list returns the entries of a mailbox, by Subject and class.
func (p *place) entries(mailbox string) []httpd.EntryView {
	p.t.Helper()
	_, out, _ := p.run("list", mailbox, "-json")
	var list []httpd.EntryView
	for line := range strings.Lines(out) {
		var e httpd.EntryView
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			p.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

const anna = "anna@alpha.test"

func chain(t *testing.T) (*pectest.Office, *pectest.Chain) {
	t.Helper()
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	return office, office.Send(pectest.Mail{
		From: anna, To: []string{"bruno@beta.test", "carla@gamma.test"}, Subject: "Contratto", Text: "In allegato.\n", MessageID: "auto",
	}, "completa")
}

// TestClasses compares the class, what the headers declare, and what the signature proves, under either rule of trust.
func TestClasses(t *testing.T) {
	office, c := chain(t)
	forged := "X-Trasporto: posta-certificata\r\nFrom: Evil <evil@ext.test>\r\nSubject: forged\r\n\r\nPay.\r\n"
	messages := []struct{ name, message string }{
		{"acceptance", string(c.Acceptance)}, {"envelope", string(c.Envelope)}, {"delivery", string(c.Deliveries[0].Message)},
		{"tampered", string(pectest.Tampered(c.Deliveries[1].Message))}, {"forged", forged}, {"ordinary", message},
	}
	for trust, want := range map[string][]string{
		"headers": {
			"accettazione accettazione verified", "posta-certificata posta-certificata verified", "avvenuta-consegna avvenuta-consegna verified",
			"avvenuta-consegna avvenuta-consegna invalid", "posta-certificata posta-certificata unsigned", "ordinary ordinary unsigned",
		},
		"signature": {
			"accettazione accettazione verified", "posta-certificata posta-certificata verified", "avvenuta-consegna avvenuta-consegna verified",
			"ordinary avvenuta-consegna invalid", "ordinary posta-certificata unsigned", "ordinary ordinary unsigned",
		},
	} {
		t.Run(trust, func(t *testing.T) {
			p := pecPlace(t, trust, office.Authority.PEM())
			stop := p.daemon()
			p.must("mailbox", "enable", anna)
			for _, m := range messages {
				p.deliver(m.message, anna, anna)
			}
			stop()
			list := p.entries(anna)
			if len(list) != len(messages) {
				t.Fatalf("%d entries, want %d", len(list), len(messages))
			}
			for i, e := range list {
				if got := e.Class + " " + e.Declared + " " + e.Signature; got != want[i] {
					t.Errorf("%s: %s, want %s", messages[i].name, got, want[i])
				}
			}
			p.must("verify")
		})
	}
}

// TestUntrusted has certified mail and no trust bundle.
func TestUntrusted(t *testing.T) {
	_, c := chain(t)
	p := pecPlace(t, "headers", nil)
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.deliver(string(c.Acceptance), anna, anna)
	list := p.entries(anna)
	if len(list) != 1 || list[0].Class != "accettazione" || list[0].Signature != "untrusted" {
		t.Errorf("got %+v", list)
	}
}

// TestFilter changes the filter between messages. It is in force from the next message, and what it leaves out is on record.
func TestFilter(t *testing.T) {
	_, c := chain(t)
	p := pecPlace(t, "headers", nil)
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	all := []string{string(c.Acceptance), string(c.Envelope), string(c.Deliveries[0].Message), message}
	for _, step := range []struct{ filter, want string }{
		{"certified,delivery", "posta-certificata avvenuta-consegna"},
		{"acceptance", "accettazione"},
		{"other", "ordinary"},
	} {
		before := len(p.entries(anna))
		p.must("mailbox", "set", anna, "filter="+step.filter)
		for i, m := range all {
			// The same bytes would be the same delivery.
			p.deliver(fmt.Sprintf("Received: by mx.alpha.test id %s%d\r\n", strings.ReplaceAll(step.filter, ",", ""), i)+m, anna, anna)
		}
		var got []string
		for _, e := range p.entries(anna)[before:] {
			got = append(got, e.Class)
		}
		if strings.Join(got, " ") != step.want {
			t.Errorf("filter %s let through %v, want %s", step.filter, got, step.want)
		}
	}
	why := p.must("why", anna)
	if n := strings.Count(why, "skipped: filter"); n != 8 || strings.Contains(why, "first sent to") {
		t.Errorf("%d skips for the filter on record, want 8, none of them by another address:\n%s", n, why)
	}
	p.must("verify")
}

// TestQuota tries the three things that can happen to mail for a full archive.
func TestQuota(t *testing.T) {
	big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000)
	for _, tt := range []struct {
		full, want, gap string
	}{
		{"skip", "1 entries, 1 gap", "  full"}, {"make-room", "1 entries, 0 gap", "  made-room, 1 entries, 72.0 kB\n"},
		{"defer", "1 entries, 0 gap, 452", "  not-activated"},
	} {
		t.Run(tt.full, func(t *testing.T) {
			p := pecPlace(t, "headers", nil)
			defer p.daemon()()
			p.must("mailbox", "enable", anna)
			p.must("mailbox", "set", anna, "quota=100kB", "when_full="+tt.full)
			p.deliver("X-Number: 1\r\n"+big, anna, anna)
			second := p.try("X-Number: 2\r\n"+big, anna, anna)
			got := fmt.Sprintf("%d entries, %d gap", len(p.entries(anna)), strings.Count(p.must("why", anna), "gap: full"))
			if !second.Positive() {
				got += fmt.Sprintf(", %d", second.Code)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if gaps := p.must("gaps", anna); !strings.Contains(gaps, tt.gap) {
				t.Errorf("no gap %q:\n%s", tt.gap, gaps)
			}
			p.must("verify")
		})
	}
}

// TestListTellsOfOddCertification lists a receipt with odd certification data, whose header begins with 300 kB of References.
func TestListTellsOfOddCertification(t *testing.T) {
	office, c := chain(t)
	p := pecPlace(t, "signature", office.Authority.PEM())
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	odd := c.Notice(pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "bruno@beta.test", Variation: pectest.Variation{
		Certificate: func(s string) string {
			return strings.NewReplacer("<oggetto>", "<oggetto>a < b & c <d ", "</consegna>", "</consegna><consegna>carla@gamma.test</consegna>",
				"</identificativo>", "</identificativo><identificativo>altro@alpha.test</identificativo>").Replace(s)
		}}})
	p.deliver("References: "+strings.Repeat("<0123456789@alpha.test>\r\n ", 300<<10/26)+"\r\n"+string(odd), anna, anna)
	list := p.entries(anna)
	if len(list) != 1 || list[0].Certification == nil || list[0].Class != "avvenuta-consegna" || list[0].Subject == "" || list[0].MessageID == "" {
		t.Fatalf("got %+v", list)
	}
	got := list[0].Certification
	if got.DataError != "daticert.xml: identificativo: two values, neither counts" || got.Delivery != "bruno@beta.test" || !slices.Equal(got.OtherDeliveries, []string{"carla@gamma.test"}) ||
		got.Identifier != "" || !slices.Equal(got.Unread, []httpd.ElementView{{Element: "identificativo", Text: c.Identifier},
		{Element: "identificativo", Text: "altro@alpha.test"}}) {
		t.Errorf("got %+v", got)
	}
}

// TestListTellsOfCertification lists certified mail: for people with class and signature, with -json with all that was found at arrival.
func TestListTellsOfCertification(t *testing.T) {
	office, c := chain(t)
	p := pecPlace(t, "headers", office.Authority.PEM())
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	for _, m := range []string{string(c.Deliveries[0].Message), string(pectest.Tampered(c.Deliveries[0].Message)), message} {
		p.deliver(m, anna, anna)
	}
	list := p.entries(anna)
	if len(list) != 3 || list[0].Certification == nil || list[1].Certification == nil || list[2].Certification != nil {
		t.Fatalf("got %+v", list)
	}
	want := httpd.CertificationView{
		Type: "avvenuta-consegna", Error: "nessuno", Sender: "anna@alpha.test", Delivery: "bruno@beta.test", ReceiptKind: "completa",
		Recipients: []httpd.RecipientView{{Address: "bruno@beta.test", Kind: "certificato"}, {Address: "carla@gamma.test", Kind: "certificato"}},
		Provider:   "Beta certificata", Identifier: "opec288.20261103101112.00001.310.1.63@alpha.test", MessageID: "<client.1@alpha.test>",
		Signer:  "CN=Beta certificata,O=Beta certificata,C=IT",
		Subject: "Contratto", Replies: anna, Date: "03/11/2026 10:12:12", Zone: "+0100",
	}
	for i, reason := range []string{"", "the message was changed after it was signed"} {
		got := *list[i].Certification
		at := time.Date(2026, 11, 3, 9, 12, 12, 0, time.UTC)
		if got.Time == nil || !got.Time.Equal(at) || got.SigningTime == nil || !got.SigningTime.Equal(at) {
			t.Errorf("message %d: certified at %v, signed at %v, want %v", i, got.Time, got.SigningTime, at)
		}
		want.SignatureReason, got.Time, got.SigningTime = reason, nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("message %d:\n got %+v\nwant %+v", i, got, want)
		}
	}
	text := strings.Split(p.must("list", anna), "\n")
	for i, end := range []string{"[avvenuta-consegna, verified]", "[avvenuta-consegna, invalid]", "Perché"} {
		if !strings.HasSuffix(text[i], end) {
			t.Errorf("%q does not end in %q", text[i], end)
		}
	}
}
