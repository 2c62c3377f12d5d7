package pectest_test

import (
	"bytes"
	"reflect"
	"testing"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

func mail() pectest.Mail {
	return pectest.Mail{To: []string{"anna@beta.test", "bruno@gamma.test"}, Cc: []string{"carla@beta.test", "dario@ext.test"},
		Subject: "Fattura", Text: "Perché no?\n",
		MessageID: "auto", Attachments: []pectest.Attachment{pectest.Binary("dati.bin", 20_000, 1)}}
}

func TestChain(t *testing.T) {
	tests := []struct {
		asked string
		kinds []string // of the delivery receipts, in the order of the recipients with PEC
	}{
		{"", []string{"completa", "completa", "sintetica"}},
		{"completa", []string{"completa", "completa", "sintetica"}},
		{"breve", []string{"breve", "breve", "sintetica"}},
		{"sintetica", []string{"sintetica", "sintetica", "sintetica"}},
	}
	for _, test := range tests {
		t.Run(test.asked, func(t *testing.T) {
			c := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail")).Send(mail(), test.asked)
			var kinds []string
			for _, d := range c.Deliveries {
				kinds = append(kinds, d.Kind)
				if whole := bytes.Contains(d.Message, c.Rewritten); whole != (d.Kind == pec.ReceiptComplete) {
					t.Errorf("the receipt %s of %s encloses the message: %v", d.Kind, d.Recipient, whole)
				}
			}
			if !reflect.DeepEqual(kinds, test.kinds) {
				t.Errorf("kinds %q", kinds)
			}
			if !bytes.Contains(c.Envelope, c.Rewritten) || bytes.Contains(c.Acceptance, c.Rewritten) || c.Taken == nil {
				t.Error("the messages do not enclose what they should")
			}
			if bytes.Contains(c.Original, []byte(c.Identifier)) || !bytes.Contains(c.Rewritten, []byte("Message-ID: <"+c.Identifier+">")) {
				t.Error("the access point did not set the Message-ID")
			}
			for _, message := range [][]byte{c.Original, c.Envelope, c.Acceptance} {
				if bytes.Count(message, []byte("\n")) != bytes.Count(message, []byte("\r\n")) {
					t.Error("a line that does not end in CRLF")
				}
			}
		})
	}
}

// TestChainIsTheSameEveryTime makes the same chain in two offices and compares them.
func TestChainIsTheSameEveryTime(t *testing.T) {
	var chains []*pectest.Chain
	for range 2 {
		chains = append(chains, pectest.NewOffice(pectest.ShapeOf("namirial"), pectest.ShapeOf("odd")).Send(mail(), "breve"))
	}
	for i, a := range chains[0].Deliveries {
		if !bytes.Equal(a.Message, chains[1].Deliveries[i].Message) {
			t.Errorf("the receipt of %s differs", a.Recipient)
		}
	}
	if !bytes.Equal(chains[0].Envelope, chains[1].Envelope) {
		t.Error("the envelope differs")
	}
}

func TestNoRecipientWithPEC(t *testing.T) {
	c := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba")).Send(pectest.Mail{To: []string{"dario@ext.test"},
		Subject: "x", Text: "x\n"}, "")
	if c.Taken != nil || c.Deliveries != nil || c.Recipients[0].Kind != pec.KindExternal {
		t.Errorf("taken %q, %d deliveries, recipients %+v", c.Taken, len(c.Deliveries), c.Recipients)
	}
	if bytes.Contains(c.Acceptance, []byte("X-Riferimento-Message-ID")) {
		t.Error("a reference to a Message-ID that was not set")
	}
}

// BenchmarkSend makes a message for three recipients with all its receipts.
func BenchmarkSend(b *testing.B) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	m := mail()
	m.Attachments[0] = pectest.Binary("dati.bin", 200_000, 2)
	for b.Loop() {
		o.Send(m, "completa")
	}
}

// TestWords checks a provider with words and boundaries of its own, and an enclosed message in HTML.
func TestWords(t *testing.T) {
	for _, shape := range pectest.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			office := pectest.NewOffice(shape, shape)
			office.Sender.Letter = func(text string) (plain, html string) {
				return "Gentile cliente\n\n" + text, "<b>Gentile cliente</b>\n" + text
			}
			office.Sender.Boundary = func(usual string) string { return usual + "_42" }
			m := mail()
			m.HTML, m.Boundary = "<p>Perché no?</p>\n", "confine"
			chain := office.Send(m, "")
			for _, message := range [][]byte{chain.Acceptance, chain.Envelope} {
				if !bytes.Contains(message, []byte("\r\nGentile cliente\r\n")) || bytes.Contains(message, []byte("<b>Gentile cliente</b>\r\n")) != shape.HTML {
					t.Error("not the words of the provider")
				}
				if bytes.Count(message, []byte("----3F1A5C7E9B2D4F60_42")) != 4 {
					t.Error("not the boundary of the provider")
				}
			}
			if !bytes.Contains(chain.Envelope, []byte("\r\n--confine_text\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Perch=C3=A9 no?</p>\r\n")) {
				t.Errorf("no HTML in %s", chain.Envelope)
			}
		})
	}
}
