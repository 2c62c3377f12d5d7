package journal

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// begunLog is the value of a km key: a log that was begun when leaves of the one before it were lost. Its first leaves say what was left.
type begunLog struct {
	At   time.Time `json:"at"`             // when the files were mended
	Done bool      `json:"done,omitempty"` // all that was left is in the log
}

func begunLogKey(id evidence.LogID) []byte { return append([]byte("km"), id[:]...) }

func getBegunLog(v kv.View, id evidence.LogID) (*begunLog, error) {
	b, err := v.Get(begunLogKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	begun := new(begunLog)
	if err == nil {
		err = json.Unmarshal(b, begun)
	}
	if err != nil {
		return nil, fmt.Errorf("log %s that was begun anew: %w", id, err)
	}
	return begun, nil
}

func (x *settler) putBegunLog(id evidence.LogID, begun begunLog) error {
	b, err := json.Marshal(begun)
	if err != nil {
		return err
	}
	return x.settings.Update(x.ctx, []string{evidenceLock}, func(tx kv.Tx) error {
		tx.Put(begunLogKey(id), b)
		return nil
	})
}

// readKnown reads what checkpoints had last of the logs of the month, and whether its entries are in logs at all.
func (x *settler) readKnown() error {
	x.known = make(map[string][]*lastHead)
	for last, err := range lastHeads(x.ctx, x.settings) {
		if errors.Is(err, ErrDamaged) {
			continue // Verify reports it
		}
		if err != nil {
			return err
		}
		if last.Month == string(x.month) && last.Ended == "" && last.mailbox != "" {
			x.known[last.mailbox] = append(x.known[last.mailbox], last)
		}
	}
	st, err := getEvidence(storeView{x.ctx, x.settings})
	if err != nil {
		return err
	}
	taken, err := getAdoption(storeView{x.ctx, x.settings}, x.month)
	x.pending = st.Since.IsZero() || taken != nil && taken.Done.IsZero() || err != nil
	if errors.Is(err, errEncoding) {
		return nil
	}
	return err
}

// loggedPlace is an entry as the leaves have it.
type loggedPlace struct {
	added int64 // number of the leaf that tells of its arrival
	last  int64 // of the last one about it
	aside bool
}

// lostLog is the log of one mailbox as it was found.
type lostLog struct {
	head    *logHead // as stored; nil for none, or none that can be read
	read    logHead  // of the leaves, up to the first that lacks
	missing bool     // the head or a leaf may be lost
	whole   bool     // all leaves are there, and are those of the head or, where that is lost, of the checkpoints
	entries map[evidence.Place]loggedPlace
	begun   *begunLog // nil where the log was not begun anew
}

// mailbox settles what is lost of one mailbox.
func (x *settler) mailbox(mailbox string) error {
	l, err := x.log(mailbox)
	if err != nil {
		return err
	}
	// What is lost can be told one by one, unless an earlier try has begun the log anew. Who has no log has no entry.
	none := l.head == nil && l.read.tree.Size == 0 && !l.missing
	told := (none || l.whole) && !x.pending && (l.begun == nil || !l.begun.At.Equal(x.mended))
	detail := ""
	switch {
	case !told && (x.undecodable || x.lost.meetKinds(mailbox, "et")):
		detail = "a disk has lost a part of this month, and nobody can say which messages of this mailbox were in it"
	case x.lost.meetKinds(mailbox, "g"):
		detail = "a disk has lost a part of this month, and records of gaps may have been in it"
	}
	if detail != "" {
		if err := x.recordMore(mailbox, detail); err != nil {
			return err
		}
	}
	switch {
	case l.begun != nil && !l.begun.Done:
		return x.takeIn(mailbox, l.head.id)
	case l.whole:
		if l.head == nil {
			if err := x.putHead(mailbox, &l.read); err != nil {
				return err
			}
		}
		return x.lostEntries(mailbox, l)
	case l.missing:
		return x.beginAnew(mailbox, l)
	}
	return nil // nothing of it was lost here: if it is not sound, Verify finds that
}

// log reads the log of a mailbox.
func (x *settler) log(mailbox string) (*lostLog, error) {
	l := &lostLog{entries: make(map[evidence.Place]loggedPlace)}
	view := storeView{x.ctx, x.store}
	var err error
	if l.head, err = getLog(view, mailbox); err != nil && !errors.Is(err, errEncoding) {
		return nil, err
	}
	lacks := false
	prefix := mailboxKey('k', mailbox, 0)
	for p, err := range x.store.Scan(x.ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, err
		}
		if l.head != nil && l.read.tree.Size == l.head.tree.Size {
			break // what lies behind is of no log
		}
		if lacks = lacks || string(p.Key) != string(leafKey(mailbox, l.read.tree.Size)); lacks {
			break
		}
		if !l.take(p.Value) {
			lacks = true
			break
		}
	}
	n := l.read.tree.Size
	if l.head != nil {
		l.whole = n == l.head.tree.Size && l.read.tree.Root() == l.head.tree.Root()
		l.missing = n < l.head.tree.Size && x.lost.has(leafKey(mailbox, n))
		if l.whole && x.lost.has(totalKey(mailbox)) && x.lost.has(leafKey(mailbox, n)) && x.shorter(mailbox, l.head) {
			l.whole, l.missing = false, true
		}
		l.begun, err = getBegunLog(x.inSettings(), l.head.id)
		return l, err
	}
	l.missing = x.lost.has(totalKey(mailbox)) || x.lost.meetKinds(mailbox, "k")
	if lacks || n == 0 || x.lost.has(leafKey(mailbox, n)) {
		return l, nil
	}
	last, err := getLastHead(x.inSettings(), l.read.id)
	if err != nil && !errors.Is(err, errEncoding) {
		return nil, err
	}
	l.whole = err == nil && (last == nil || last.Ended == "" && last.Size <= n)
	l.begun, err = getBegunLog(x.inSettings(), l.read.id)
	return l, err
}

// shorter reports whether a checkpoint has more of a log than its head: its last leaves are lost together with the head that had them.
func (x *settler) shorter(mailbox string, head *logHead) bool {
	return slices.ContainsFunc(x.known[mailbox], func(last *lastHead) bool { return last.Log == head.id && last.Size > head.tree.Size })
}

func (x *settler) inSettings() kv.View { return storeView{x.ctx, x.settings} }

// take takes one leaf, and reports whether it could.
func (l *lostLog) take(b []byte) bool {
	leaf, err := evidence.ParseLeaf(b)
	n := l.read.tree.Size
	if err != nil || (n == 0) != (leaf.Kind == evidence.Opened) {
		return false
	}
	l.read.tree.Append(evidence.TextHash(string(b)))
	switch leaf.Kind {
	case evidence.Opened:
		l.read.id = leaf.Log
	case evidence.Removed:
		delete(l.entries, leaf.Place)
	case evidence.Added, evidence.Adopted, evidence.AdoptedAside:
		l.entries[leaf.Place] = loggedPlace{n, n, leaf.Kind == evidence.AdoptedAside}
	default:
		from := leaf.Place
		if leaf.Kind == evidence.Moved || leaf.Kind == evidence.BroughtBack {
			from = leaf.From
		}
		was, ok := l.entries[from]
		if !ok {
			was.added = n
		}
		delete(l.entries, from)
		l.entries[leaf.Place] = loggedPlace{was.added, n, leaf.Kind == evidence.PutAside}
	}
	return true
}

// putHead puts the head of a log that is lost, and whose leaves are there.
func (x *settler) putHead(mailbox string, h *logHead) error {
	return x.j.update(x.ctx, x.store, x.month, []string{mailbox}, func(c *change) error {
		// Rebuild corrects the total.
		c.putAccount(mailbox, &account{log: h.encode()})
		return nil
	})
}

// lostEntries says in the log which of its entries are lost, together with the gap of them.
func (x *settler) lostEntries(mailbox string, l *lostLog) error {
	type lostEntry struct {
		place evidence.Place
		loggedPlace
	}
	gone := groups[lostEntry]{size: entryGroup, do: func(group []lostEntry) error {
		var messages []LostMessage
		lost := span{reason: ReasonLost}
		err := x.j.update(x.ctx, x.store, x.month, []string{mailbox, movesLock}, func(c *change) error {
			messages, lost = nil, span{reason: ReasonLost}
			for _, one := range group {
				m, err := x.loseEntry(c, mailbox, one.place, one.loggedPlace)
				if err != nil {
					return err
				}
				if messages = append(messages, m); !m.Deleted {
					lost.add(&Entry{Time: m.Time})
				}
			}
			return c.putSpan(mailbox, lost)
		})
		if err != nil {
			return err
		}
		x.j.tellSpan(mailbox, lost)
		for _, m := range messages {
			x.report.lose(m)
		}
		return nil
	}}
	byPlace := func(a, b evidence.Place) int {
		return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.UID, b.UID))
	}
	for _, place := range slices.SortedFunc(maps.Keys(l.entries), byPlace) {
		logged, r := l.entries[place], x.ref(mailbox, place)
		key := entryKey(r)
		if logged.aside {
			key = asideKey(r)
		}
		if lost, err := x.loses(key); err != nil {
			return err
		} else if !lost {
			continue
		}
		if err := gone.add(lostEntry{place, logged}); err != nil {
			return err
		}
	}
	return gone.flush()
}

// loses reports whether an entry that must be there is lost.
func (x *settler) loses(key []byte) (bool, error) {
	may := x.lost.has(key)
	if !may && !x.undecodable {
		return false, nil
	}
	value, err := x.store.Get(x.ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return may, nil
	}
	return x.packed(value), err
}

func (x *settler) ref(mailbox string, p evidence.Place) Ref {
	return Ref{Mailbox: mailbox, Month: x.month, Folder: p.Folder, UID: p.UID}
}

// loseEntry adds the leaf that an entry is lost, and deletes what is left of it.
func (x *settler) loseEntry(c *change, mailbox string, place evidence.Place, logged loggedPlace) (m LostMessage, err error) {
	r := x.ref(mailbox, place)
	added, err := x.leaf(c, mailbox, logged.added)
	if err != nil {
		return m, err
	}
	m = LostMessage{
		Mailbox: mailbox, Folder: r.FolderName(), UID: r.UID, Time: added.Time, SHA256: Digest(added.Message).String(), Deleted: logged.aside,
	}
	if kv.MonthOf(m.Time) != x.month {
		m.Time = x.month.Start() // its leaf was made when the logs began
	}
	if m.Held, err = c.held(r); err != nil {
		return m, err
	}
	for _, key := range [][]byte{entryKey(r), asideKey(r), holdKey(r), outcomeKey(r)} {
		c.Delete(key)
	}
	return m, c.leave(mailbox, &evidence.Leaf{Kind: evidence.Removed, Time: c.j.now().UTC(), Place: place, Message: added.Message, Reason: RemovedLost})
}

func (x *settler) leaf(v kv.View, mailbox string, n int64) (*evidence.Leaf, error) {
	b, err := v.Get(leafKey(mailbox, n))
	if err != nil {
		return nil, err
	}
	leaf, err := evidence.ParseLeaf(b)
	return &leaf, err
}

// beginAnew ends a log of which leaves are lost, and begins another one with what is left of the mailbox.
func (x *settler) beginAnew(mailbox string, l *lostLog) error {
	ctx, release, err := x.j.ending(x.ctx)
	if err != nil {
		return err
	}
	defer release()
	var heads []evidence.Head
	if l.head != nil {
		heads = append(heads, l.head.head(x.month))
	}
	for _, last := range x.known[mailbox] {
		if l.head == nil || last.Log != l.head.id {
			heads = append(heads, last.Head)
		}
	}
	for i := range heads {
		heads[i].Ended = evidence.EndedLost
	}
	if len(heads) > 0 {
		if err := x.j.endLogs(ctx, heads); err != nil {
			return err
		}
	}
	// The head first, as in an erasure: without it the leaves are nothing.
	err = x.j.update(ctx, x.store, x.month, []string{mailbox}, func(c *change) error {
		sum, err := c.total(mailbox)
		if err != nil && !errors.Is(err, errEncoding) {
			return err
		}
		c.putAccount(mailbox, &account{total: sum})
		return nil
	})
	if err != nil {
		return err
	}
	leaves := groups[[]byte]{size: eraseGroup, do: func(keys [][]byte) error {
		return x.store.Update(ctx, []string{mailbox}, func(tx kv.Tx) error {
			for _, key := range keys {
				tx.Delete(key)
			}
			return nil
		})
	}}
	prefix := mailboxKey('k', mailbox, 0)
	for p, err := range x.store.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return err
		}
		if err := leaves.add(p.Key); err != nil {
			return err
		}
	}
	if err := leaves.flush(); err != nil {
		return err
	}
	if left, err := x.left(mailbox); !left || err != nil {
		return err
	}
	var id evidence.LogID
	rand.Read(id[:])
	if err := x.putBegunLog(id, begunLog{At: x.mended}); err != nil {
		return err
	}
	err = x.j.update(ctx, x.store, x.month, []string{mailbox}, func(c *change) error {
		h := &logHead{id: id}
		a, err := c.account(mailbox)
		if err != nil {
			return err
		}
		c.addLeaf(mailbox, h, &evidence.Leaf{Kind: evidence.Opened, Time: x.j.now().UTC(), Log: h.id, Mailbox: mailbox, Month: string(x.month)})
		a.log = h.encode()
		c.putAccount(mailbox, a)
		return nil
	})
	if err != nil {
		return err
	}
	return x.takeIn(mailbox, id)
}

// left reports whether a mailbox has entries left.
func (x *settler) left(mailbox string) (bool, error) {
	for _, kind := range []byte{'e', 't'} {
		prefix := mailboxKey(kind, mailbox, 0)
		if _, err := firstOf(x.ctx, x.store, prefix, after(prefix)); !errors.Is(err, kv.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// takeIn takes what is left of a mailbox into a log that was begun anew.
func (x *settler) takeIn(mailbox string, id evidence.LogID) error {
	for _, kind := range []byte{'e', 't'} {
		entries := groups[[]byte]{size: entryGroup, do: func(keys [][]byte) error {
			_, err := x.j.adoptGroup(x.ctx, x.store, keys)
			return err
		}}
		prefix := mailboxKey(kind, mailbox, 0)
		for p, err := range x.store.Scan(x.ctx, prefix, after(prefix)) {
			if err != nil {
				return err
			}
			if x.packed(p.Value) {
				continue
			}
			if err := entries.add(p.Key); err != nil {
				return err
			}
		}
		if err := entries.flush(); err != nil {
			return err
		}
	}
	x.report.Logs++
	return x.putBegunLog(id, begunLog{At: x.mended, Done: true})
}
