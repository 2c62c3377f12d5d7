package journal

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// EvidenceOptions are what a verification judges checkpoints by. The zero value judges no signature.
type EvidenceOptions struct {
	Keys       []string       // the verifier keys that count; empty: signatures are not judged
	StampRoots *x509.CertPool // of time stamping authorities; nil: time stamps are not judged
	Outside    []OutsideNote  // notes that were kept outside the data folder
}

// OutsideNote is the note of a checkpoint that was kept outside the data folder.
type OutsideNote struct {
	Name string // such as its file
	Note []byte // signed
}

// logs checks every log of the volume against its checkpoints, and every entry against its log.
func (v *verifier) logs() error {
	settings, err := v.j.engine.Settings(v.ctx)
	if err != nil {
		return err
	}
	taken, err := getAdoption(storeView{v.ctx, settings}, v.month)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	st, err := getEvidence(storeView{v.ctx, settings})
	if err != nil {
		return err
	}
	// The checkpoints first: a log only grows, so what it has then must still be in it.
	checkpoints, err := v.monthHeads(settings, st.Checkpoints)
	if err != nil {
		return err
	}
	if !st.Since.IsZero() {
		v.report.LogsSince = &st.Since
	}
	mailboxes, err := v.mailboxes()
	if err != nil {
		return err
	}
	for mailbox := range mailboxes {
		l := &logCheck{v: v, settings: settings, mailbox: mailbox, strict: taken == nil && !st.Since.IsZero(), pending: st.Since.IsZero() || taken != nil && taken.Done.IsZero()}
		if err := l.check(checkpoints); err != nil {
			return err
		}
	}
	return v.missingLogs(settings, checkpoints)
}

// monthHeads returns the heads that the first so many checkpoints have of the logs of the month, in the order of checkpoints.
func (v *verifier) monthHeads(settings kv.Store, checkpoints int64) (map[evidence.LogID][]lastHead, error) {
	heads := make(map[evidence.LogID][]lastHead)
	for n := range checkpoints {
		prefix := append(headsKey(n), v.month...)
		for p, err := range settings.Scan(v.ctx, prefix, after(prefix)) {
			if err != nil {
				return nil, err
			}
			h, err := evidence.ParseHead(string(p.Value))
			if err != nil {
				v.report.fault("checkpoint %d: %v", n, err)
				continue
			}
			heads[h.Log] = append(heads[h.Log], lastHead{Head: h, number: n})
		}
	}
	return heads, nil
}

// missingLogs reports the logs that checkpoints have, that have not ended, and that were not found.
func (v *verifier) missingLogs(settings kv.Store, left map[evidence.LogID][]lastHead) error {
	for id, heads := range left {
		last, err := getLastHead(storeView{v.ctx, settings}, id)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		if last != nil && last.Ended != "" {
			continue
		}
		newest, of := heads[len(heads)-1], "a mailbox"
		if last != nil && last.mailbox != "" {
			of = last.mailbox
		}
		v.report.fault("the log of %s in %s is not there: checkpoint %d has %d leaves of it (log %s)", of, v.month, newest.number, newest.Size, id)
	}
	return nil
}

// logCheck checks one log.
type logCheck struct {
	v        *verifier
	settings kv.Store
	mailbox  string
	strict   bool          // the log was there from the beginning of its month
	pending  bool          // entries may have no leaf yet
	tree     evidence.Tree // of the leaves that were read
	entries  *loggedPlaces
}

// loggedPart is of about how many leaves the places are in memory at a time: a longer log is read several times.
const loggedPart = 2_000_000

func (l *logCheck) fault(format string, args ...any) {
	l.v.report.fault("log of %s in %s: %s", l.mailbox, l.v.month, fmt.Sprintf(format, args...))
}

func (l *logCheck) check(checkpoints map[evidence.LogID][]lastHead) error {
	h, err := l.head()
	switch {
	case errors.Is(err, errEncoding):
		l.fault("%v", err)
		return nil
	case err != nil:
		return err
	case h == nil:
		h = new(logHead)
	default:
		l.v.report.Logs++
	}
	begun, err := getBegunLog(storeView{l.v.ctx, l.settings}, h.id)
	if err != nil {
		return err
	}
	if begun != nil {
		l.strict = false
		l.v.report.lost(&l.v.report.LogsLost, begun.At)
	}
	heads, err := l.counting(h.id, checkpoints[h.id])
	if err != nil {
		return err
	}
	delete(checkpoints, h.id)
	l.entries = newLoggedPlaces(uint64((h.tree.Size + l.v.logPart - 1) / l.v.logPart))
	if sound, err := l.replay(h, heads); !sound || err != nil {
		return err
	}
	for {
		if err := l.compare(); err != nil || !l.entries.nextPart() {
			return err
		}
		if sound, err := l.replayPart(h); !sound || err != nil {
			return err
		}
	}
}

// counting returns the heads that still say something of the log: a restore may have put it back.
func (l *logCheck) counting(id evidence.LogID, heads []lastHead) ([]lastHead, error) {
	back, err := getPutBack(storeView{l.v.ctx, l.settings}, id)
	if err != nil {
		return nil, err
	}
	if back != nil {
		l.v.report.PutBack++
	}
	return slices.DeleteFunc(heads, func(h lastHead) bool { return !back.counts(&h) }), nil
}

// replay reads the log, and says whether entries can be compared with it.
func (l *logCheck) replay(h *logHead, heads []lastHead) (sound bool, err error) {
	err = l.v.scan(mailboxKey('k', l.mailbox, 0), func(p kv.Pair) error {
		if l.tree.Size == h.tree.Size {
			return nil // made meanwhile
		}
		if string(p.Key) != string(leafKey(l.mailbox, l.tree.Size)) {
			return errNoLeaf
		}
		heads = l.passHeads(heads)
		l.leaf(p.Value)
		return nil
	})
	heads = l.passHeads(heads)
	switch {
	case err != nil && !errors.Is(err, errNoLeaf):
		return false, err
	case l.tree.Size < h.tree.Size:
		if gone, err := l.ended(h); gone || err != nil {
			return false, err
		}
		l.fault("leaf %d of %d is not there", l.tree.Size, h.tree.Size)
		return false, nil
	case h.tree.Size > 0 && l.tree.Root() != h.tree.Root():
		l.fault("its leaves do not lead to its head: one of them is another than it was")
		return false, nil
	}
	for _, c := range heads {
		l.fault("it has %d leaves, and checkpoint %d has %d of them: it was put back to an earlier state", h.tree.Size, c.number, c.Size)
		break
	}
	l.v.report.Leaves += h.tree.Size
	return true, nil
}

// replayPart applies the leaves that were read to the next part of the places.
func (l *logCheck) replayPart(h *logHead) (sound bool, err error) {
	n := int64(0)
	err = l.v.scan(mailboxKey('k', l.mailbox, 0), func(p kv.Pair) error {
		if n == l.tree.Size {
			return nil // made meanwhile
		}
		if string(p.Key) != string(leafKey(l.mailbox, n)) {
			return errNoLeaf
		}
		if leaf, err := evidence.ParseLeaf(p.Value); err == nil && n > 0 {
			l.apply(n, &leaf)
		}
		n++
		return nil
	})
	switch {
	case err != nil && !errors.Is(err, errNoLeaf):
		return false, err
	case n < l.tree.Size:
		if gone, err := l.ended(h); gone || err != nil {
			return false, err
		}
		l.fault("leaf %d of %d is not there", n, l.tree.Size)
	}
	return n == l.tree.Size, nil
}

var errNoLeaf = errors.New("a leaf is not there")

// ended says whether the log has ended since its head was read.
func (l *logCheck) ended(h *logHead) (bool, error) {
	now, err := l.head()
	if err != nil {
		return false, err
	}
	return now == nil || now.id != h.id, nil
}

// head reads the head of the log; nil for none.
func (l *logCheck) head() (*logHead, error) {
	b, err := l.v.get(totalKey(l.mailbox))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return logOf(b)
}

// passHeads compares what has been read of the log with the checkpoints of that size, and returns the rest of them.
func (l *logCheck) passHeads(heads []lastHead) []lastHead {
	for len(heads) > 0 && heads[0].Size <= l.tree.Size {
		if c := heads[0]; c.Size == l.tree.Size && c.Root != l.tree.Root() {
			l.fault("its first %d leaves are others than those of checkpoint %d", c.Size, c.number)
		}
		heads = heads[1:]
	}
	return heads
}

// leaf takes one leaf, and applies it to the entries as the log has them.
func (l *logCheck) leaf(b []byte) {
	n := l.tree.Size
	l.tree.Append(evidence.TextHash(string(b)))
	leaf, err := evidence.ParseLeaf(b)
	switch {
	case err != nil:
		l.fault("leaf %d: %v", n, err)
	case (leaf.Kind == evidence.Opened) != (n == 0):
		l.fault("leaf %d is %q", n, leaf.Kind)
	case n == 0 && (leaf.Mailbox != l.mailbox || leaf.Month != string(l.v.month)):
		l.fault("it says that it is that of %s in %s", leaf.Mailbox, leaf.Month)
	case n > 0:
		l.apply(n, &leaf)
	}
}

// apply applies a leaf to the places of the part.
func (l *logCheck) apply(n int64, leaf *evidence.Leaf) {
	from := leaf.Place
	if leaf.Kind == evidence.Moved || leaf.Kind == evidence.BroughtBack {
		from = leaf.From
	}
	if odd := l.applyFrom(from, leaf); odd {
		l.fault("leaf %d does not follow from those before it: %s", n, leaf)
	}
	switch leaf.Kind {
	case evidence.Removed:
	case evidence.Adopted, evidence.AdoptedAside, evidence.PutAside:
		l.entries.put(leaf.Place, l.entries.entry(leaf.Entry, leaf.Kind != evidence.Adopted))
	default:
		l.entries.put(leaf.Place, l.entries.entry(leaf.Entry, false))
	}
}

// applyFrom takes away what was at the place that a leaf begins with, and says whether the leaf does not follow from those before it.
func (l *logCheck) applyFrom(from evidence.Place, leaf *evidence.Leaf) (odd bool) {
	was, there, here := l.entries.get(from)
	if !here {
		return false
	}
	l.entries.remove(from)
	odd = there == (leaf.Kind == evidence.Added)
	switch leaf.Kind {
	case evidence.Adopted, evidence.AdoptedAside:
		odd = l.strict || there && was != l.entries.entry(leaf.Entry, leaf.Kind == evidence.AdoptedAside)
	case evidence.Removed:
		if leaf.Reason == RemovedLost {
			l.v.report.lost(&l.v.report.Lost, leaf.Time)
		}
	case evidence.Amended:
		odd = odd || there && was&loggedAside != 0
	default:
		odd = odd || there && was != l.entries.entry(leaf.Entry, leaf.Kind == evidence.BroughtBack)
	}
	// What was there before the logs may have been acted on before it got its leaf.
	return odd && (l.strict || there)
}

// compare compares what is stored with the log.
func (l *logCheck) compare() error {
	// Log and store may differ because a message came in between.
	var suspects []evidence.Place
	for _, kind := range []byte{'e', 't'} {
		err := l.v.scan(mailboxKey(kind, l.mailbox, 0), func(p kv.Pair) error {
			r, err := refOf(l.v.month, p.Key)
			if err != nil {
				return nil // reported already
			}
			place, aside := placeOf(r), kind == 't'
			value, err := loggedValue(aside, r, p.Value)
			if err != nil {
				return nil // reported already
			}
			if !l.entries.see(place, value, aside) {
				suspects = append(suspects, place)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	suspects = slices.AppendSeq(suspects, l.entries.unseen())
	for group := range slices.Chunk(suspects, entryGroup) {
		if err := l.settle(group); err != nil {
			return err
		}
	}
	return nil
}

// loggedValue returns the digest that a leaf has of an entry, from the value of its e or t key.
func loggedValue(aside bool, r Ref, b []byte) (evidence.Hash, error) {
	if aside {
		a, _, err := decodeAside(r, b)
		if err != nil {
			return evidence.Hash{}, err
		}
		b = a.entry
	}
	return sha256.Sum256(b), nil
}

// stored is what is stored at a place, at one moment.
type stored struct {
	entry, aside *evidence.Hash // as loggedValue returns it; nil for nothing
	damaged      bool           // it cannot be read, which is reported already
}

// settle judges places where log and store differed. It reads both under the lock of the mailbox: nothing changes meanwhile.
func (l *logCheck) settle(suspects []evidence.Place) error {
	var leaves [][]byte
	var gone bool
	places := make(map[evidence.Place]stored)
	err := l.v.store.Update(l.v.ctx, []string{l.mailbox}, func(tx kv.Tx) (err error) {
		if leaves, gone, err = l.newLeaves(tx); gone || err != nil {
			return err
		}
		for _, s := range suspects {
			if places[s], err = l.storedAt(tx, s); err != nil {
				return err
			}
		}
		return nil
	})
	if gone || err != nil {
		return err
	}
	for _, b := range leaves {
		l.leaf(b)
	}
	for _, s := range suspects {
		if is, ok := places[s]; ok {
			l.judge(s, is)
			delete(places, s)
		}
	}
	return nil
}

// newLeaves returns what the log has got since it was read. gone says that the log has ended, or cannot be read any more.
func (l *logCheck) newLeaves(tx kv.Tx) (leaves [][]byte, gone bool, err error) {
	h, err := getLog(tx, l.mailbox)
	if err != nil {
		if errors.Is(err, errEncoding) {
			return nil, true, nil
		}
		return nil, false, err
	}
	if h == nil {
		return nil, l.tree.Size > 0, nil
	}
	for n := l.tree.Size; n < h.tree.Size; n++ {
		b, err := tx.Get(leafKey(l.mailbox, n))
		if errors.Is(err, kv.ErrNotFound) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		leaves = append(leaves, b)
	}
	return leaves, false, nil
}

func (l *logCheck) storedAt(tx kv.Tx, place evidence.Place) (is stored, err error) {
	r := l.ref(place)
	for _, aside := range []bool{false, true} {
		key, found := entryKey(r), &is.entry
		if aside {
			key, found = asideKey(r), &is.aside
		}
		b, err := tx.Get(key)
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return is, err
		}
		value, err := loggedValue(aside, r, b)
		if err != nil {
			is.damaged = true
			continue
		}
		*found = &value
	}
	return is, nil
}

func (l *logCheck) ref(place evidence.Place) Ref {
	return Ref{Mailbox: l.mailbox, Month: l.v.month, Folder: place.Folder, UID: place.UID}
}

// judge reports what is wrong with a place, if anything.
func (l *logCheck) judge(place evidence.Place, is stored) {
	r := l.ref(place)
	logged, there, here := l.entries.get(place)
	var wrong string
	switch value := cmp.Or(is.entry, is.aside); {
	case is.damaged, !here, !there && value == nil:
		return
	case value == nil:
		wrong = "its log has it, and it is not there: it was removed"
	case !there && l.pending:
		l.v.report.Unlogged++
		return
	case !there:
		wrong = "its log does not have it: it was put there"
	case is.entry != nil && is.aside != nil, (logged&loggedAside != 0) != (is.aside != nil):
		wrong = "its log knows of no deletion, or of one that did not take place: it was changed"
	case logged != l.entries.entry(*value, is.aside != nil):
		wrong = "it is not as its log has it: it was altered"
	default:
		return
	}
	l.v.report.fault("%s %s %d: %s behind the journal's back", r.Mailbox, r.FolderName(), r.UID, wrong)
}
