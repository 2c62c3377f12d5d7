package pages

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// TestHealth counts what came in to one domain and what did not, in both languages, and tells nothing of other domains.
func TestHealth(t *testing.T) {
	r := newRig(t)
	_, err := r.archive.Enable(t.Context(), operator, r.address("carla@beta.test"))
	r.must(err)
	for range 3 {
		r.journaled("anna@alpha.test", journal.Received)
	}
	r.journaled("anna@alpha.test", journal.Sent)
	for range 7 {
		r.journaled("carla@beta.test", journal.Received)
	}
	now := time.Now()
	r.must(r.journal.Record(t.Context(),
		journal.Record{Kind: journal.Skip, Mailbox: "anna@alpha.test", Time: now, Reason: policy.ReasonAlias, MessageID: "<1@beta.test>"},
		journal.Record{Kind: journal.Skip, Mailbox: "anna@alpha.test", Time: now, Reason: policy.ReasonAlias, MessageID: "<2@beta.test>"},
		journal.Record{Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: now, Reason: journal.ReasonFull},
		journal.Record{Kind: journal.Skip, Mailbox: "anna@alpha.test", Time: now.AddDate(0, 0, -20), Reason: policy.ReasonForward},
		journal.Record{Kind: journal.Skip, Mailbox: "carla@beta.test", Time: now, Reason: policy.ReasonList}))
	b := r.signedIn("postmaster@alpha.test")
	w := b.get("/domain/alpha.test/health")
	labels := policy.Labels(policy.VocabularyReasons)
	r.holds(w, http.StatusOK, "In 30 giorni: 3 ricevuti", "1 inviati", `<td>archiviato</td><td></td><td class="number">4</td>`,
		"<td>"+labels.Label(policy.ReasonAlias).Italian+`</td><td class="number">2</td>`, `<span class="badge bad">manca</span>`, "in funzione", "mai completata")
	page := mainOf(w)
	for _, label := range []string{labels.Label(policy.ReasonList).Italian, labels.Label(policy.ReasonForward).Italian, "carla"} {
		if strings.Contains(page, label) {
			t.Errorf("%q is there: %s", label, page)
		}
	}
	if strings.Count(page, `class="bar"`) != 30 || w.Body.Len() > 60_000 {
		t.Errorf("%d bars, %d bytes", strings.Count(page, `class="bar"`), w.Body.Len())
	}
	_, err = r.archive.Set(t.Context(), operator, r.address("postmaster@alpha.test"), []policy.Assignment{{Key: policy.KeyLanguage, Value: "en"}})
	r.must(err)
	r.journal.Suspend(errNoPage)
	r.holds(b.get("/domain/alpha.test/health"), http.StatusOK, "In 30 days: 3 received", "stopped: mail waits")
	r.journal.Suspend(nil)
}
