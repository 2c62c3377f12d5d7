package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// Placement is where the message of an Intent is in the journal. Where nothing was archived UID is 0, Skipped or Waits says why, and there
// is no outcome to tell.
type Placement struct {
	Ref
	Found   bool   // the entry was there already: this is a repetition
	Skipped string // "", ReasonFull or ReasonDeleted; it is on record
	Waits   bool   // there is no room and the quota defers: nothing is on record, and the message must not be delivered to this mailbox
	Crossed int    // 75, 90 or 100: the percentage of the quota that the mailbox passed with this entry; else 0
}

// groupSize is about how many bytes of entries or records one update makes; the rest of a long list goes into the next.
const groupSize = 4 << 20

// errNewFolder says that an entry is the first of its folder and needs a UIDVALIDITY.
var errNewFolder = errors.New("folder without counters")

// candidate is an entry to be made if it is not there yet.
type candidate struct {
	*Entry
	parts    []byte    // its part table, encoded
	delivery []byte    // its delivery key
	begin    newFolder // of its folder, if that is new
	quota    Quota
	noRoom   bool // and none can be made

	older     []Digest   // deliveries of what the message was before it was requeued
	elsewhere []delivery // those of them that are in other months
}

// Commit makes the entry of every intent, and the records of skips, durable, and returns the placements in the order of intents. A mailbox
// that already has an entry of the same delivery keeps that one. Every new entry is in the state Unknown until Delivered, Deferred or
// Withdraw tells more. After an error count on nothing: part of it may turn up later, and the MTA's retry finds it then. A draft older
// than half an hour is refused. Call Commit once.
func (d *Draft) Commit(ctx context.Context, env Envelope, intents []Intent, skips []Record) ([]Placement, error) {
	if slices.ContainsFunc(intents, func(in Intent) bool { return in.Import == nil }) {
		defer d.j.beginCommit()()
	}
	table := d.end()
	if d.err != nil {
		return nil, fmt.Errorf("take in message: %w", d.err)
	}
	parts, err := table.AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("encode part table: %w", err)
	}
	if err := checkRecords(skips); err != nil {
		return nil, err
	}
	entries, err := d.candidates(env, intents, parts)
	if err != nil {
		return nil, err
	}
	placements, err := d.repeated(ctx, entries)
	if err != nil {
		return nil, err
	}
	if err := d.olderElsewhere(ctx, entries); err != nil {
		return nil, err
	}
	skips, later := recordGroup(boundedRecords(skips))
	for start := 0; ; {
		end, size := start, 0
		for end < len(entries) && (end == start || size < groupSize) {
			size += entries[end].sizeEstimate() + len(parts)
			end++
		}
		if err := d.commitGroup(ctx, entries[start:end], placements[start:end], skips); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		skips = nil
		if start = end; start == len(entries) {
			break
		}
	}
	if err := d.j.recordIn(ctx, d.volume, later); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	for i := range entries {
		if len(entries[i].elsewhere) > 0 && placements[i].Skipped == "" {
			d.supersedeElsewhere(ctx, &entries[i], placements[i])
		}
	}
	return placements, nil
}

// candidates returns the entries that the intents ask for.
func (d *Draft) candidates(env Envelope, intents []Intent, parts []byte) ([]candidate, error) {
	entries := make([]candidate, len(intents))
	common := d.entry(env, d.table, d.digest)
	for i := range intents {
		if err := intents[i].check(); err != nil {
			return nil, err
		}
		e := intents[i].of(common)
		key := deliveryKey(e.Mailbox, e.deliveryDigest())
		entries[i] = candidate{Entry: e, parts: parts, delivery: key, quota: intents[i].Quota}
		if e.Imported == nil {
			entries[i].older = d.olderDeliveries(e)
		}
	}
	return entries, nil
}

// commitGroup makes the entries that are not placed yet in one update, with the chunks that the store lacks and the skips.
func (d *Draft) commitGroup(ctx context.Context, entries []candidate, placements []Placement, skips []Record) error {
	g := &group{d: d, entries: entries, placements: placements, earlier: slices.Clone(placements), skips: skips}
	locks := lockRecords(make([]string, 0, len(entries)+len(skips)), skips)
	for _, e := range entries {
		locks = append(locks, e.Mailbox)
	}
	if len(d.below) > 0 {
		locks = append(locks, movesLock)
	}
	locks = d.j.openLocks(locks, entries)
	if d.rests() {
		locks = append(locks, sharerLock(d.month(), rand.IntN(sharers)))
	}
	// Whoever makes room keeps others from making it too, and from taking it before the next try.
	var room lock
	release := func() {
		if room != nil {
			room.release()
			room = nil
		}
	}
	defer release()
	for tries := 0; ; tries++ {
		for i := range entries {
			if d.j.alone && entries[i].quota.Limit > 0 && !placements[i].done() {
				if err := d.j.loadUsage(ctx, entries[i].Mailbox); err != nil {
					return err
				}
			}
		}
		err := d.j.update(ctx, d.volume, d.month(), locks, g.update)
		var noRoom *noRoomError
		switch {
		case err == nil:
			if g.made > 0 {
				d.release()
			}
			d.j.journaled.Add(int64(g.made - g.imported))
			d.j.imported.Add(int64(g.imported))
			d.j.unchecked.Add(int64(g.madeUnchecked))
			d.j.bytesIn.Add(int64(g.made-g.imported) * d.size)
			d.j.recorded(skips)
			d.j.recorded(g.gaps)
			return nil
		case tries > maxRoomTries+len(entries):
			return err
		case errors.Is(err, errNewFolder):
			for _, e := range g.homeless {
				if e.begin, err = d.j.newFolder(ctx, d.volume, e.Mailbox, e.Folder); err != nil {
					return err
				}
			}
		case errors.Is(err, errUsageUnknown):
		case errors.Is(err, errRepeated):
			if err := g.again(ctx); err != nil {
				return err
			}
		case errors.Is(err, errRefile):
			locks = append(locks, movesLock)
		case errors.As(err, &noRoom):
			c := noRoom.candidate
			if next := d.j.rooms.of(c.Mailbox); next != room {
				release()
				if err := next.acquire(ctx); err != nil {
					return fmt.Errorf("make room for %s: %w", c.Mailbox, err)
				}
				room = next
			}
			made, err := d.j.makeRoom(ctx, c.Mailbox, uint64(c.Size), c.quota.Limit)
			if err != nil {
				return err
			}
			c.noRoom = !made
		default:
			return err
		}
	}
}

func (p *Placement) done() bool { return p.Found || p.Skipped != "" }

// group is what one update makes of the entries of a draft.
type group struct {
	d          *Draft
	entries    []candidate
	placements []Placement // of the entries
	earlier    []Placement // of the entries, as far as they were found in other months
	skips      []Record
	looked     bool // the month beside was searched once more

	made          int
	imported      int      // of those made
	madeUnchecked int      // of those made: how many may be there twice
	gaps          []Record // of entries that had no room or were deleted earlier
	homeless      []*candidate
}

// update may run more than once.
func (g *group) update(c *change) error {
	copy(g.placements, g.earlier)
	g.made, g.imported, g.madeUnchecked, g.gaps, g.homeless = 0, 0, 0, nil, nil
	if g.d.age() > maxDraftAge {
		return errDraftAge // it may refer to chunks that the sweep takes
	}
	if err := g.staysOpen(c); err != nil {
		return err
	}
	if err := g.d.keepsDictionaries(c); err != nil {
		return err
	}
	if err := g.beside(c); err != nil {
		return err
	}
	if err := g.open(c); err != nil {
		return err
	}
	if err := g.d.keepChunks(c); err != nil {
		return err
	}
	if err := g.readAhead(c); err != nil {
		return err
	}
	for i := range g.entries {
		p, e := &g.placements[i], &g.entries[i]
		if p.Skipped != "" {
			g.gaps = append(g.gaps, e.record(Skip, p.Skipped))
		}
		if p.done() {
			continue
		}
		var err error
		*p, err = c.place(e)
		if errors.Is(err, errNewFolder) {
			g.homeless = append(g.homeless, e)
			continue
		}
		if err != nil {
			return fmt.Errorf("mailbox %s: %w", e.Mailbox, err)
		}
		switch {
		case p.Skipped == ReasonFull:
			g.gaps = append(g.gaps, e.record(Gap, ReasonFull))
		case p.Skipped != "":
			g.gaps = append(g.gaps, e.record(Skip, p.Skipped))
		case !p.Found && !p.Waits:
			g.made++
			if e.Imported != nil {
				g.imported++
			}
			if slices.Contains(e.Flags, FlagUnchecked) {
				g.madeUnchecked++
			}
		}
	}
	if len(g.homeless) > 0 {
		return errNewFolder
	}
	if g.made > 0 {
		for _, p := range chunkPairs(g.d.pending) {
			c.Put(p.Key, p.Value)
		}
		for _, s := range g.d.staged {
			c.Needs(s)
		}
	}
	if err := putRecords(c, g.gaps); err != nil {
		return err
	}
	return putRecords(c, g.skips)
}

// record returns the record of a message that the mailbox does not get.
func (e *candidate) record(kind RecordKind, reason string) Record {
	return Record{
		Kind: kind, Mailbox: e.Mailbox, Time: e.Time, Reason: reason, Direction: e.Direction, MailFrom: e.MailFrom, RcptTo: e.RcptTo,
		ORCPT: e.ORCPT, MessageID: e.MessageID, QueueID: e.QueueID, Transaction: e.Transaction,
	}
}

// entry returns what the entries of all intents share.
func (d *Draft) entry(env Envelope, table *part.Table, digest Digest) Entry {
	header := d.scanner.Header()
	value := func(name string) string {
		v := part.Value(header, name)
		return v[:min(len(v), MaxHeaderValue)]
	}
	return Entry{
		Ref:       Ref{Month: d.month()},
		Envelope:  env,
		Time:      d.arrival,
		Size:      d.size,
		SHA256:    digest,
		Chunks:    d.chunks,
		From:      value("From"),
		To:        value("To"),
		Subject:   value("Subject"),
		Date:      value("Date"),
		MessageID: value("Message-ID"),
		Parts:     *table,
		Envelopes: d.scanner.Envelopes(),
	}
}

// of returns the entry for one mailbox.
func (in *Intent) of(e Entry) *Entry {
	e.Mailbox, e.Folder, e.Direction = in.Mailbox, FolderOf(in.Direction), in.Direction
	if in.Import != nil {
		e.Folder, e.Imported = in.Folder, in.Import
	}
	e.RcptTo, e.ORCPT, e.Recipients = in.RcptTo, in.ORCPT, in.Recipients
	e.Flags, e.Links = in.Flags, unique(in.Links)
	e.Class, e.DeclaredClass, e.Signature, e.SentTo, e.Certification = in.Class, in.DeclaredClass, in.Signature, in.SentTo, in.Certification
	return &e
}

// place puts the entry last in its folder, or finds that it is there, was deleted, or has no room. It sets e.Ref. The error is
// errNewFolder when the folder needs a UIDVALIDITY.
func (c *change) place(e *candidate) (Placement, error) {
	v, err := c.Get(e.delivery)
	if _, gone := isTombstone(v); err == nil && gone && e.Imported != nil {
		e.notOnce()
		v, err = c.Get(e.delivery)
	}
	switch {
	case err == nil:
		p, err := c.repeatedAt(e, v)
		if err == nil && p.Found {
			e.Ref = p.Ref
		}
		if !errors.Is(err, ErrNotFound) {
			return p, err
		}
	case !errors.Is(err, kv.ErrNotFound):
		return Placement{}, err
	}
	older, err := c.older(e.Entry, e.older)
	if err != nil {
		return Placement{}, err
	}
	limit := e.quota.Limit
	if limit > 0 {
		limit += freed(older)
	}
	used, ok, err := c.take(e.Mailbox, uint64(e.Size), limit)
	if err != nil {
		return Placement{}, err
	}
	if !ok {
		switch {
		case e.Imported != nil:
			return Placement{}, ErrFull
		case e.quota.defers(uint64(e.Size)):
			return Placement{Ref: Ref{Mailbox: e.Mailbox}, Waits: true}, nil
		case e.quota.WhenFull == MakeRoom && !e.noRoom:
			return Placement{}, &noRoomError{e}
		}
		c.leaveToSweep(e.Entry) // what the draft has already stored
		return Placement{Ref: Ref{Mailbox: e.Mailbox}, Skipped: ReasonFull}, nil
	}
	if e.UID, err = c.nextUID(e.Entry, e.Folder, e.begin); err != nil {
		return Placement{}, err
	}
	if err := c.supersede(older, e.deliveredIn(e.Month)); err != nil {
		return Placement{}, err
	}
	o := outcome{state: Unknown, withdrawal: true, transaction: e.Transaction, supersedes: e.elsewhere}
	for _, old := range older {
		o.supersedes = append(o.supersedes[:len(o.supersedes):len(o.supersedes)], delivery{e.Month, old.key})
	}
	value := e.encode(e.parts)
	c.Put(entryKey(e.Ref), value)
	if err := c.note(evidence.Added, e.Entry, e.Ref, value); err != nil {
		return Placement{}, err
	}
	if e.Imported == nil {
		c.Put(outcomeKey(e.Ref), o.encode())
	}
	c.Put(e.delivery, encodePlace(e.Ref))
	putLinks(c, e.Entry)
	return Placement{Ref: e.Ref, Crossed: e.quota.crossed(used, uint64(e.Size))}, nil
}

// repeat notes that a transaction has the entry at e.Ref under way again. ErrNotFound says that there is no such entry.
func repeat(tx *change, e *Entry) error {
	v, err := tx.Get(entryKey(e.Ref))
	if errors.Is(err, kv.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	if isUnreadable(v) {
		return ErrNotFound // its key or dictionary is lost: the message is journaled once more, and can be read
	}
	if e.Direction == Sent {
		if err := addRecipients(tx, e.Ref, v, e.Recipients); err != nil {
			return err
		}
	}
	o, err := getOutcome(tx, e.Ref)
	if err != nil || o.state == Delivered || o.state == Unknown && o.transaction == e.Transaction {
		return err
	}
	// Only an entry known to have been refused may be withdrawn: an unknown outcome may have been a delivery.
	o.withdrawal = o.state == Deferred || o.state == Refused
	o.state, o.transaction = Unknown, e.Transaction
	tx.Put(outcomeKey(e.Ref), o.encode())
	return nil
}

// addRecipients adds recipients to a sent message that the MTA hands on in several transactions.
func addRecipients(tx *change, r Ref, value []byte, recipients []string) error {
	e, err := decodeEntry(r, value)
	if err != nil {
		return err
	}
	before := len(e.Recipients)
	for _, rcpt := range recipients {
		if !slices.Contains(e.Recipients, rcpt) {
			e.Recipients = append(e.Recipients, rcpt)
		}
	}
	if len(e.Recipients) == before {
		return nil
	}
	parts, err := e.Parts.AppendBinary(nil)
	if err != nil {
		return err
	}
	changed := e.encode(parts)
	tx.Put(entryKey(r), changed)
	return tx.note(evidence.Amended, e, r, changed)
}

// repeated looks for the deliveries in the months before and after that of the arrival, and notes the repetitions there. The month before
// has those of a retry. The month after has those of a message that took long, or whose retry came after the clock was set back. If a
// month cannot be read the message is journaled, perhaps twice, and its entry flagged: otherwise all mail would wait for that month.
func (d *Draft) repeated(ctx context.Context, entries []candidate) ([]Placement, error) {
	placements := make([]Placement, len(entries))
	month := d.month()
	for _, m := range [...]kv.Month{month.Previous(), month.Next()} {
		s, err := d.j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		for i := range entries {
			if placements[i].done() || entries[i].Imported != nil && !entries[i].Imported.Once {
				continue
			}
			one := err
			if one == nil {
				placements[i], one = d.j.repeatIn(ctx, s, m, &entries[i])
			}
			if entries[i].Imported != nil && placements[i].Skipped != "" {
				placements[i] = Placement{} // it was deleted there, and comes back
			}
			var bad *MonthError
			if errors.As(one, &bad) {
				placements[i] = Placement{}
				entries[i].unchecked()
			} else if one != nil {
				return nil, fmt.Errorf("look for a repetition in %s: %w", m, one)
			}
		}
	}
	return placements, nil
}

// unchecked flags an entry that may be there already.
func (e *candidate) unchecked() {
	if !slices.Contains(e.Flags, FlagUnchecked) {
		e.Flags = append(slices.Clip(e.Flags), FlagUnchecked)
	}
}

// repeatIn looks for a delivery in the volume of another month, and notes the repetition there. The error is a MonthError if the month
// cannot be read. If it cannot be written the message has to wait: it is known to be a repetition.
func (j *Journal) repeatIn(ctx context.Context, s kv.Store, m kv.Month, e *candidate) (p Placement, err error) {
	if there, err := hasKey(ctx, s, e.delivery); !there || err != nil {
		return Placement{}, j.monthError(ctx, m, err)
	}
	var unread error
	err = j.update(ctx, s, m, []string{e.Mailbox, movesLock}, func(tx *change) error {
		// The entry may have been moved or deleted since.
		var v []byte
		if v, unread = tx.Get(e.delivery); unread == nil {
			p, unread = tx.repeatedAt(e, v)
		}
		return unread
	})
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, kv.ErrNotFound):
		return Placement{}, nil // withdrawn since it was looked for
	case err != nil && unread != nil:
		return Placement{}, j.monthError(ctx, m, err)
	case err != nil:
		return Placement{}, err
	}
	return p, nil
}

// repeatedAt notes a repetition at the entry that v, the value of its delivery key, leads to. ErrNotFound says that there is no entry.
func (c *change) repeatedAt(e *candidate, v []byte) (Placement, error) {
	again := *e.Entry
	var err error
	if place, gone := isTombstone(v); gone {
		again.Ref, err = c.returned(e.Mailbox, place)
		if errors.Is(err, ErrNotFound) {
			return Placement{Ref: Ref{Mailbox: e.Mailbox}, Skipped: ReasonDeleted}, nil
		}
	} else {
		again.Ref, err = decodePlace(e.Mailbox, c.month, v)
	}
	if err == nil {
		err = repeat(c, &again)
	}
	if err != nil {
		return Placement{}, err
	}
	return Placement{Ref: again.Ref, Found: true}, nil
}

func encodePlace(r Ref) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(r.Folder), 0), r.UID)
}

func decodePlace(mailbox string, month kv.Month, v []byte) (Ref, error) {
	n := len(v) - 5
	if n < 0 || v[n] != 0 {
		return Ref{}, fmt.Errorf("place of a delivery: %w", errEncoding)
	}
	return Ref{Mailbox: mailbox, Month: month, Folder: string(v[:n]), UID: binary.BigEndian.Uint32(v[n+1:])}, nil
}

func getCounters(tx kv.View, mailbox, folder string) (folderCounters, error) {
	v, err := tx.Get(counterKey(mailbox, folder))
	if errors.Is(err, kv.ErrNotFound) {
		return folderCounters{}, nil
	}
	if err != nil {
		return folderCounters{}, err
	}
	return decodeCounters(v)
}

// getOutcome returns the outcome of an entry; without one it was Delivered.
func getOutcome(tx kv.Tx, r Ref) (outcome, error) {
	v, err := tx.Get(outcomeKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return outcome{}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	return decodeOutcome(v)
}
