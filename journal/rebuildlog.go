package journal

import (
	"context"
	"errors"
	"fmt"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// leafRun are the leaves of one mailbox in one month, read in their order.
type leafRun struct {
	mailbox string
	head    logHead           // of the leaves so far
	broken  bool              // a leaf lacks, or is none, or the first is not that of this log
	folders map[string]uint32 // by folder: the UID behind all that the leaves name; 0 where what was last there was erased
}

// take adds a leaf.
func (l *leafRun) take(m kv.Month, p kv.Pair) {
	leaf, err := evidence.ParseLeaf(p.Value)
	first := l.head.tree.Size == 0
	if err != nil || string(p.Key) != string(leafKey(l.mailbox, l.head.tree.Size)) || first != (leaf.Kind == evidence.Opened) ||
		first && (leaf.Mailbox != l.mailbox || leaf.Month != string(m)) {
		l.broken = true
	}
	if err != nil {
		return
	}
	for _, place := range []evidence.Place{leaf.Place, leaf.From} {
		if place.Folder == "" {
			continue
		}
		if leaf.Kind == evidence.Removed && leaf.Reason == RemovedErased {
			l.folders[place.Folder] = 0
		} else {
			l.folders[place.Folder] = max(l.folders[place.Folder], place.UID+1)
		}
	}
	if l.broken {
		return
	}
	if first {
		l.head.id = leaf.Log
	}
	l.head.tree.Append(evidence.TextHash(string(p.Value)))
}

// logs makes the heads of logs that are lost from their leaves, and has folders whose counters are lost begin behind all that the leaves name. A head that
// is there stays, whatever it says: Verify compares it with the leaves.
func (b *rebuilder) logs() error {
	var run *leafRun
	for p, err := range b.store.Scan(b.ctx, []byte{'k'}, []byte{'k' + 1}) {
		if err != nil {
			return b.j.monthError(b.ctx, b.month, err)
		}
		mailbox, _, err := splitMailboxKey(p.Key)
		if err != nil {
			continue
		}
		if run != nil && run.mailbox != mailbox {
			if err := b.log(run); err != nil {
				return err
			}
			run = nil
		}
		if run == nil {
			run = &leafRun{mailbox: mailbox, folders: make(map[string]uint32)}
		}
		run.take(b.month, p)
	}
	if run == nil {
		return nil
	}
	return b.log(run)
}

// log puts the head of a log that is lost.
func (b *rebuilder) log(run *leafRun) error {
	for folder, next := range run.folders {
		if next == 0 {
			continue
		}
		if f := b.folder(run.mailbox, folder); f[asStored].nextUID == 0 {
			f[asCounted].nextUID = max(f[asCounted].nextUID, next)
		}
	}
	if run.broken {
		return nil
	}
	settings, err := b.j.engine.Settings(b.ctx)
	if err != nil {
		return err
	}
	last, err := getLastHead(storeView{b.ctx, settings}, run.head.id)
	if err != nil && !errors.Is(err, errEncoding) {
		return err
	}
	if last != nil && last.Ended != "" {
		return nil // these leaves are about to be deleted
	}
	made := false
	err = b.j.update(b.ctx, b.store, b.month, []string{run.mailbox}, func(c *change) error {
		made = false
		there, err := getLog(c, run.mailbox)
		if err != nil && !errors.Is(err, errEncoding) {
			return err
		}
		if there != nil {
			return nil
		}
		sum, err := c.total(run.mailbox)
		if err != nil && !errors.Is(err, errEncoding) {
			return err
		}
		made = true
		c.putAccount(run.mailbox, &account{total: sum, log: run.head.encode()})
		return nil
	})
	if err != nil {
		return b.j.monthError(b.ctx, b.month, err)
	}
	if made {
		b.report.did(&b.report.Logs, "%s in %s: the head of its log was missing; it has %d leaves", run.mailbox, b.month, run.head.tree.Size)
	}
	return nil
}

// rebuildDeletedCounters recreates the counters of what was deleted by hand, which the settings have, where they are lost or not above the highest UID
// among the deleted of a mailbox.
func (j *Journal) rebuildDeletedCounters(ctx context.Context, highest map[string]uint32, report *Rebuilt) error {
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	for mailbox, uid := range highest {
		was, err := getDeletedCounters(storeView{ctx, settings}, mailbox)
		if err != nil && !errors.Is(err, errEncoding) {
			return err
		}
		if was.nextUID > uid {
			continue
		}
		validity, err := j.newValidity(ctx)
		if err != nil {
			return err
		}
		err = settings.Update(ctx, []string{deletedLock(mailbox)}, func(tx kv.Tx) error {
			// What was given out beyond it is not known, so all get a new UIDVALIDITY.
			next := ahead(uid + 1)
			tx.Put(deletedCountersKey(mailbox), deletedCounters{nextUID: next, uidValidity: validity, settled: next}.encode())
			return nil
		})
		if err != nil {
			return fmt.Errorf("counters of what was deleted of %s: %w", mailbox, err)
		}
		report.did(&report.Counters, "%s: the counters of what was deleted said %d as the next UID; there is one of %d", mailbox, was.nextUID, uid)
	}
	return nil
}
