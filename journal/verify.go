package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// Verify reads the whole journal: it recomputes the digest of every message and every shared chunk, follows every reference both ways, and compares
// every entry with its log and every log with the checkpoints.
// It runs beside deliveries. progress, which may be nil, is called from time to time with the number of entries checked. An error says
// that it could not go on; the Report has the faults of the archive and the months that cannot be read.
func (j *Journal) Verify(ctx context.Context, o EvidenceOptions, progress func(month kv.Month, entries int64)) (*Report, error) {
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	return j.VerifyMonths(ctx, months, o, progress)
}

// VerifyMonths is Verify for some months, and all checkpoints.
func (j *Journal) VerifyMonths(ctx context.Context, months []kv.Month, o EvidenceOptions, progress func(month kv.Month, entries int64)) (*Report, error) {
	r := new(Report)
	v := &verifier{j: j, ctx: ctx, newest: j.newID(), report: r, progress: progress, patience: &patience{left: maxPatience}, logPart: loggedPart}
	for _, m := range months {
		if err := v.verifyMonth(m); err != nil {
			return nil, err
		}
	}
	if err := v.checkpoints(o); err != nil {
		return nil, fmt.Errorf("verify the checkpoints: %w", err)
	}
	return r, nil
}

// verifyMonth verifies one month, or reports that it is passed over. An error ends the verification.
func (v *verifier) verifyMonth(m kv.Month) error {
	s, err := v.j.volume(v.ctx, m, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil
	}
	if err == nil {
		err = v.j.recordLosses(v.ctx, s)
	}
	if err == nil {
		v.report.Volumes++
		err = v.volume(s, m)
	}
	if endsPass(err) {
		return err
	}
	var month *MonthError
	switch err = v.j.monthError(v.ctx, m, err); {
	case err == nil:
		v.j.readable(m)
	case v.j.dropped(v.ctx, m, err):
	case errors.As(err, &month):
		v.report.passOver(m, err)
	default:
		return fmt.Errorf("verify %s: %w", m, err)
	}
	return nil
}

// maxPatience is how often in all a verification waits, retryPause each time, for a store that is unavailable: it may be reopening its
// files. After that what cannot be read is a fault.
const (
	maxPatience = 20
	retryPause  = 250 * time.Millisecond
)

// verifier checks one volume after the other. Each check allows for what deliveries change meanwhile, and for nothing else.
type verifier struct {
	j        *Journal
	ctx      context.Context
	newest   ChunkID // above all chunks from before it began
	report   *Report
	progress func(kv.Month, int64)
	patience *patience
	logPart  int64 // how many leaves of a log are compared with the entries at a time
	pass     *pass // in the background; otherwise nil

	store    kv.Store
	month    kv.Month
	referred *idSet                            // the chunks to which entries refer; nil in the background
	checked  *idSet                            // the digests of chunks that were found right with an entry, by checkedID; nil in the background
	folders  map[folderName]*[2]folderCounters // as stored before the entries were read, and as counted
	stored   map[folderName]folderCounters     // the first of these
	pairs    *pairing
	counts   map[folderName]*folderCounters // of the entries read so far
	index    indexOf                        // of the entry read last
	buffer   []byte                         // of the chunk read last
}

type folderName struct{ mailbox, folder string }

// The two counters of a folder in verifier.folders.
const (
	asStored  = 0
	asCounted = 1
)

func (v *verifier) volume(s kv.Store, m kv.Month) error {
	v.store, v.month, v.counts, v.index = s, m, nil, indexOf{}
	v.folders, v.stored, v.pairs = make(map[folderName]*[2]folderCounters), make(map[folderName]folderCounters), newPairing()
	steps := []func() error{
		v.dictionaries, v.counters, v.entries, v.asides, v.deleted, v.counted, v.totals, v.spares, v.deliveries, v.outcomes, v.links, v.unpaired, v.indexes, v.holds, v.acts, v.digests, v.records, v.logs,
	}
	if v.pass == nil {
		v.referred, v.checked = newIDSet(), newIDSet()
		defer v.referred.Close()
		defer v.checked.Close()
		steps = append(steps, v.chunks)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) get(key []byte) ([]byte, error) {
	for {
		value, err := v.store.Get(v.ctx, key)
		if err == nil || !v.wait(err) {
			return value, err
		}
	}
}

func (v *verifier) has(key []byte) (bool, error) {
	_, err := v.get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// counters reads what is stored of the folders.
func (v *verifier) counters() error {
	return v.scan([]byte{'s'}, func(p kv.Pair) error {
		mailbox, folder, rest, err := splitFolderKey(p.Key)
		if err != nil || len(rest) != 0 {
			v.report.fault("%s: counters with a malformed key %q", v.month, p.Key)
			return nil
		}
		c, err := decodeCounters(p.Value)
		if err != nil {
			v.report.fault("%s %s/%s: %v", mailbox, folder, v.month, err)
			return nil
		}
		v.folders[folderName{mailbox, folder}] = &[2]folderCounters{asStored: c}
		v.stored[folderName{mailbox, folder}] = c
		return nil
	})
}

func (v *verifier) entries() error {
	err := v.each([]byte{'e'}, func(w *verifier, p kv.Pair) error {
		e, err := entryOf(w.month, p)
		if err != nil {
			w.report.fault("%s: %v", w.month, err)
			return nil
		}
		w.report.Entries++
		if e.Imported != nil {
			w.report.Imported++
		}
		w.report.Bytes += e.Size
		w.countedOf(folderName{e.Mailbox, e.Folder}).count(e)
		if err := w.refers(e); err != nil {
			return err
		}
		if err := w.indexed(e); err != nil {
			return err
		}
		if err := w.entry(e); err != nil {
			return err
		}
		return w.pass.reached(p.Key)
	})
	for name, c := range v.counts {
		if v.folders[name] == nil {
			v.folders[name] = new([2]folderCounters)
		}
		v.folders[name][asCounted] = *c
	}
	return err
}

// refers notes to which chunks an entry refers, for the step chunks.
func (v *verifier) refers(e *Entry) error {
	for _, chunk := range e.Chunks {
		if err := v.referred.add(chunk.ID); err != nil {
			return err
		}
	}
	return nil
}

func (c *folderCounters) count(e *Entry) {
	c.entries++
	c.bytes += uint64(e.Size)
	if e.Imported != nil {
		c.imported++
	}
	c.nextUID = max(c.nextUID, e.UID+1)
}

func (v *verifier) entry(e *Entry) error {
	name := fmt.Sprintf("%s %s %d", e.Mailbox, e.FolderName(), e.UID)
	if v.old(e.Ref) {
		v.pairs.called(deliveryKey(e.Mailbox, e.deliveryDigest()), e.Ref)
	} else if err := v.entryDelivery(e); err != nil {
		return err
	}
	if !v.pass.skips(entryKey(e.Ref)) {
		err := v.body(e)
		if v.interrupted(err) {
			return err
		}
		if err != nil {
			// Its chunks go later, when the sweep comes or the month is dropped.
			if gone, err := v.gone(e.Ref); gone || err != nil {
				return err
			}
			if v.old(e.Ref) && v.pairs.lookUp(e.Ref) {
				if err := v.entryDelivery(e); err != nil {
					return err
				}
			}
			v.unreadable("%s: %v", name, err)
		} else if len(e.Chunks) == 1 && e.Size >= shareMin {
			if err := v.checked.add(v.pairs.checkedID(e.SHA256, e.Chunks[0].ID)); err != nil {
				return err
			}
		}
	}
	for _, l := range e.Links {
		if v.old(e.Ref) {
			v.pairs.called(linkKey(l, e.Ref), e.Ref)
		} else if err := v.entryLink(e, l); err != nil {
			return err
		}
	}
	for i, p := range e.Parts.Parts {
		if p.Header < 0 || p.Header > p.Body || p.Body > p.End || p.End > e.Size {
			v.report.fault("%s: part %d lies outside the message", name, i)
		}
	}
	if len(e.Parts.Parts) == 0 {
		v.report.fault("%s: it has no part table", name)
	}
	return nil
}

// entryDelivery checks that the delivery key of an entry leads to it.
func (v *verifier) entryDelivery(e *Entry) error {
	place, err := v.get(deliveryKey(e.Mailbox, e.deliveryDigest()))
	if errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(place, encodePlace(e.Ref)) {
		if gone, err := v.gone(e.Ref); gone || err != nil {
			return err
		}
		v.report.fault("%s %s %d: its delivery key does not lead to it", e.Mailbox, e.FolderName(), e.UID)
		return nil
	}
	return err
}

// entryLink checks that a link of an entry leads to it.
func (v *verifier) entryLink(e *Entry, link string) error {
	if there, err := v.has(linkKey(link, e.Ref)); there || err != nil {
		return err
	}
	if gone, err := v.gone(e.Ref); gone || err != nil {
		return err
	}
	v.report.fault("%s %s %d: its link %q does not lead to it", e.Mailbox, e.FolderName(), e.UID, link)
	return nil
}

// interrupted says whether a verification ends with an error that is no fault of the journal.
func (v *verifier) interrupted(err error) bool {
	return err != nil && (v.ctx.Err() != nil || endsPass(err))
}

// unreadable reports a fault of what is not read again after a restart in the background.
func (v *verifier) unreadable(format string, args ...any) {
	v.report.fault(format, args...)
	v.pass.keep(format, args...)
}

// body says what is wrong with the bytes of a message.
func (v *verifier) body(e *Entry) error {
	for {
		body, err := v.j.Body(v.ctx, e)
		if err == nil {
			h := sha256.New()
			if _, err = body.WriteTo(v.pass.paced(h)); err == nil && Digest(h.Sum(nil)) != e.SHA256 {
				return errors.New("the SHA-256 of its bytes is another one")
			}
		}
		if err == nil || !v.wait(err) {
			return err
		}
	}
}

// gone says whether an entry was withdrawn or deleted since it was read.
func (v *verifier) gone(r Ref) (bool, error) {
	there, err := v.has(entryKey(r))
	return !there, err
}

// counted compares what was counted with what is stored. It counts a folder that differs again: that may have changed meanwhile.
func (v *verifier) counted() error {
	for name, f := range v.folders {
		stored, counted := f[asStored], f[asCounted]
		if stored.entries == counted.entries && stored.bytes == counted.bytes && stored.imported == counted.imported && stored.nextUID >= counted.nextUID && stored.nextUID > 0 {
			continue
		}
		if err := v.recount(name); err != nil {
			return err
		}
	}
	return nil
}

// recount counts the entries of one folder below the next UID. Deliveries add none there. Withdrawals and deletions take some away, and
// the counters tell how many. The erasure of an archive takes the counters too, after the entries.
func (v *verifier) recount(name folderName) error {
	before, err := v.readCounters(name)
	if err != nil {
		return err
	}
	var counted folderCounters
	err = v.scan(folderKey('e', name.mailbox, name.folder), func(p kv.Pair) error {
		if e, err := entryOf(v.month, p); err == nil && (e.UID < before.nextUID || before.nextUID == 0) {
			counted.count(e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	now, err := v.readCounters(name)
	if err != nil {
		return err
	}
	erased := now.nextUID < before.nextUID || before.nextUID == 0 && (counted.entries == 0 || now.nextUID > 0)
	if erased {
		return nil
	}
	added := uint64(now.nextUID - before.nextUID)
	withdrawn := before.entries + added - now.entries
	sound := counted.entries <= before.entries && counted.entries+withdrawn >= before.entries
	if withdrawn == 0 {
		sound = counted.entries == before.entries && counted.bytes == before.bytes && counted.imported == before.imported
	}
	if before.nextUID == 0 || !sound {
		v.report.fault("%s %s/%s: counters say %d entries of %d bytes below UID %d; there are %d of %d; imported are %d and %d",
			name.mailbox, name.folder, v.month, before.entries, before.bytes, before.nextUID, counted.entries, counted.bytes, before.imported, counted.imported)
	}
	return nil
}

func (v *verifier) readCounters(name folderName) (folderCounters, error) {
	b, err := v.get(counterKey(name.mailbox, name.folder))
	if errors.Is(err, kv.ErrNotFound) {
		return folderCounters{}, nil
	}
	if err != nil {
		return folderCounters{}, err
	}
	// Malformed ones are reported already.
	c, err := decodeCounters(b)
	if err != nil {
		return folderCounters{}, nil
	}
	return c, nil
}

// deliveries checks that every delivery key leads to an entry of just that delivery.
func (v *verifier) deliveries() error {
	return v.each([]byte{'d'}, func(v *verifier, p kv.Pair) error {
		mailbox, _, err := splitMailboxKey(p.Key)
		if err != nil {
			v.report.fault("%s: malformed delivery key %q", v.month, p.Key)
			return nil
		}
		place, gone := isTombstone(p.Value)
		ref, err := decodePlace(mailbox, v.month, place)
		if err != nil {
			v.report.fault("%s: delivery of %s: %v", v.month, mailbox, err)
			return nil
		}
		if !gone && v.old(ref) {
			v.pairs.there(p.Key, ref)
			return nil
		}
		return v.delivery(p, ref, gone)
	})
}

// delivery checks a delivery key, which leads to a place, or says that what was there is gone.
func (v *verifier) delivery(p kv.Pair, ref Ref, gone bool) error {
	value, err := v.get(entryKey(ref))
	if errors.Is(err, kv.ErrNotFound) {
		if gone {
			return nil
		}
		return v.astray(p, ref, "a delivery key")
	}
	if err == nil && gone {
		v.report.fault("a delivery key says that %s %s %d is gone, which is there", ref.Mailbox, ref.FolderName(), ref.UID)
		return nil
	}
	if err != nil {
		return err
	}
	// An entry that cannot be decoded is reported already.
	e, err := decodeHead(ref, value)
	if err != nil {
		return nil
	}
	if !bytes.Equal(deliveryKey(e.Mailbox, e.deliveryDigest()), p.Key) {
		v.report.fault("a delivery key leads to %s %s %d, which is another delivery", ref.Mailbox, ref.FolderName(), ref.UID)
	}
	return nil
}

// astray reports a pair that leads to no entry, unless the pair changed since it was read: the entry was withdrawn, and perhaps delivered
// again under a new UID.
func (v *verifier) astray(p kv.Pair, r Ref, what string) error {
	switch now, err := v.get(p.Key); {
	case errors.Is(err, kv.ErrNotFound):
		return nil
	case err != nil:
		return err
	case p.Key[0] == 'd' && !bytes.Equal(now, p.Value):
		return nil
	}
	v.report.fault("%s leads to %s %s %d, which is not there", what, r.Mailbox, r.FolderName(), r.UID)
	return nil
}

func (v *verifier) outcomes() error {
	return v.each([]byte{'o'}, func(v *verifier, p kv.Pair) error {
		o, err := decodeOutcome(p.Value)
		if err != nil {
			v.report.fault("%s: %q: %v", v.month, p.Key, err)
			return nil
		}
		switch o.state {
		case Unknown:
			v.report.Unknown++
		case Deferred:
			v.report.Deferred++
		}
		mailbox, folder, rest, err := splitFolderKey(p.Key)
		if err != nil || len(rest) != 4 {
			v.report.fault("%s: malformed outcome key %q", v.month, p.Key)
			return nil
		}
		ref := Ref{Mailbox: mailbox, Month: v.month, Folder: folder, UID: binary.BigEndian.Uint32(rest)}
		there, err := v.has(entryKey(ref))
		if err != nil || there {
			return err
		}
		return v.astray(p, ref, "an outcome")
	})
}

// digests checks that every digest leads to a chunk with these bytes. Those of messages of one chunk were checked with their entries.
func (v *verifier) digests() error {
	if err := v.checked.seal(); err != nil {
		return err
	}
	left := func(p kv.Pair) (bool, error) {
		if len(p.Key) != 1+len(Digest{}) || len(p.Value) != len(ChunkID{}) {
			return true, nil
		}
		checked, err := v.checked.has(v.pairs.checkedID(Digest(p.Key[1:]), ChunkID(p.Value)))
		return !checked, err
	}
	return v.eachOf([]byte{'h'}, left, func(v *verifier, p kv.Pair) (err error) {
		if v.pass.skips(p.Key) {
			return nil
		}
		if v.buffer, err = v.digest(p, v.buffer[:0]); err != nil {
			return err
		}
		return v.pass.reached(p.Key)
	})
}

// digest checks one digest. It returns the memory that it has read the chunk into, for the next one.
func (v *verifier) digest(p kv.Pair, buf []byte) ([]byte, error) {
	var id ChunkID
	if len(p.Value) != len(id) || len(p.Key) != 33 {
		v.unreadable("%s: malformed digest key %x", v.month, p.Key)
		return buf, nil
	}
	copy(id[:], p.Value)
	data, err := v.j.readChunk(v.ctx, v.month, v.store, id, buf)
	for err != nil && v.wait(err) {
		data, err = v.j.readChunk(v.ctx, v.month, v.store, id, buf)
	}
	if err != nil {
		if v.ctx.Err() != nil {
			return buf, v.ctx.Err()
		}
		// The sweep deletes the digest of a chunk before the chunk.
		now, getErr := v.get(p.Key)
		if errors.Is(getErr, kv.ErrNotFound) || getErr == nil && !bytes.Equal(now, p.Value) {
			return buf, nil
		}
		if getErr == nil {
			v.unreadable("%s: digest %x: %v", v.month, p.Key[1:], err)
		}
		return buf, getErr
	}
	if sum := sha256.Sum256(data); !bytes.Equal(sum[:], p.Key[1:]) {
		v.unreadable("%s: chunk %x has the SHA-256 %x, not %x", v.month, id, sum, p.Key[1:])
	}
	return data, v.pass.spend(len(data))
}

// chunks counts the chunks, and those that no entry refers to.
func (v *verifier) chunks() error {
	if err := v.referred.seal(); err != nil {
		return err
	}
	return v.scan([]byte{'c'}, func(p kv.Pair) error {
		var id ChunkID
		if len(p.Key) != 1+len(id) {
			v.report.fault("%s: malformed chunk key %x", v.month, p.Key)
			return nil
		}
		copy(id[:], p.Key[1:])
		v.report.Chunks++
		v.report.Stored += int64(len(p.Value))
		there, err := v.referred.has(id)
		if !there && compareChunks(id, v.newest) < 0 {
			v.report.Orphans++
		}
		return err
	})
}

func (v *verifier) records() error {
	return v.scan([]byte{'g'}, func(p kv.Pair) error {
		mailbox, _, err := splitMailboxKey(p.Key)
		var r *Record
		if err == nil {
			r, err = decodeRecord(mailbox, p.Value)
		}
		if err != nil {
			v.report.fault("%s: %v", v.month, err)
			return nil
		}
		if r.Kind == Gap {
			v.report.Gaps++
		}
		return nil
	})
}
