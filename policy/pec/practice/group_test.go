package practice

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy/pec"
)

const mailbox = "anna@alpha.test"

// sentEntry is the sent message of practice n.
func sentEntry(n int, at time.Time) *journal.Entry {
	id := fmt.Sprintf("c%d@alpha.test", n)
	return &journal.Entry{
		Ref: journal.Ref{Mailbox: mailbox, Month: "2026-11", Folder: "Sent", UID: uint32(n + 1)}, Direction: journal.Sent, Time: at,
		Envelope: journal.Envelope{MailFrom: mailbox}, Recipients: []string{"giove@pec.test"}, SentTo: "certified",
		Subject: fmt.Sprint("Contratto ", n), MessageID: "<" + id + ">", Links: []string{pec.ClientLink(id)},
	}
}

// receiptEntry is a receipt of practice n.
func receiptEntry(t *testing.T, n int, class pec.Class, at time.Time) *journal.Entry {
	t.Helper()
	r := pec.Record{Message: pec.Message{Class: class, Signed: -1, Daticert: -1, Postacert: -1, Data: &pec.Certification{
		Type: string(class), Error: "nessuno", Sender: mailbox, Recipients: []pec.Recipient{{Address: "giove@pec.test", Kind: pec.KindCertified}},
		Subject: fmt.Sprint("Contratto ", n), Time: at, Identifier: fmt.Sprintf("opec%d@pec.test", n), MessageID: fmt.Sprintf("<c%d@alpha.test>", n),
		Delivery: "giove@pec.test",
	}}}
	b, err := r.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &journal.Entry{Ref: journal.Ref{Mailbox: mailbox, Month: "2026-11", Folder: "INBOX", UID: uint32(n + 1)},
		Direction: journal.Received, Time: at, Class: string(class), Certification: b}
}

// TestPracticesOfManyYears has more practices than may be gathered, each with receipts in the days after it: every practice taken out early is
// whole, comes once, and in order of time.
func TestPracticesOfManyYears(t *testing.T) {
	const practices = mostGathered
	for _, c := range []struct {
		name  string
		pause time.Duration // between two sent messages
		most  int           // messages in memory
		whole bool
	}{
		{"over five years", 5 * 365 * 24 * time.Hour / practices, 5000, true},
		{"in a week", 7 * 24 * time.Hour / practices, mostGathered, false}, // some receipts come after their practice was taken out
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
			var entries []*journal.Entry
			for n := range practices {
				at := start.Add(time.Duration(n) * c.pause)
				entries = append(entries, sentEntry(n, at), receiptEntry(t, n, pec.Accettazione, at.Add(time.Minute)),
					receiptEntry(t, n, pec.AvvenutaConsegna, at.Add(20*time.Hour)))
			}
			slices.SortStableFunc(entries, func(a, b *journal.Entry) int { return a.Time.Compare(b.Time) })
			g := newGathering()
			receipts, sent, most, early := make(map[string]int), make(map[uint32]int), 0, 0
			var linked int
			tell := func(list []*group) {
				for _, p := range list {
					v := p.view(start)
					receipts[v.Identifier] += len(v.Receipts)
					if v.UID != 0 {
						sent[v.UID]++
					}
					if v.LinkedBy == pec.MatchMessageID && len(v.Receipts) == 2 && v.Recipients[0].Status == pec.StatusDelivered {
						linked++
					}
				}
			}
			for _, e := range entries {
				if err := g.add(e); err != nil {
					t.Fatal(err)
				}
				most = max(most, g.gathered)
				if g.full(e.Time) {
					old := g.takeOld(e.Time)
					early += len(old)
					tell(old)
				}
			}
			tell(g.join())
			if early < practices/2 {
				t.Errorf("%d practices were told before the end, want half of %d at least", early, practices)
			}
			if most > c.most {
				t.Errorf("%d messages were in memory at once, want %d at most", most, c.most)
			}
			if len(sent) != practices {
				t.Errorf("%d sent messages were told, want %d", len(sent), practices)
			}
			all := 0
			for _, n := range receipts {
				all += n
			}
			if all != 2*practices {
				t.Errorf("%d receipts were told, want %d", all, 2*practices)
			}
			if c.whole && linked != practices {
				t.Errorf("%d practices are whole, want %d", linked, practices)
			}
			for uid, times := range sent {
				if times != 1 && c.whole {
					t.Errorf("sent message %d was told %d times", uid, times)
				}
			}
		})
	}
}

// TestPracticeKeepsItsAge has a receipt that came long after its message: both stay together, and are not examined again with each message.
func TestPracticeKeepsItsAge(t *testing.T) {
	start := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGathering()
	late := start.Add(2*age - time.Hour)
	for _, e := range []*journal.Entry{sentEntry(1, start), receiptEntry(t, 1, pec.Accettazione, start.Add(time.Minute)), sentEntry(2, start),
		receiptEntry(t, 1, pec.AvvenutaConsegna, late)} {
		if err := g.add(e); err != nil {
			t.Fatal(err)
		}
		if g.full(e.Time) {
			t.Fatal("full too early")
		}
	}
	at := start.Add(2*age + time.Hour)
	if !g.full(at) {
		t.Fatal("not full")
	}
	if old := g.takeOld(at); len(old) != 1 || old[0].sent.ref.UID != 3 {
		t.Errorf("%d practices are old", len(old))
	}
	if g.full(at) {
		t.Error("still full")
	}
	if list := g.join(); len(list) != 1 || list[0].sent == nil || len(list[0].receipts) != 2 {
		t.Errorf("%d practices are left", len(list))
	}
}

// TestForgedReceiptsPushNothingOut has more receipts that are not believed than may be gathered, among those of a practice: some name that
// practice, others have their own. The practice stays whole, and little is in memory.
func TestForgedReceiptsPushNothingOut(t *testing.T) {
	start := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	const forged = mostGathered + mostClaims
	entries := []*journal.Entry{sentEntry(0, start), receiptEntry(t, 0, pec.Accettazione, start.Add(time.Minute))}
	for n := range forged {
		e := receiptEntry(t, n%2*n, pec.ErroreConsegna, start.Add(time.Hour))
		e.Class = string(pec.Ordinary)
		entries = append(entries, e)
	}
	entries = append(entries, receiptEntry(t, 0, pec.AvvenutaConsegna, start.Add(2*time.Hour)))
	g := newGathering()
	told, most := 0, 0
	tell := func(list []*group) {
		for _, p := range list {
			v := p.view(start)
			told += len(v.Receipts) + v.MoreNotBelieved
			if v.Identifier == "opec0@pec.test" && (v.LinkedBy != pec.MatchMessageID || v.Recipients[0].Status != pec.StatusDelivered ||
				len(v.Receipts) != 2+maxNotBelieved || v.MoreNotBelieved != forged/2-maxNotBelieved) {
				t.Errorf("%s, %d receipts and %d more, %+v", v.LinkedBy, len(v.Receipts), v.MoreNotBelieved, v.Recipients)
			}
		}
	}
	for _, e := range entries {
		if err := g.add(e); err != nil {
			t.Fatal(err)
		}
		if g.full(e.Time) {
			tell(g.takeOld(e.Time))
		}
		most = max(most, len(g.order))
	}
	tell(g.join())
	if told != forged+2 || most > mostClaims {
		t.Errorf("%d receipts were told, want %d; %d practices were in memory at once", told, forged+2, most)
	}
}

// TestImportedReceipts has receipts and sent messages that somebody put in by hand: what no signature proves does not count, and what counts says where it
// is from.
func TestImportedReceipts(t *testing.T) {
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	byHand := &journal.Import{Who: "owner " + mailbox, Date: start.AddDate(-1, 0, 0)}
	for _, c := range []struct {
		name          string
		sent, receipt bool // put in by hand
		signature     pec.Result
		status        pec.Status
		because       string
	}{
		{"by mail", false, false, pec.ResultUnsigned, pec.StatusDelivered, ""},
		{"receipt by hand", false, true, pec.ResultUnsigned, pec.StatusUnknown, "put in by hand, and no signature of a trusted provider proves it"},
		{"receipt by hand, signed by nobody known", false, true, pec.ResultUntrusted, pec.StatusUnknown,
			"put in by hand, and no signature of a trusted provider proves it"},
		{"receipt by hand, signed", false, true, pec.ResultVerified, pec.StatusDelivered, ""},
		{"sent message by hand", true, false, pec.ResultUnsigned, pec.StatusDelivered, ""},
	} {
		sent, receipt := sentEntry(1, start), receiptEntry(t, 1, pec.AvvenutaConsegna, start.Add(time.Hour))
		if c.sent {
			sent.Imported = byHand
		}
		if c.receipt {
			receipt.Imported = byHand
		}
		var r pec.Record
		if err := r.UnmarshalBinary(receipt.Certification); err != nil {
			t.Fatal(err)
		}
		r.Signature.Result = c.signature
		var err error
		if receipt.Certification, err = r.AppendBinary(nil); err != nil {
			t.Fatal(err)
		}
		g := newGathering()
		for _, e := range []*journal.Entry{sent, receipt} {
			if err := g.add(e); err != nil {
				t.Fatal(err)
			}
		}
		list := g.join()
		if len(list) == 0 {
			t.Fatalf("%s: no practice", c.name)
		}
		v := list[0].view(start.Add(2 * time.Hour))
		if len(v.Receipts) != 1 || v.Receipts[0].Imported != c.receipt || v.Receipts[0].NotBelieved != c.because || v.Imported != c.sent {
			t.Errorf("%s: %+v", c.name, v)
		}
		if status := statusOf(v); status != c.status {
			t.Errorf("%s: %q, want %q", c.name, status, c.status)
		}
	}
}

// statusOf returns the status of the only recipient, or none.
func statusOf(v *Practice) pec.Status {
	if len(v.Recipients) == 0 {
		return pec.StatusUnknown
	}
	return v.Recipients[0].Status
}
