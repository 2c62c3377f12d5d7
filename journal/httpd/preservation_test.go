package httpd

import (
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
	"copialettere/policy/preservation"
)

// handedOver puts a package of a day on record for an archive, with its receipt.
func (r *rig) handedOver(name string, day time.Time) preservation.Package {
	r.t.Helper()
	now := day.UTC().Round(0)
	p := preservation.Package{Day: now.Format(time.DateOnly), Name: now.Format(time.DateOnly) + "_" + name + ".zip", Messages: 1, Size: 4711, SHA256: "1a2b", Made: now}
	if _, err := r.backend.Archive.AddPackage(r.t.Context(), name, p); err != nil {
		r.t.Fatal(err)
	}
	p.Receipts = []preservation.Receipt{{Name: p.Name + ".p7m", Time: now, SHA256: "3c4d", Size: 5}}
	err := r.backend.Archive.PackageChanged(r.t.Context(), preservation.Place{Archive: name, Day: p.Day}, func(there *preservation.Package) { there.Receipts = p.Receipts })
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// TestPreservation tells of the package of each certified message, of those of a mailbox, and of all.
func TestPreservation(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	draft := r.journal.NewDraft(t.Context())
	defer draft.Discard()
	if _, err := draft.Write([]byte("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	intent := journal.Intent{Mailbox: "anna@alpha.test", Direction: journal.Received, RcptTo: "anna@alpha.test", Class: string(pec.PostaCertificata)}
	if _, err := draft.Commit(t.Context(), journal.Envelope{Transaction: "T1"}, []journal.Intent{intent}, nil); err != nil {
		t.Fatal(err)
	}
	r.deliver("anna@alpha.test")
	if list := get[archive.Preserved](r, "GET /preservation?"); len(list) != 0 {
		t.Errorf("before: %+v", list)
	}
	arrived := get[EntryView](r, "GET /mailboxes/{mailbox}/entries?"+anna)[0].Time
	p := r.handedOver("anna@alpha.test", arrived)
	for _, question := range []string{"GET /preservation?", "GET /mailboxes/{mailbox}/preservation?" + anna} {
		list := get[archive.Preserved](r, question)
		if len(list) != 1 || list[0].Mailbox != "anna@alpha.test" || list[0].State != preservation.StateReceived || list[0].Name != p.Name {
			t.Errorf("%s: %+v", question, list)
		}
	}
	for _, question := range []string{"GET /mailboxes/{mailbox}/entries?" + anna, "GET /mailboxes/{mailbox}/messages?" + anna} {
		for _, e := range get[EntryView](r, question) {
			in := e.Preservation
			switch certified := e.Class == string(pec.PostaCertificata); {
			case (in != nil) != certified:
				t.Errorf("%s: %s: %+v", question, e.Class, in)
			case certified && (in.Package != p.Name || in.Receipt == nil || in.Receipt.Name != p.Name+".p7m" || !in.Receipt.Time.Equal(p.Receipts[0].Time)):
				t.Errorf("%s: %+v", question, in)
			}
		}
	}
	mailbox, _ := policy.ParseMailbox("anna@alpha.test")
	for _, test := range []struct {
		name string
		who  policy.Actor
		of   *policy.Address
		want bool
	}{
		{"the owner", policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, &mailbox, true},
		{"another owner", policy.Actor{Role: policy.RoleOwner, Name: "bruno@alpha.test"}, &mailbox, false},
		{"the postmaster", policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}, &mailbox, false},
		{"the owner, of all", policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, nil, false},
	} {
		for _, err := range r.backend.Archive.Packages(t.Context(), test.who, test.of, time.Now()) {
			if (err == nil) != test.want || err != nil && !strings.Contains(err.Error(), policy.ErrForbidden.Error()) {
				t.Errorf("%s: %v", test.name, err)
			}
		}
	}
	log := get[archive.Mailbox](r, "GET /mailboxes/{mailbox}?"+anna)[0].Changes
	if !slices.ContainsFunc(log, func(c policy.Change) bool {
		return c.Key == archive.KeyExport && c.After == archive.ExportedPreserved+p.Name
	}) {
		t.Errorf("the log: %+v", log)
	}
}
