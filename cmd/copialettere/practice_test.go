package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/httpd"
	"copialettere/journal/part"
	"copialettere/lmtp/nexthop"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
	"copialettere/policy/pec/practice"
)

// sentPlace returns a place that also has a hook for sent mail, and the address of that hook.
func sentPlace(t *testing.T) (*place, string) {
	t.Helper()
	p := newPlace(t)
	hop := nexthoptest.Start(t, nexthoptest.Script{SMTP: true})
	p.configure(fmt.Sprintf("[sent]\nlisten = [\"unix:sent.sock\"]\nnext_hop = %q\nidentity = \"mail-from\"\n", hop.Spec()))
	p.must("init")
	return p, "smtp:unix:" + filepath.Join(p.dir, "data", "sent.sock")
}

// send sends a message through the hook for sent mail.
func (p *place) send(spec, from string, to []string, message []byte) {
	p.t.Helper()
	s, err := nexthop.ParseSpec(spec)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := nexthop.New(s, nexthop.Options{}).Connect(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Quit()
	conn.Mail(from, nil)
	for _, rcpt := range to {
		conn.Rcpt(rcpt, nil)
	}
	conn.Data()
	for range len(to) + 2 {
		if r, err := conn.Reply(p.t.Context()); err != nil || r.Code >= 400 {
			p.t.Fatalf("send: %v, %v", r, err)
		}
	}
	if _, err := conn.Write(message); err != nil {
		p.t.Fatal(err)
	}
	if err := conn.End(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	if r, err := conn.Reply(p.t.Context()); err != nil || !r.Positive() {
		p.t.Fatalf("send: %v, %v", r, err)
	}
}

func (p *place) practices(args ...string) []practice.Practice {
	p.t.Helper()
	_, out, _ := p.run(append([]string{"practice", anna, "-json"}, args...)...)
	var list []practice.Practice
	for line := range strings.Lines(out) {
		var v practice.Practice
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			p.t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// outcomes writes a practice in one line.
func outcomes(v practice.Practice) string {
	var list []string
	for _, r := range v.Recipients {
		text := r.Address + " " + string(r.Status)
		for _, more := range []string{r.Receipt, r.Brief, r.Waiting} {
			if more != "" {
				text += " " + more
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

var practiceMail = pectest.Mail{
	From: anna, To: []string{"bruno@beta.test", "carla@gamma.test", "dario@ext.test"}, Subject: "Contratto", Text: "In allegato.\n",
	MessageID: "<m1@client.alpha.test>", Attachments: []pectest.Attachment{pectest.Binary("contratto.pdf", 30_000, 1)},
}

// TestPractice delivers the receipts before, after and twice, in several orders: the state is the same.
func TestPractice(t *testing.T) {
	for seed := range uint64(4) {
		office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
		mail := practiceMail
		c := office.Send(mail, "completa")
		failure := c.Notice(pectest.Notice{Class: pec.ErroreConsegna, Recipient: "carla@gamma.test", After: time.Hour})
		steps := []func(p *place, spec string){
			func(p *place, spec string) { p.send(spec, anna, mail.To, c.Original) },
			func(p *place, _ string) { p.deliver(string(c.Acceptance), anna, anna) },
			func(p *place, _ string) { p.deliver(string(c.Deliveries[0].Message), anna, anna) },
			func(p *place, _ string) { p.deliver("Received: again\r\n"+string(c.Deliveries[0].Message), anna, anna) },
			func(p *place, _ string) { p.deliver(string(failure), anna, anna) },
		}
		if seed > 0 {
			rand.New(rand.NewPCG(seed, 1)).Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		}
		p, spec := sentPlace(t)
		stop := p.daemon()
		p.must("mailbox", "enable", anna)
		for _, step := range steps {
			step(p, spec)
		}
		list := p.practices()
		if len(list) != 1 {
			t.Fatalf("order %d: %d practices, want 1", seed, len(list))
		}
		v := list[0]
		if v.Identifier != c.Identifier || v.MessageID != "m1@client.alpha.test" || v.Folder == "" || v.UID != 1 || len(v.Receipts) != 4 {
			t.Errorf("order %d: %+v", seed, v)
		}
		if got, want := outcomes(v), "bruno@beta.test delivered completa; carla@gamma.test failed; dario@ext.test accepted"; got != want {
			t.Errorf("order %d: %s, want %s", seed, got, want)
		}
		if got := p.practices("1"); len(got) != 1 {
			t.Errorf("order %d: by UID: %d practices", seed, len(got))
		}
		if got := p.practices("2"); len(got) != 0 {
			t.Errorf("order %d: by another UID: %d practices", seed, len(got))
		}
		for id, want := range map[string]int{
			"<m1@client.alpha.test>": 1, c.Identifier: 1, part.MessageID(part.Value(c.Acceptance[:bytes.Index(c.Acceptance, []byte("\r\n\r\n"))+2], "Message-ID")): 1, "nobody@ext.test": 0,
		} {
			if got := p.practices("-message-id", id); len(got) != want || want > 0 && outcomes(got[0]) != outcomes(v) {
				t.Errorf("order %d: by the id %s: %+v", seed, id, got)
			}
		}
		if out := p.must("practice", anna); !strings.Contains(out, "bruno@beta.test") || !strings.Contains(out, "no PEC address") {
			t.Errorf("order %d: printed\n%s", seed, out)
		}
		p.fails(2, []string{"holds no id"}, "practice", anna, "-message-id", "<>")
		p.fails(2, []string{"not both"}, "practice", anna, "1", "-message-id", "x@ext.test")
		stop()
		p.must("verify")
	}
}

// TestPracticeDomainForms has a recipient whose domain is in ASCII in the envelope and in Unicode in the receipt: it is one recipient.
func TestPracticeDomainForms(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := practiceMail
	mail.To = []string{"dario@città.test"}
	c := office.Send(mail, "completa")
	p, spec := sentPlace(t)
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.send(spec, anna, []string{"dario@xn--citt-3na.test"}, c.Original)
	p.deliver(string(c.Acceptance), anna, anna)
	list := p.practices()
	if len(list) != 1 || outcomes(list[0]) != "dario@città.test accepted" {
		t.Errorf("got %+v", list)
	}
}

// TestBriefReceipt compares brief receipts with the message that was sent: the right one, another one, and none.
func TestBriefReceipt(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := office.Send(practiceMail, "breve")
	for name, tt := range map[string]struct {
		original []byte
		want     string
		parts    []practice.BriefPart
	}{
		"match":    {c.Original, "match", nil},
		"mismatch": {changedAttachment(t, c.Original), "mismatch", []practice.BriefPart{{Part: "2", ReceiptPart: "2", Name: "contratto.pdf", Result: "mismatch"}}},
		"text":     {changedText(t, c.Original), "mismatch", []practice.BriefPart{{Part: "1", ReceiptPart: "1", Result: "mismatch"}}},
		"none":     {nil, "original not archived", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, spec := sentPlace(t)
			defer p.daemon()()
			p.must("mailbox", "enable", anna)
			if tt.original != nil {
				p.send(spec, anna, practiceMail.To, tt.original)
			}
			p.deliver(string(c.Deliveries[0].Message), anna, anna)
			list := p.practices()
			if len(list) != 1 || !slices.ContainsFunc(list[0].Recipients, func(o practice.Outcome) bool {
				return o.Address == "bruno@beta.test" && o.Receipt == "breve" && o.Brief == tt.want && slices.Equal(o.BriefParts, tt.parts)
			}) {
				t.Errorf("got %+v", list)
			}
			if text := p.must("practice", anna); name == "text" && !strings.Contains(text, "compared with the archived message: mismatch (part 1)") {
				t.Errorf("shown as %s", text)
			}
		})
	}
}

// changedText returns the message with one letter of its text changed.
func changedText(t *testing.T, message []byte) []byte {
	t.Helper()
	text := strings.Split(practiceMail.Text, "\n")[0]
	i := strings.Index(string(message), text)
	if i < 0 {
		t.Fatal("the text is not in the message as it was written")
	}
	changed := slices.Clone(message)
	changed[i] ^= 1
	return changed
}

// changedAttachment returns the message with one byte of its attachment changed.
func changedAttachment(t *testing.T, message []byte) []byte {
	t.Helper()
	i := strings.Index(string(message), "contratto.pdf")
	j := strings.LastIndex(string(message), "\r\n\r\n")
	if i < 0 || j < i {
		t.Fatal("no attachment in the message")
	}
	changed := slices.Clone(message)
	for k := j + 4; k < len(changed); k++ {
		if changed[k] == 'A' {
			changed[k] = 'B'
			return changed
		}
	}
	t.Fatal("nothing to change in the attachment")
	return nil
}

// TestForgedReceipt delivers a receipt that nobody signed. With trust in signatures it does not count, and is shown with the reason.
func TestForgedReceipt(t *testing.T) {
	office, c := chain(t)
	p := pecPlace(t, "signature", office.Authority.PEM())
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.deliver(string(pectest.Tampered(c.Deliveries[0].Message)), anna, anna)
	for _, receipts := range [][]bool{{false}, {false, true}} {
		list := p.practices()
		if len(list) != 1 || len(list[0].Receipts) != len(receipts) {
			t.Fatalf("%d receipts: %+v", len(receipts), list)
		}
		for i, r := range list[0].Receipts {
			if believed := r.NotBelieved == ""; believed != receipts[i] || r.Class != "avvenuta-consegna" {
				t.Errorf("receipt %d: %+v", i, r)
			}
		}
		if got := outcomes(list[0]); (got == "") == receipts[len(receipts)-1] {
			t.Errorf("%d receipts: %q", len(receipts), got)
		}
		if out := p.must("practice", anna); !strings.Contains(out, "does not count: avvenuta-consegna (INBOX/") ||
			!strings.Contains(out, ": signature invalid: ") {
			t.Errorf("printed\n%s", out)
		}
		if len(receipts) == 1 {
			p.deliver(string(c.Deliveries[0].Message), anna, anna)
		}
	}
}

// TestSentFilter: the filter of sent mail decides by the list of domains and by what acceptance receipts taught, and in doubt archives.
func TestSentFilter(t *testing.T) {
	office, c := chain(t)
	p, spec := sentPlace(t)
	domains, bundle := filepath.Join(p.dir, "domains"), filepath.Join(p.dir, "bundle.pem")
	p.configure(fmt.Sprintf("[pec]\ntrust = \"signature\"\ntrust_bundle = %q\ndomains_file = %q\n", bundle, domains))
	for name, content := range map[string][]byte{domains: []byte("pec.test\n!ext.test\n"), bundle: office.Authority.PEM()} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.must("mailbox", "set", anna, "filter=other,acceptance,sent-certified")
	number := 0
	sentTo := func(to ...string) string {
		number++
		before := len(p.entries(anna))
		p.send(spec, anna, to, fmt.Appendf(nil, "Subject: %d\r\n\r\nText\r\n", number))
		list := p.entries(anna)
		if len(list) == before {
			return "skipped"
		}
		e := list[slices.IndexFunc(list, func(e httpd.EntryView) bool { return e.Subject == fmt.Sprint(number) })]
		return strings.Join(append([]string{e.SentTo}, e.Flags...), " ")
	}
	for _, step := range []struct {
		to   []string
		want string
	}{
		{[]string{"x@pec.test"}, "certified"},
		{[]string{"x@ext.test"}, "skipped"},
		{[]string{"x@ext.test", "y@pec.test"}, "certified"},
		{[]string{"bruno@beta.test"}, "unknown sent-to-unknown"},
	} {
		if got := sentTo(step.to...); got != step.want {
			t.Errorf("sent to %v: %s, want %s", step.to, got, step.want)
		}
	}
	// A receipt whose signature is broken teaches nothing, a good one does.
	p.deliver(string(pectest.Tampered(c.Acceptance)), anna, anna)
	if got := sentTo("bruno@beta.test"); got != "unknown sent-to-unknown" {
		t.Errorf("after a forged receipt: %s", got)
	}
	p.deliver(string(c.Acceptance), anna, anna)
	if got := sentTo("bruno@beta.test"); got != "certified" {
		t.Errorf("after an acceptance receipt: %s", got)
	}
	if n := strings.Count(p.must("why", anna), "skipped: filter"); n != 1 {
		t.Errorf("%d skips for the filter on record, want 1", n)
	}
}
