package main

import (
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec/pectest"
)

// TestREMPractice shows the practice of a message that went out as REM. It is like one of PEC, and the evidences are listed.
func TestREMPractice(t *testing.T) {
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := office.Send(practiceMail, "")
	accepted := pectest.Evidence{Event: "SubmissionAcceptance", Reason: "MessageAccepted", Code: "RA01", Text: "Message accepted",
		Untrusted: []int{3}}
	delivered := pectest.Evidence{Event: "ContentConsignment", Reason: "MessageConsignedToRecipient", Code: "RD01", RefersTo: []int{1},
		After: time.Minute}
	failed := pectest.Evidence{Event: "ContentConsignmentFailure", Reason: "MessageNotConsignedForQuota", Code: "RD04",
		Text: "Not consigned for excessing recipient quota", RefersTo: []int{2}, After: time.Minute}
	p, spec := practicePlace(t, office)
	p.must("mailbox", "set", anna, "filter=other,sent-certified")
	p.deliver(string(c.REMReceipt(delivered)), anna, anna)
	p.send(spec, anna, practiceMail.To, c.Original)
	p.deliver(string(c.REMReceipt(accepted)), anna, anna)
	p.deliver(string(c.REMReceipt(failed)), anna, anna)
	// A message from somebody else to this mailbox is no practice of the mailbox.
	p.deliver(string(office.Send(practiceMail, "").REMDispatch(accepted)), anna, anna)
	p.wantTold("evidences", c.Identifier+": Contratto 1 by message-id: bruno@beta.test delivered; carla@gamma.test failed; dario@ext.test accepted")
	v := p.practices()[0]
	if got := v.Recipients; got[1].Reason != "MessageNotConsignedForQuota RD04 Not consigned for excessing recipient quota" ||
		got[2].Kind != "esterno" || got[0].Delivered == nil || !got[0].Delivered.Equal(c.Time.Add(time.Minute)) {
		t.Errorf("recipients %+v", got)
	}
	if r := v.Receipts; len(r) != 3 || r[0].Class != "rem" || r[0].Equivalent != "avvenuta-consegna" || strings.Join(r[0].Events, " ") != "ContentConsignment" {
		t.Errorf("receipts %+v", r)
	}
	if out := p.must("practice", anna); strings.Contains(out, "()") {
		t.Errorf("printed\n%s", out)
	}
	for _, e := range p.entries(anna) {
		if e.Direction == "sent" || e.Certification == nil {
			continue
		}
		list := e.Certification.Evidence
		if len(list) != 1 || len(list[0].Recipients) != 3 || list[0].Time == nil || list[0].MessageIdentifier == "" || e.Class != "rem" ||
			e.Signature != "verified" {
			t.Errorf("%s: %s %s %+v", e.Subject, e.Class, e.Signature, list)
		}
	}
	// The acceptance said which recipient has no certified mailbox. Mail to that recipient alone is now left out.
	before := len(p.entries(anna))
	p.send(spec, anna, []string{"dario@ext.test"}, []byte("Subject: x\r\n\r\nx\r\n"))
	if n := len(p.entries(anna)) - before; n != 0 {
		t.Errorf("%d messages to a recipient without REM, want none", n)
	}
}
