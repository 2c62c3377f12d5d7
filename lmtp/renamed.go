package lmtp

import (
	"copialettere/journal"
	"copialettere/policy"
)

// A mailbox may change its address while a message for it waits at the MTA. The MTA sends it again to the old address, which is no mailbox any
// more: the message makes no entry. But if an earlier try made one, it is the entry of this message, and learns what becomes of it now.

// renamedWish returns the wish of a line whose mailbox has gone on to another address.
func renamedWish(in journal.Intent, v policy.Verdict, lines ...*line) wish {
	in.Mailbox, in.Quota = v.Mailbox, quota(v.Quota, v.WhenFull)
	return wish{intent: in, lines: lines, own: lines}
}

// addRenamed notes a received line whose mailbox has gone on to another address.
func (t *transaction) addRenamed(in journal.Intent, v policy.Verdict, n *line) {
	for i := range t.renamed {
		if w := &t.renamed[i]; w.intent.Mailbox == v.Mailbox {
			w.lines = append(w.lines, n)
			return
		}
	}
	t.renamed = append(t.renamed, renamedWish(in, v, n))
}

// commitRenamed finds the entries that earlier tries of the message made for mailboxes that have gone on to another address. Those that have none
// get the record of a skip.
func (t *transaction) commitRenamed() {
	if len(t.renamed) == 0 {
		return
	}
	defer t.patience.end()
	t.patience.begin()
	var skips []journal.Record
	for i, p := range t.archived(intentsOf(t.renamed)) {
		w := &t.renamed[i]
		if p.Found {
			t.placed(t.ctx, w, p)
			continue
		}
		skips = append(skips, t.recordOf(journal.Skip, &w.intent, policy.ReasonRenamed))
	}
	t.keep(t.nextStep(), skips)
}
