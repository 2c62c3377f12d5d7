package policy

import (
	"testing"

	"copialettere/journal/kv"
)

// TestTryWithRevisions tries orders while a function of OnRevision writes and deletes keys of its own: it sees its own writes, and nothing is stored.
func TestTryWithRevisions(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	if _, err := p.Set(t.Context(), anna, operator(), assignments(t, "notify=anna@ext.test")); err != nil {
		t.Fatal(err)
	}
	before := len(store.keys())
	seen := 0
	p.OnRevision(func(tx kv.Tx, _ Revision) error {
		if _, err := tx.Get([]byte("wc")); err == nil {
			seen++
		}
		tx.Put([]byte("wc"), []byte("x"))
		tx.Delete([]byte("wc"))
		tx.Put([]byte("wd"), []byte("x"))
		return nil
	})
	orders := []Order{{Mailbox: anna, Assignments: assignments(t, "notify=none")}, {Mailbox: mustAddress(t, "bruno@alpha.test"), Assignments: assignments(t, "language=en")}}
	count := 0
	for outcome, err := range p.Try(t.Context(), operator(), orders) {
		if err != nil || outcome.Refused != nil || len(outcome.Changes) != 1 {
			t.Errorf("%+v, %v", outcome, err)
		}
		count++
	}
	if count != 2 || seen != 0 || len(store.keys()) != before {
		t.Errorf("%d outcomes, a deleted key was seen %d times, stored %q", count, seen, store.keys())
	}
}
