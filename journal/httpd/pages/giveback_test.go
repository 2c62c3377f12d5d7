package pages

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"copialettere/policy"
	"copialettere/policy/archive"
)

// TestGiveBack puts messages back into the mailbox from the list and from the page of one, and sees what the mailstore says.
func TestGiveBack(t *testing.T) {
	var came []string
	answer := func(string) (string, error) { return "250 ok", nil }
	r := newRigWith(t, rigOptions{mailstore: func(_ context.Context, to policy.Address, _ int64, message io.WriterTo, commit func() error) (string, error) {
		var b strings.Builder
		if _, err := message.WriteTo(&b); err != nil {
			return "", err
		}
		_, after, _ := strings.Cut(b.String(), "Subject: ")
		subject, _, _ := strings.Cut(after, "\r\n")
		reply, err := answer(subject)
		if reply == "" {
			return "", err
		}
		if err := commit(); err != nil {
			return "", err
		}
		came = append(came, to.String()+" "+subject)
		return reply, err
	}})
	first, second := r.plainMail("Uno"), r.plainMail("Due")
	b := r.signedIn("anna@alpha.test")
	path := ofAnna + "messages/give-back"
	b.page(ofAnna + "messages").has("Rimetti nella casella…")
	b.page(ofAnna + "messages/" + url.PathEscape(first.FolderName()) + "/1").has("Rimetti nella casella…")

	d := b.sends(path, url.Values{"folder": {first.FolderName()}, "uid": {"1"}})
	d.has("Rimettere nella casella un messaggio?", "anna@alpha.test")
	if len(came) > 0 {
		t.Fatal("put back without a confirmation")
	}
	form := d.fields(path)
	b.sends(path, form).has("Rimesso nella casella: un messaggio")
	if w := b.post(path, form.Encode()); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "già stato rimesso") {
		t.Errorf("the same form again: %d: %s", w.Code, w.Body)
	}
	if got := strings.Join(came, ", "); got != "anna@alpha.test Uno" {
		t.Fatalf("the mailstore has %q", got)
	}

	// Both, of which the mailstore refuses one.
	answer = func(subject string) (string, error) {
		if subject == "Due" {
			return "452 4.2.2 <pieno>", fmt.Errorf("no: %w", archive.ErrMailstoreRefused)
		}
		return "250 ok", nil
	}
	d = b.sends(path, url.Values{"m": {placeValue(first), placeValue(second)}})
	d.has("Rimettere nella casella 2 messaggi?", "Già rimessi nella casella", "numero 1, il ", "titolare anna@alpha.test")
	b.sends(path, d.fields(path)).has("Rimessi nella casella solo in parte", "il server di posta non l'ha preso", "452 4.2.2 <pieno>")

	// It does not answer any more.
	r.set("language=en")
	b = r.signedIn("anna@alpha.test")
	answer = func(string) (string, error) { return "", archive.ErrMailstore }
	d = b.sends(path, url.Values{"m": {placeValue(second)}})
	if w := b.post(path, d.fields(path).Encode()); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without an answer: %d: %s", w.Code, w.Body)
	}
	if got := strings.Join(came, ", "); got != "anna@alpha.test Uno, anna@alpha.test Uno, anna@alpha.test Due" {
		t.Errorf("the mailstore has %q", got)
	}
	b.page(ofAnna+"log").has("Messages put back into the mailbox", "Not put back: the mail server did not take them", "452 4.2.2 <pieno>")

	for _, who := range []string{"bruno@alpha.test", "carla@beta.test"} {
		if w := r.signedIn(who).post(path, form.Encode()); w.Code != http.StatusForbidden {
			t.Errorf("by %s: %d", who, w.Code)
		}
	}
}
