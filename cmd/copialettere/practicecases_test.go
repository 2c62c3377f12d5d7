package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// practicePlace returns a place with hooks for both directions that trusts the authority of testdata/practice and that of an office.
func practicePlace(t *testing.T, office *pectest.Office) (*place, string) {
	t.Helper()
	p, spec := sentPlace(t)
	bundle := filepath.Join(p.dir, "bundle.pem")
	p.configure(fmt.Sprintf("[pec]\ntrust = \"signature\"\ntrust_bundle = %q\n", bundle))
	pem := testMessage(t, "pec-ca.pem")
	if office != nil {
		pem += string(office.Authority.PEM())
	}
	if err := os.WriteFile(bundle, []byte(pem), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.daemon())
	p.must("mailbox", "enable", anna)
	return p, spec
}

// told returns the practices, each in one line, sorted.
func (p *place) told(args ...string) string {
	p.t.Helper()
	var list []string
	for _, v := range p.practices(args...) {
		list = append(list, fmt.Sprintf("%s: %s %d by %s: %s", v.Identifier, v.Subject, v.UID, v.LinkedBy, outcomes(v)))
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

func (p *place) wantTold(what, want string) {
	p.t.Helper()
	if got := p.told(); got != want {
		p.t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}

// TestPracticeOneMessageID has two messages with one Message-ID: each has its own practice.
func TestPracticeOneMessageID(t *testing.T) {
	p, spec := practicePlace(t, nil)
	p.send(spec, anna, []string{"bruno@beta.test"}, []byte(testMessage(t, "pec-p3-sent-uno.eml")))
	p.send(spec, anna, []string{"dora@gamma.test"}, []byte(testMessage(t, "pec-p3-sent-due.eml")))
	p.deliver(testMessage(t, "pec-p3-accettazione-due.eml"), anna, anna)
	p.wantTold("one acceptance", "P3B@pec.alpha.test: Due 2 by message-id, recipients: dora@gamma.test accepted past-24h")
	p.deliver(testMessage(t, "pec-p3-accettazione-uno.eml"), anna, anna)
	p.wantTold("both acceptances", "P3A@pec.alpha.test: Uno 1 by message-id, recipients: bruno@beta.test accepted past-24h\n"+
		"P3B@pec.alpha.test: Due 2 by message-id, recipients: dora@gamma.test accepted past-24h")
}

// TestPracticeKnownAfterAll has an acceptance that takes a recipient for one without PEC, and then the recipient's delivery receipt.
func TestPracticeKnownAfterAll(t *testing.T) {
	p, _ := practicePlace(t, nil)
	p.deliver(testMessage(t, "pec-p4-accettazione-esterno.eml"), anna, anna)
	if v := p.practices()[0]; v.Recipients[0].Kind != "esterno" || v.Recipients[0].Waiting != "" {
		t.Errorf("accepted: %+v", v)
	}
	p.deliver(testMessage(t, "pec-p4-consegna.eml"), anna, anna)
	if v := p.practices()[0]; v.Recipients[0].Kind != "certificato" || v.Recipients[0].Status != pec.StatusDelivered {
		t.Errorf("delivered: %+v", v)
	}
	if out := p.must("practice", anna); strings.Contains(out, "no PEC address") {
		t.Errorf("printed\n%s", out)
	}
}

// TestPracticeUnnamed has a failure of one of two recipients that does not say which, and then the delivery to one of them.
func TestPracticeUnnamed(t *testing.T) {
	p, _ := practicePlace(t, nil)
	p.deliver(testMessage(t, "pec-p10-errore-without-consegna.eml"), anna, anna)
	p.wantTold("failure", "P10@pec.alpha.test: Prova 0 by : bruno@beta.test failed-unnamed past-24h; dora@gamma.test failed-unnamed past-24h")
	if v := p.practices()[0]; v.Recipients[0].Reason != "no-dest 5.1.1 utente inesistente" {
		t.Errorf("reason %q", v.Recipients[0].Reason)
	}
}

// TestPracticeWithoutID has a message whose sender's program set no Message-ID. The acceptance leads to it, which is a guess and shown as one.
func TestPracticeWithoutID(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	office.Clock = time.Now().Truncate(time.Second)
	mail := practiceMail
	mail.MessageID, mail.Subject = "", "Perché no"
	c := office.Send(mail, "")
	other := mail
	other.Subject = "Altro"
	p, spec := practicePlace(t, office)
	p.send(spec, anna, mail.To, c.Original)
	p.send(spec, anna, mail.To, other.Bytes())
	p.deliver(string(c.Acceptance), anna, anna)
	p.wantTold("acceptance", c.Identifier+": Perché no 1 by guess: "+
		"bruno@beta.test accepted under-12h; carla@gamma.test accepted under-12h; dario@ext.test accepted")
	if out := p.must("practice", anna); !strings.Contains(out, ", a guess: no id leads there)") {
		t.Errorf("printed\n%s", out)
	}
	// A receipt that encloses the message makes it more than a guess. One that encloses another text does not.
	p.deliver(string(c.Deliveries[0].Message), anna, anna)
	if v := p.practices("1"); len(v) != 1 || v[0].LinkedBy != pec.MatchContent {
		t.Errorf("with the message: %+v", v)
	}
	mail.Subject = "Altro"
	c = office.Send(mail, "")
	p.deliver(string(c.Acceptance), anna, anna)
	c.Rewritten = []byte(strings.Replace(string(c.Rewritten), "In allegato.", "In Allegato.", 1))
	p.deliver(string(c.Notice(pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "bruno@beta.test"})), anna, anna)
	if v := p.practices("2"); len(v) != 1 || v[0].LinkedBy != pec.MatchGuess || v[0].Recipients[0].Receipt != "completa" {
		t.Errorf("with another text: %+v", v)
	}
}

// TestPracticeIDs has ids that are hard to link: longer than the key of a link, just as long, written with a comment, with a zero byte.
func TestPracticeIDs(t *testing.T) {
	id := func(n int) string { return strings.Repeat("x", n-len("@a.test")) + "@a.test" }
	for name, c := range map[string]struct{ field, client string }{
		"longest as it is": {"<" + id(253) + ">", "<" + id(253) + ">"},
		"one more":         {"<" + id(254) + ">", "<" + id(254) + ">"},
		"longest line":     {"<" + id(985) + ">", "<" + id(985) + ">"},
		"comment":          {"<1@a.test> (added by mx.test)", "<1@a.test>"},
		"blanks":           {"< 1@a.test >", "<1@a.test>"},
		"zero byte":        {"<1\x00@a.test>", "<1@a.test>"},
	} {
		t.Run(name, func(t *testing.T) {
			office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
			mail := practiceMail
			mail.MessageID = c.client
			chain := office.Send(mail, "")
			p, spec := practicePlace(t, office)
			p.send(spec, anna, mail.To, []byte(strings.Replace(string(chain.Original), c.client, c.field, 1)))
			p.deliver(string(chain.Acceptance), anna, anna)
			if list := p.practices(); len(list) != 1 || list[0].LinkedBy != pec.MatchMessageID || list[0].UID != 1 {
				t.Errorf("got %+v", list)
			}
		})
	}
}

// TestPracticeDisplayName has receipts that give a recipient a display name.
func TestPracticeDisplayName(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := practiceMail
	mail.To = []string{"bruno@beta.test"}
	c := office.Send(mail, "")
	named := pectest.Variation{Certificate: func(s string) string {
		return strings.ReplaceAll(s, ">bruno@beta.test<", ">&quot;Rossi, Bruno&quot; &lt;Bruno@beta.test&gt;<")
	}}
	p, spec := practicePlace(t, office)
	p.send(spec, anna, mail.To, c.Original)
	p.deliver(string(c.Acceptance), anna, anna)
	p.deliver(string(c.Notice(pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "bruno@beta.test", Variation: named})), anna, anna)
	p.wantTold("delivery", c.Identifier+": Contratto 1 by message-id: bruno@beta.test delivered completa")
}

// TestPracticeLateAlone has a notice of delay without an acceptance. It says how long the message has waited at least.
func TestPracticeLateAlone(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	office.Clock = time.Now().Add(-13 * time.Hour).Truncate(time.Second)
	mail := practiceMail
	mail.To = []string{"bruno@beta.test"}
	c := office.Send(mail, "")
	p, _ := practicePlace(t, office)
	p.deliver(string(c.Notice(pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: "bruno@beta.test", After: 12 * time.Hour})), anna, anna)
	p.wantTold("notice", c.Identifier+": Contratto 0 by : bruno@beta.test late-12h past-12h")
}

// TestForgedReceiptTakesNothing has an unsigned receipt for a message that was sent. The message still waits for its receipts.
func TestForgedReceiptTakesNothing(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := practiceMail
	c := office.Send(mail, "")
	p, spec := practicePlace(t, office)
	p.send(spec, anna, mail.To, c.Original)
	forged := c.Notice(pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "bruno@beta.test",
		Variation: pectest.Variation{Unsigned: true, Certificate: func(s string) string {
			return strings.ReplaceAll(s, c.Identifier, "forged@alpha.test")
		}}})
	p.deliver(string(forged), anna, anna)
	list := p.practices("1")
	if len(list) != 2 || list[0].Identifier != "forged@alpha.test" || outcomes(list[0]) != "" || list[0].UID != 1 ||
		!strings.HasPrefix(list[0].Receipts[0].NotBelieved, "signature unsigned") {
		t.Fatalf("got %+v", list)
	}
	if got := outcomes(list[1]); got != "bruno@beta.test ; carla@gamma.test ; dario@ext.test " {
		t.Errorf("the message that was sent: %q", got)
	}
}

// TestPracticeOfAnotherSender has true receipts for somebody else's message with the same Message-ID and one of the recipients, passed on to this
// mailbox. They say nothing about this mailbox's own message.
func TestPracticeOfAnotherSender(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := practiceMail
	mail.To = []string{"bruno@beta.test"}
	p, spec := practicePlace(t, office)
	p.send(spec, anna, mail.To, office.Send(mail, "").Original)
	mail.From = "eva@alpha.test"
	c := office.Send(mail, "")
	p.deliver(string(c.Acceptance), anna, anna)
	p.deliver(string(c.Deliveries[0].Message), anna, anna)
	p.wantTold("receipts", c.Identifier+": Contratto 0 by : bruno@beta.test delivered completa")
	if out := p.must("practice", anna); !strings.Contains(out, "Contratto  (not archived, sent by eva@alpha.test)") {
		t.Errorf("printed\n%s", out)
	}
	if v := p.practices("1"); len(v) != 1 || outcomes(v[0]) != "bruno@beta.test " {
		t.Errorf("the message that was sent: %+v", v)
	}
}

// TestReceiptAgainstItsHeader has certification data of a delivery under a header that says something else. With trust in headers, it is no
// delivery receipt.
func TestReceiptAgainstItsHeader(t *testing.T) {
	for name, header := range map[string]string{
		"posta-certificata": "X-Trasporto: posta-certificata\r\nX-Ricevuta: avvenuta-consegna", "accettazione": "X-Ricevuta: accettazione",
	} {
		office, c := chain(t)
		p := pecPlace(t, "headers", office.Authority.PEM())
		stop := p.daemon()
		p.must("mailbox", "enable", anna)
		p.deliver(strings.Replace(string(c.Deliveries[0].Message), "X-Ricevuta: avvenuta-consegna", header, 1), anna, anna)
		stop()
		v := p.practices()
		if len(v) != 1 || outcomes(v[0]) != "" || v[0].Receipts[0].NotBelieved != "its header says "+name+", its certification data avvenuta-consegna" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
