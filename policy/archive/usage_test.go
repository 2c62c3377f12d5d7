package archive

import (
	"fmt"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// TestLatest asks for the newest messages of a mailbox: it gets the time of the last that was journaled, whatever came in by hand since, however much
// that is.
func TestLatest(t *testing.T) {
	const anna = "anna@alpha.test"
	a := open(t)
	address, err := policy.ParseAddress(anna)
	if err != nil {
		t.Fatal(err)
	}
	byHand := func(folder string, date time.Time) {
		t.Helper()
		d := a.journal.NewDraft(t.Context())
		defer d.Discard()
		fmt.Fprint(d, "Subject: by hand\r\n\r\n\r\n")
		in := journal.Intent{Mailbox: anna, Direction: journal.Received, Folder: folder, Import: &journal.Import{Who: "owner " + anna, Date: date}}
		if _, err := d.Commit(t.Context(), journal.Envelope{Transaction: a.journal.NewTransaction()}, []journal.Intent{in}, nil); err != nil {
			t.Fatal(err)
		}
	}
	spans := func(name string, oldest, newest time.Time) {
		t.Helper()
		if got, err := a.Span(t.Context(), address); err != nil || !got.Oldest.Equal(oldest) || !got.Newest.Equal(newest) {
			t.Errorf("%s: %+v, %v, want %v to %v", name, got, err, oldest, newest)
		}
	}
	check := func(name string, received, sent *time.Time) {
		t.Helper()
		got, err := a.Latest(t.Context(), address)
		same := func(got, want *time.Time) bool {
			return got == nil && want == nil || got != nil && want != nil && got.Equal(*want)
		}
		if err != nil || !same(got.Received, received) || !same(got.Sent, sent) {
			t.Errorf("%s: %v, %v, %v", name, got.Received, got.Sent, err)
		}
	}
	check("empty", nil, nil)
	spans("empty", time.Time{}, time.Time{})
	dated := time.Date(2019, 5, 1, 12, 0, 0, 0, time.UTC)
	byHand("INBOX", dated)
	check("by hand alone", nil, nil)
	spans("by hand alone", dated, dated)
	received := file(t, a, anna, journal.Received).Time
	check("received", &received, nil)
	sent := file(t, a, anna, journal.Sent).Time
	check("sent", &received, &sent)
	file(t, a, "bruno@alpha.test", journal.Received)
	check("another mailbox", &received, &sent)
	for range 60 {
		byHand("INBOX", dated.AddDate(0, 0, 1))
	}
	check("much by hand since", &received, &sent)
	spans("much by hand since", dated, sent)
}

// TestLatestOfAMonth looks for the newest message in months that came before.
func TestLatestOfAMonth(t *testing.T) {
	o, _ := old(t)
	address, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	got, err := New(o).Latest(t.Context(), address)
	if err != nil || got.Received == nil || got.Sent != nil || time.Since(*got.Received) < 200*24*time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
}
