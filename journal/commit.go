package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// Intent says what one mailbox is to get of a message.
type Intent struct {
	Mailbox    string
	Direction  Direction
	RcptTo     string   // received mail
	ORCPT      string   // received mail
	Recipients []string // sent mail
	Class      string
	Flags      []string
}

// Placement is where the message of an Intent is in the journal.
type Placement struct {
	Ref
	Found bool // the entry was there before: this is a repetition
}

// groupSize is about how many bytes of entries one update makes; the rest of a long list of intents follows in the next.
const groupSize = 4 << 20

// Commit makes the entry of every intent, and the records of what is skipped, durable. A mailbox that has an entry of the same
// delivery already keeps that one. What it returns is in the order of intents. Every entry is then in the state Unknown until
// Delivered, Deferred or Withdraw tells more. After an error nothing of it counts, although it may turn up later; the MTA's retry
// will then find it.
func (d *Draft) Commit(ctx context.Context, env Envelope, intents []Intent, skips []Record) ([]Placement, error) {
	table, digest := d.finish()
	if d.err != nil {
		return nil, fmt.Errorf("take in message: %w", d.err)
	}
	parts, err := table.AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("encode part table: %w", err)
	}
	entries := make([]*Entry, len(intents))
	placements := make([]Placement, len(intents))
	for i, in := range intents {
		entries[i] = d.entry(env, in, table, digest)
		found, err := d.j.repeatBefore(ctx, entries[i])
		if err != nil {
			return nil, err
		}
		placements[i] = Placement{Ref: found, Found: found.UID != 0}
	}
	for start := 0; ; {
		end, size := start, 0
		for end < len(entries) && (end == start || size < groupSize) {
			size += entries[end].sizeEstimate() + len(parts)
			end++
		}
		if err := d.commitGroup(ctx, entries[start:end], parts, placements[start:end], skips); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		skips = nil
		if start = end; start == len(entries) {
			return placements, nil
		}
	}
}

// commitGroup makes entries that are not placed yet, in one update with the chunks that the store does not have and the skips.
func (d *Draft) commitGroup(ctx context.Context, entries []*Entry, parts []byte, placements []Placement, skips []Record) error {
	locks := make([]string, 0, len(entries)+len(skips))
	for _, e := range entries {
		locks = append(locks, e.Mailbox)
	}
	for _, s := range skips {
		locks = append(locks, s.Mailbox)
	}
	earlier := slices.Clone(placements)
	made := 0
	err := d.volume.Update(ctx, locks, func(tx kv.Tx) error {
		copy(placements, earlier)
		made = 0
		for i, e := range entries {
			if placements[i].Found {
				continue
			}
			isNew, err := place(tx, e, parts)
			if err != nil {
				return fmt.Errorf("mailbox %s: %w", e.Mailbox, err)
			}
			if isNew {
				made++
			}
			placements[i] = Placement{Ref: e.Ref, Found: !isNew}
		}
		if made > 0 {
			putChunks(tx, d.pending)
		}
		return putRecords(tx, skips)
	})
	if err != nil {
		return err
	}
	if made > 0 {
		d.pending = nil
	}
	d.j.journaled.Add(int64(made))
	d.j.bytesIn.Add(int64(made) * d.size)
	return nil
}

func (d *Draft) entry(env Envelope, in Intent, table *part.Table, digest Digest) *Entry {
	e := &Entry{
		Ref:        Ref{Mailbox: in.Mailbox, Month: kv.MonthOf(d.arrival), Folder: FolderOf(in.Direction)},
		Envelope:   env,
		Direction:  in.Direction,
		Time:       d.arrival,
		RcptTo:     in.RcptTo,
		ORCPT:      in.ORCPT,
		Recipients: in.Recipients,
		Size:       d.size,
		SHA256:     digest,
		Chunks:     d.chunks,
		Class:      in.Class,
		Flags:      in.Flags,
		Parts:      *table,
	}
	header := d.scanner.Header()
	for name, value := range map[string]*string{
		"From": &e.From, "To": &e.To, "Subject": &e.Subject, "Date": &e.Date, "Message-ID": &e.MessageID,
	} {
		v := part.Value(header, name)
		*value = v[:min(len(v), valueMax)]
	}
	return e
}

// place puts the entry behind the last one of its folder, or finds that it is there. It sets e.Ref to where it is.
func place(tx kv.Tx, e *Entry, parts []byte) (isNew bool, err error) {
	key := deliveryKey(e.Mailbox, deliveryDigest(e.Mailbox, e.Direction, e.MailFrom, e.SHA256))
	switch v, err := tx.Get(key); {
	case err == nil:
		if e.Ref, err = decodePlace(e.Mailbox, e.Month, v); err != nil {
			return false, err
		}
		return false, repeat(tx, e)
	case !errors.Is(err, kv.ErrNotFound):
		return false, err
	}
	counters, err := getCounters(tx, e.Mailbox, e.Folder)
	if err != nil {
		return false, err
	}
	if counters.nextUID == 0 {
		counters.nextUID, counters.uidValidity = 1, uint32(e.Time.Unix())
	}
	e.UID = counters.nextUID
	counters.nextUID++
	counters.entries++
	counters.bytes += uint64(e.Size)
	tx.Put(entryKey(e.Ref), e.encode(parts))
	tx.Put(outcomeKey(e.Ref), outcome{state: Unknown, withdrawal: true, transaction: e.Transaction}.encode())
	tx.Put(key, encodePlace(e.Ref))
	tx.Put(counterKey(e.Mailbox, e.Folder), counters.encode())
	return true, nil
}

// repeat notes that another transaction has the entry at e.Ref under way again.
func repeat(tx kv.Tx, e *Entry) error {
	if e.Direction == Sent {
		if err := addRecipients(tx, e.Ref, e.Recipients); err != nil {
			return err
		}
	}
	o, err := getOutcome(tx, e.Ref)
	if err != nil || o.state == Delivered {
		return err
	}
	// Only what is known to have been refused for now may be withdrawn: an unknown outcome may have been a delivery.
	o.withdrawal = o.state == Deferred
	o.state, o.transaction = Unknown, e.Transaction
	tx.Put(outcomeKey(e.Ref), o.encode())
	return nil
}

// addRecipients makes the recipients of a sent message whole when the MTA hands it on in several transactions.
func addRecipients(tx kv.Tx, r Ref, recipients []string) error {
	v, err := tx.Get(entryKey(r))
	if err != nil {
		return err
	}
	e, err := decodeEntry(r, v)
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
	tx.Put(entryKey(r), e.encode(parts))
	return nil
}

// repeatBefore looks for the delivery in the month before, and notes the repetition there. The UID is 0 when there is none.
func (j *Journal) repeatBefore(ctx context.Context, e *Entry) (Ref, error) {
	month := e.Month.Previous()
	s, err := j.volume(ctx, month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return Ref{}, nil
	}
	if err != nil {
		return Ref{}, err
	}
	key := deliveryKey(e.Mailbox, deliveryDigest(e.Mailbox, e.Direction, e.MailFrom, e.SHA256))
	v, err := s.Get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return Ref{}, nil
	}
	if err != nil {
		return Ref{}, fmt.Errorf("look for a repetition in %s: %w", month, err)
	}
	again := *e
	if again.Ref, err = decodePlace(e.Mailbox, month, v); err != nil {
		return Ref{}, err
	}
	found := false
	err = s.Update(ctx, []string{e.Mailbox}, func(tx kv.Tx) error {
		// The entry may have been withdrawn since it was looked for.
		_, err := tx.Get(entryKey(again.Ref))
		found = err == nil
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return repeat(tx, &again)
	})
	if err != nil || !found {
		return Ref{}, err
	}
	return again.Ref, nil
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

func getCounters(tx kv.Tx, mailbox, folder string) (folderCounters, error) {
	v, err := tx.Get(counterKey(mailbox, folder))
	if errors.Is(err, kv.ErrNotFound) {
		return folderCounters{}, nil
	}
	if err != nil {
		return folderCounters{}, err
	}
	return decodeCounters(v)
}

// getOutcome returns the outcome of an entry; Delivered when none is kept.
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
