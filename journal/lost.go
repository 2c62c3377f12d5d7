package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
)

// A damaged disk takes keys away from a volume, and mending its files cannot bring them back. What is lost then goes on record, so that the archive is
// never silently incomplete: a message that is gone leaves a leaf in its log that says so, and a gap for its owner. Where the log itself is damaged
// nobody can say which messages are gone: then the gap is over the whole month, and the log ends and another one begins with what is left.
//
// Each step may break off anywhere, and the whole may be repeated: a gap is filed before, or together with, what would make it unknowable.

// KeyRange is a range of the keys of a volume, From <= key < To. A nil From is the first key, a nil To the end.
type KeyRange struct {
	From []byte `json:"from"`
	To   []byte `json:"to"`
}

// keyRanges are the ranges in which a volume may have lost keys.
type keyRanges []KeyRange

func (k keyRanges) has(key []byte) bool {
	return slices.ContainsFunc(k, func(r KeyRange) bool {
		return bytes.Compare(key, r.From) >= 0 && (r.To == nil || bytes.Compare(key, r.To) < 0)
	})
}

// meet reports whether any of the keys that begin with prefix is in a range.
func (k keyRanges) meet(prefix []byte) bool {
	end := after(prefix)
	return slices.ContainsFunc(k, func(r KeyRange) bool {
		return (end == nil || bytes.Compare(r.From, end) < 0) && (r.To == nil || bytes.Compare(prefix, r.To) < 0)
	})
}

// meetKinds reports whether keys of one of these kinds are in a range, of one mailbox if it is not empty.
func (k keyRanges) meetKinds(mailbox, kinds string) bool {
	return slices.ContainsFunc([]byte(kinds), func(kind byte) bool {
		if mailbox == "" {
			return k.meet([]byte{kind})
		}
		return k.meet(mailboxKey(kind, mailbox, 0))
	})
}

// Losses are what the mending of a volume could not bring back.
type Losses struct {
	Month    kv.Month      `json:"month"`
	Count    int64         `json:"count"`              // messages that are known to be lost
	Messages []LostMessage `json:"messages,omitempty"` // the first of them
	Gaps     []string      `json:"gaps,omitempty"`     // mailboxes of which more may be lost, as a gap over the month says; "" stands for mailboxes of which nothing is left
	Logs     int           `json:"logs,omitempty"`     // that were damaged, ended, and were begun anew
	Holds    int           `json:"holds,omitempty"`    // on messages that were lost, and are placed again as they are on record
	Notes    []string      `json:"notes,omitempty"`    // what else may be lost, in words
	Rebuilt  *Rebuilt      `json:"rebuilt,omitempty"`  // what Rebuild changed afterwards
}

// LostMessage is a message that is lost. Of one whose entry is lost only its place, time and digest are known, from its log; where that is lost too, only
// what a hold says of it.
type LostMessage struct {
	Mailbox   string    `json:"mailbox"`
	Folder    string    `json:"folder"`
	UID       uint32    `json:"uid"`
	Time      time.Time `json:"time,omitzero"` // of its arrival, or of the import
	From      string    `json:"from,omitempty"`
	To        string    `json:"to,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	MessageID string    `json:"message_id,omitempty"`
	SHA256    string    `json:"sha256,omitempty"`  // of its bytes
	Deleted   bool      `json:"deleted,omitempty"` // its owner had deleted it, and could have brought it back
	Held      bool      `json:"held,omitempty"`    // it was under a hold
}

// maxLostMessages is how many lost messages a report names.
const maxLostMessages = 1000

// lostSlot is the number of the record that more of a month may be lost than is known.
const lostSlot = 0xfffb

// SettleLosses puts on record what a volume has lost in ranges of its keys, and makes it fit for use: see Losses. Only what is missing in these ranges
// counts; whatever else is missing Verify finds. mended is when the files were mended: the same in each try. Nobody else may use the journal.
// After an error or a crash call it again before the month is used.
func (j *Journal) SettleLosses(ctx context.Context, m kv.Month, lost []KeyRange, mended time.Time) (*Losses, error) {
	x := settler{j: j, ctx: ctx, month: m, lost: slices.Clone(lost), mended: mended.UTC(), report: &Losses{Month: m}}
	err := x.settle()
	if err != nil {
		err = fmt.Errorf("settle what %s has lost: %w", m, j.monthError(ctx, m, err))
	}
	return x.report, err
}

// settler settles the losses of one volume.
type settler struct {
	j        *Journal
	ctx      context.Context
	month    kv.Month
	lost     keyRanges
	mended   time.Time
	report   *Losses
	store    monthStore
	settings kv.Store
	known    map[string][]*lastHead // by mailbox: what checkpoints had last of its logs of the month that have not ended
	pending  bool                   // entries of the month may be in no log yet

	undecodable  bool                // a dictionary may be lost, with both copies: what needs it is lost too
	dictionaries *codec.Dictionaries // where undecodable: those that are left
}

func (x *settler) settle() error {
	s, err := x.j.volume(x.ctx, x.month, false)
	if err != nil {
		return err
	}
	x.store = monthStore{s, x.month}
	if x.settings, err = x.j.engine.Settings(x.ctx); err != nil {
		return err
	}
	if x.undecodable = x.lost.takeDictionary(); x.undecodable {
		if x.dictionaries, err = x.j.readDictionaries(x.ctx, x.month, x.store); err != nil {
			return err
		}
	}
	if err := x.readKnown(); err != nil {
		return err
	}
	mailboxes, err := x.mailboxes()
	if err != nil {
		return err
	}
	if err := x.recordVanished(); err != nil {
		return err
	}
	if err := x.folders(); err != nil {
		return err
	}
	for _, mailbox := range mailboxes {
		if err := x.mailbox(mailbox); err != nil {
			return fmt.Errorf("%s: %w", mailbox, err)
		}
	}
	for _, step := range []func() error{x.bodies, x.staleHolds, x.holds, x.spares} {
		if err := step(); err != nil {
			return err
		}
	}
	x.notes()
	x.report.Rebuilt, err = x.j.Rebuild(x.ctx, x.month)
	return err
}

// mailboxes returns all that have anything in the volume, or have a log in it that a checkpoint knows.
func (x *settler) mailboxes() ([]string, error) {
	found := make(map[string]bool)
	for mailbox := range x.known {
		found[mailbox] = true
	}
	for _, kind := range []byte("aegklmopstw") {
		from, to := []byte{kind}, []byte{kind + 1}
		for bytes.Compare(from, to) < 0 {
			p, err := firstOf(x.ctx, x.store, from, to)
			if errors.Is(err, kv.ErrNotFound) {
				break
			}
			if err != nil {
				return nil, err
			}
			mailbox, _, err := splitMailboxKey(p.Key)
			if err != nil {
				from = append(bytes.Clone(p.Key), 0)
				continue
			}
			if mailbox != "" {
				found[mailbox] = true
			}
			from = after(mailboxKey(kind, mailbox, 0))
		}
	}
	for p, err := range x.store.Scan(x.ctx, []byte{'q'}, []byte{'q' + 1}) {
		if err != nil {
			return nil, err
		}
		found[string(p.Key[1:])] = true
	}
	var list []string
	for mailbox := range found {
		list = append(list, mailbox)
	}
	slices.Sort(list)
	return list, nil
}

// lose counts a message that is lost.
func (l *Losses) lose(m LostMessage) {
	if l.Count++; len(l.Messages) < maxLostMessages {
		l.Messages = append(l.Messages, m)
	}
}

func lostMessage(e *Entry) LostMessage {
	return LostMessage{
		Mailbox: e.Mailbox, Folder: e.FolderName(), UID: e.UID, Time: e.Time, From: e.From, To: e.To, Subject: e.Subject, MessageID: e.MessageID,
		SHA256: hex.EncodeToString(e.SHA256[:]),
	}
}

// recordMore records that more of a mailbox may be lost than is known; an empty mailbox stands for those of which nothing is left.
func (x *settler) recordMore(mailbox, detail string) error {
	until := x.month.Next().Start()
	if until.After(x.mended) {
		until = x.mended
	}
	r := Record{Kind: Gap, Mailbox: mailbox, Time: x.month.Start(), Until: until, Reason: ReasonLost, Detail: detail}
	key := recordKey(mailbox, r.Time, lostSlot)
	x.report.Gaps = append(x.report.Gaps, mailbox)
	put := false
	err := x.store.Update(x.ctx, []string{mailbox}, func(tx kv.Tx) error {
		v, err := tx.Get(key)
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		// That of an earlier damage grows.
		before, err := decodeRecord(mailbox, v)
		if put = len(v) == 0 || err != nil || before.Until.Before(until); put {
			tx.Put(key, r.encode())
		}
		return nil
	})
	if err == nil && put {
		x.j.recorded([]Record{r})
	}
	return err
}

// vanishable are the kinds of which every mailbox with an entry in a volume has a key.
const vanishable = "esd"

// recordVanished records a gap of all mailboxes where a mailbox may be lost with all that tells of it.
func (x *settler) recordVanished() error {
	// The names that are in a range of each kind, as ranges.
	names := keyRanges{{}}
	for _, kind := range []byte(vanishable + "q") {
		var both keyRanges
		for _, r := range x.lost.of(kind) {
			for _, n := range names {
				if c := n.and(r); !c.empty() {
					both = append(both, c)
				}
			}
		}
		names = both
	}
	// A range within one mailbox, which is known, hides no other.
	names = slices.DeleteFunc(names, func(r KeyRange) bool {
		mailbox, _, ok := bytes.Cut(r.From, []byte{0})
		return ok && r.To != nil && bytes.HasPrefix(r.To, append(bytes.Clone(mailbox), 0))
	})
	if len(names) == 0 {
		return nil
	}
	return x.recordMore("", "a disk has lost a part of this month, perhaps with all that tells of a mailbox in it")
}

// of returns the ranges of one kind of keys, without the kind.
func (k keyRanges) of(kind byte) (list keyRanges) {
	for _, r := range k {
		if c := (KeyRange{[]byte{kind}, []byte{kind + 1}}).and(r); !c.empty() {
			c.From = c.From[1:]
			if c.To = c.To[1:]; len(c.To) == 0 {
				c.To = nil
			}
			list = append(list, c)
		}
	}
	return list
}

func (r KeyRange) and(o KeyRange) KeyRange {
	if bytes.Compare(o.From, r.From) > 0 {
		r.From = o.From
	}
	if r.To == nil || o.To != nil && bytes.Compare(o.To, r.To) < 0 {
		r.To = o.To
	}
	return r
}

func (r KeyRange) empty() bool { return r.To != nil && bytes.Compare(r.From, r.To) >= 0 }

// spares has the sweep look at all chunks that no entry refers to: what led to them may be lost, and they may hold what was erased.
func (x *settler) spares() error {
	w := sweeper{ctx: x.ctx, store: x.store, month: x.month}
	referred, err := w.references()
	if errors.Is(err, errAnyChunk) {
		return nil // an entry that cannot be read: no sweep frees anything of the month
	}
	if err != nil {
		return err
	}
	spare := groups[ChunkID]{size: sweepGroup, do: func(ids []ChunkID) error {
		return x.store.Update(x.ctx, nil, func(tx kv.Tx) error {
			for _, id := range ids {
				if there, err := has(tx, spareKey(id)); err != nil {
					return err
				} else if !there {
					tx.Put(spareKey(id), []byte{})
				}
			}
			return nil
		})
	}}
	for p, err := range x.store.Scan(x.ctx, []byte{'c'}, []byte{'c' + 1}) {
		if err != nil {
			return err
		}
		if len(p.Key) != 1+len(ChunkID{}) || contains(referred, ChunkID(p.Key[1:])) {
			continue
		}
		if err := spare.add(ChunkID(p.Key[1:])); err != nil {
			return err
		}
	}
	return spare.flush()
}

// staleHolds removes the holds on entries that are lost without a log that tells of them.
func (x *settler) staleHolds() error {
	for p, err := range x.store.Scan(x.ctx, []byte{'l'}, []byte{'l' + 1}) {
		if err != nil {
			return err
		}
		r, err := refOf(x.month, p.Key)
		if err != nil || !x.lost.has(entryKey(r)) {
			continue
		}
		if there, err := hasKey(x.ctx, x.store, entryKey(r)); there || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		err = x.store.Update(x.ctx, []string{r.Mailbox}, func(tx kv.Tx) error { tx.Delete(p.Key); return nil })
		if err != nil {
			return err
		}
		x.report.lose(LostMessage{Mailbox: r.Mailbox, Folder: r.FolderName(), UID: r.UID, Held: true})
	}
	return nil
}

// acts yields what was done with entries of the month, as far as it can be read.
func (x *settler) acts() iter.Seq2[*Act, error] {
	return func(yield func(*Act, error) bool) {
		for p, err := range x.store.Scan(x.ctx, []byte{'a'}, []byte{'a' + 1}) {
			if err != nil {
				yield(nil, err)
				return
			}
			mailbox, _, err := splitMailboxKey(p.Key)
			if err != nil {
				continue
			}
			if a, err := decodeAct(mailbox, p.Value); err == nil && a.From.Month == x.month && !yield(a, nil) {
				return
			}
		}
	}
}

// holds places holds again that are lost, as the acts tell of them.
func (x *settler) holds() error {
	if !x.lost.meet([]byte{'l'}) {
		return nil
	}
	held := make(map[Ref]*Holding)
	for a, err := range x.acts() {
		if err != nil {
			return err
		}
		at := func(from Ref, uid uint32) Ref { from.UID = uid; return from }
		switch a.Kind {
		case ActHold:
			for uid := range a.UIDs.Each() {
				held[at(a.From, uid)] = &Holding{Time: a.Time, Who: a.Who, Reason: a.Detail}
			}
		case ActRelease:
			for uid := range a.UIDs.Each() {
				delete(held, at(a.From, uid))
			}
		case ActMove:
			to := slices.Collect(a.ToUIDs.Each())
			for uid := range a.UIDs.Each() {
				from := at(a.From, uid)
				if h := held[from]; h != nil && len(to) > 0 {
					held[at(a.To, to[0])] = h
					delete(held, from)
				}
				to = to[min(1, len(to)):]
			}
		}
	}
	for r, h := range held {
		if !x.lost.has(holdKey(r)) {
			continue
		}
		placed := false
		err := x.j.update(x.ctx, x.store, x.month, []string{r.Mailbox}, func(c *change) error {
			placed = false
			if there, err := has(c, entryKey(r)); !there || err != nil {
				return err
			}
			if there, err := c.held(r); there || err != nil {
				return err
			}
			c.Put(holdKey(r), h.encode())
			placed = true
			return nil
		})
		if err != nil {
			return err
		}
		if placed {
			x.report.Holds++
		}
	}
	return nil
}

// folders has folders whose counters are lost go on behind all that acts name, and all that can have been given out when a checkpoint had their log.
// Rebuild does so behind all else that names a UID.
func (x *settler) folders() error {
	if !x.lost.meet([]byte{'s'}) {
		return nil
	}
	next := make(map[folderName]uint32)
	for mailbox, heads := range x.known {
		for _, head := range heads {
			for _, folder := range []string{FolderOf(Received), FolderOf(Sent)} {
				if x.lost.has(counterKey(mailbox, folder)) && x.lost.meetKinds(mailbox, "k") {
					name := folderName{mailbox, folder}
					next[name] = max(next[name], uint32(min(head.Size, math.MaxUint32/2)))
				}
			}
		}
	}
	for a, err := range x.acts() {
		if err != nil {
			return err
		}
		for folder, uids := range map[string]UIDs{a.From.Folder: a.UIDs, a.To.Folder: a.ToUIDs} {
			if len(uids) > 0 && x.lost.has(counterKey(a.Mailbox, folder)) {
				name := folderName{a.Mailbox, folder}
				next[name] = max(next[name], min(uids[len(uids)-1].Last, math.MaxUint32-1)+1)
			}
		}
	}
	for name, uid := range next {
		key := counterKey(name.mailbox, name.folder)
		if there, err := hasKey(x.ctx, x.store, key); there || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		validity, err := x.j.newValidity(x.ctx)
		if err != nil {
			return err
		}
		counters := folderCounters{nextUID: ahead(uid), uidValidity: validity}
		err = x.store.Update(x.ctx, []string{name.mailbox}, func(tx kv.Tx) error { tx.Put(key, counters.encode()); return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// notes says what else may be lost.
func (x *settler) notes() {
	for _, n := range []struct{ kinds, text string }{
		{"d", "what keeps messages away that were deleted or refused: if one is delivered once more, which a server does within days, it is archived anew"},
		{"o", "what the mailstore has not accepted: such a message counts as delivered until the server tries again"},
		{"a", "who moved, deleted, held or gave back messages, and when"},
		{"g", "records of what was skipped, and of gaps"},
	} {
		if x.lost.meetKinds("", n.kinds) {
			x.report.Notes = append(x.report.Notes, n.text)
		}
	}
	if x.lost.meetKinds("", "l") && x.lost.meetKinds("", "a") {
		x.report.Notes = append(x.report.Notes, "legal holds on single messages of this month: place them again where they must stand (copialettere hold ADDR FOLDER UID)")
	}
}
