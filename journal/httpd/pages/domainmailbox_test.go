package pages

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
)

const (
	annaManaged  = "/domain/alpha.test/mailboxes/anna@alpha.test/"
	brunoManaged = "/domain/alpha.test/mailboxes/bruno@alpha.test/"
)

// TestDomainMailbox shows a mailbox to its postmaster, without a way to its messages, in both languages.
func TestDomainMailbox(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("postmaster@alpha.test")
	w := b.get(annaManaged)
	r.holds(w, http.StatusOK, "anna@alpha.test", "Blocco legale", "non legge i messaggi")
	if page := w.Body.String(); strings.Contains(page, "/mailbox/anna") || strings.Contains(page, "/messages") || len(page) > 60_000 {
		t.Errorf("%d bytes, with a link to messages: %s", len(page), page)
	}
	_, err := r.archive.Set(t.Context(), operator, r.address("postmaster@alpha.test"), []policy.Assignment{{Key: policy.KeyLanguage, Value: "en"}})
	r.must(err)
	r.holds(b.get(annaManaged), http.StatusOK, "Legal hold", "does not read the messages")
	for _, page := range []string{"settings", "delegates", "app-passwords", "log", "terms", "address", "gaps"} {
		if w := b.get(annaManaged + page); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "/mailbox/anna") {
			t.Errorf("%s: %d: %s", page, w.Code, mainOf(w))
		}
	}
	r.holds(b.get(annaManaged+"gaps"), http.StatusOK, "anna@alpha.test", "the archive had never been on", `href="./"`)
	// A postmaster reads no message, and makes no way to sign in.
	for _, path := range []string{"/mailbox/anna@alpha.test/", annaManaged + "messages", annaManaged + "zip"} {
		if w := b.get(path); w.Code == http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := b.post(annaManaged+"app-passwords", "name=phone"); w.Code < 400 {
		t.Errorf("an app password: %d: %s", w.Code, mainOf(w))
	}
}

// TestDomainActs carries out each act of a postmaster, and sees what became of the mailbox.
func TestDomainActs(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("postmaster@alpha.test")
	anna := func() policy.Settings { return r.settings("anna@alpha.test") }
	for _, step := range []struct {
		name, path, form string
		status           int // 303 where 0
		holds            func() bool
	}{
		{"enable", brunoManaged + "archive/enable", "", 0, func() bool { return r.settings("bruno@alpha.test").State() == policy.StateOn }},
		{"pause", annaManaged + "archive/pause", "", 0, func() bool { return anna().State() == policy.StatePaused }},
		{"resume", annaManaged + "archive/resume", "", 0, func() bool { return anna().State() == policy.StateOn }},
		{"write mode asks first", annaManaged + "settings/write", "write=on", http.StatusOK, func() bool { return !anna().Write }},
		{"write mode", annaManaged + "settings/write", "write=on&confirmed=yes", 0, func() bool { return anna().Write }},
		{"IMAP access", annaManaged + "settings/imap", "imap=on", 0, func() bool { return anna().IMAP }},
		{"quota", annaManaged + "settings/room", "quota=2GB&when_full=skip", 0, func() bool { return anna().Quota == 2e9 }},
		{"making room asks first", annaManaged + "settings/room", "quota=2GB&when_full=make-room", http.StatusOK, func() bool { return anna().WhenFull == policy.WhenFullSkip }},
		{"retention asks first", annaManaged + "settings/retention", "retention=6", http.StatusOK, func() bool { return anna().Retention == 0 }},
		{"retention", annaManaged + "settings/retention", "retention=6&confirmed=yes", 0, func() bool { return anna().Retention == 6 }},
		{"hold without a reason", annaManaged + "hold", "reason=+", http.StatusUnprocessableEntity, func() bool { return !anna().Held() }},
		{"hold", annaManaged + "hold", "reason=case+7", 0, func() bool { return anna().Hold.Reason == "case 7" }},
		{"disable while held", annaManaged + "archive/disable", "confirm=anna@alpha.test", http.StatusConflict, func() bool { return anna().State() == policy.StateOn }},
		{"release", annaManaged + "release", "", 0, func() bool { return !anna().Held() }},
		{"disable, mistyped", annaManaged + "archive/disable", "confirm=anna", http.StatusUnprocessableEntity, func() bool { return anna().State() == policy.StateOn }},
		{"disable", annaManaged + "archive/disable", "confirm=anna@alpha.test", 0, func() bool { return anna().Erasure.State == policy.ErasureDue }},
		{"restore", annaManaged + "archive/restore", "", 0, func() bool { return anna().State() == policy.StateOn }},
		{"rename without confirmation", annaManaged + "rename", "to=anna.rossi", http.StatusUnprocessableEntity, func() bool { return anna().State() == policy.StateOn }},
		{"rename to another domain", annaManaged + "rename", "to=anna@beta.test&confirmed=yes", http.StatusUnprocessableEntity,
			func() bool { return r.settings("anna@beta.test").State() == policy.StateOff }},
		{"rename to one that is there", annaManaged + "rename", "to=bruno@alpha.test&confirmed=yes", http.StatusUnprocessableEntity,
			func() bool { return anna().State() == policy.StateOn }},
		{"rename", annaManaged + "rename", "to=anna.rossi&confirmed=yes", 0, func() bool { return r.settings("anna.rossi@alpha.test").Quota == 2e9 }},
		{"hand over, mistyped", brunoManaged + "hand-over", "confirm=x", http.StatusUnprocessableEntity, func() bool { return r.closed() == 0 }},
		{"hand over", brunoManaged + "hand-over", "confirm=bruno@alpha.test", 0, func() bool { return r.closed() == 1 }},
		{"no second factor", brunoManaged + "second-factor/end", "", http.StatusConflict, func() bool { return true }},
	} {
		if step.status == 0 {
			step.status = http.StatusSeeOther
		}
		w := b.post(step.path, step.form)
		if w.Code != step.status || !step.holds() {
			t.Errorf("%s: %d, held: %v: %s", step.name, w.Code, step.holds(), mainOf(w))
		}
		if step.status == http.StatusSeeOther {
			if next := b.get(w.Header().Get("Location")); next.Code != http.StatusOK {
				t.Errorf("%s: leads to %s: %d: %s", step.name, w.Header().Get("Location"), next.Code, mainOf(next))
			}
		}
	}
}

// TestDomainExport tells a postmaster, before messages are lost, how they can be kept.
func TestDomainExport(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("postmaster@alpha.test")
	for path, form := range map[string]string{"settings/retention": "retention=6", "settings/room": "quota=2GB&when_full=make-room"} {
		r.holds(b.post(annaManaged+path, form), http.StatusOK, "file ZIP")
	}
	r.holds(b.get(annaManaged+"archive/disable"), http.StatusOK, "mese per mese")
}

// closed returns how many archives of former people there are.
func (r *rig) closed() (n int) {
	for m, err := range r.policy.Mailboxes(r.t.Context()) {
		r.must(err)
		if m.State() == policy.StateClosed {
			n++
		}
	}
	return n
}

// TestDomainDelegate makes somebody a delegate by postmaster and operator together: one alone does not suffice, and it shows in the owner's log.
func TestDomainDelegate(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("postmaster@alpha.test")
	until := time.Now().AddDate(0, 0, 3).Format(time.DateOnly)
	r.leads(b.post(annaManaged+"delegates", "person=bruno@alpha.test&until="+until), annaManaged+"delegates?done=delegated")
	reads := func() bool {
		end, err := r.auth.Delegated(t.Context(), r.address("bruno@alpha.test"), r.address("anna@alpha.test"))
		r.must(err)
		return !end.IsZero()
	}
	if reads() {
		t.Error("the postmaster alone made a delegate")
	}
	r.holds(b.get(annaManaged+"delegates"), http.StatusOK, "in attesa del gestore")
	_, err := r.archive.AddDelegate(t.Context(), operator, r.address("anna@alpha.test"), r.address("bruno@alpha.test"), time.Now().AddDate(0, 0, 2))
	r.must(err)
	if !reads() {
		t.Error("postmaster and operator together did not make a delegate")
	}
	r.holds(r.signedIn("anna@alpha.test").get("/mailbox/anna@alpha.test/log"), http.StatusOK, "bruno@alpha.test", "postmaster postmaster@alpha.test")
	r.leads(b.post(annaManaged+"delegates/revoke", "person=bruno@alpha.test"), annaManaged+"delegates?done=revoked")
	if reads() {
		t.Error("a revoked delegate reads")
	}
}
