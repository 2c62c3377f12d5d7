package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/kv"
)

// Report is what Verify found. The archive is sound when Faults is 0.
type Report struct {
	Volumes  int      `json:"volumes"`
	Entries  int64    `json:"entries"`
	Bytes    int64    `json:"bytes"` // of the messages of all entries
	Chunks   int64    `json:"chunks"`
	Stored   int64    `json:"stored"`   // bytes of all chunks as stored
	Orphans  int64    `json:"orphans"`  // chunks that no entry refers to; no fault
	Unknown  int64    `json:"unknown"`  // entries whose delivery is not known
	Deferred int64    `json:"deferred"` // entries that wait for the MTA's retry
	Gaps     int64    `json:"gaps"`
	Faults   int64    `json:"faults"`
	Details  []string `json:"details,omitempty"` // the first faults in words
}

// maxDetails is how many faults a Report tells in words.
const maxDetails = 100

func (r *Report) fault(format string, args ...any) {
	if r.Faults++; r.Faults <= maxDetails {
		r.Details = append(r.Details, fmt.Sprintf(format, args...))
	}
}

// Verify reads the whole journal: it recomputes the digest of every message and every shared chunk, and follows every reference both
// ways. It runs beside deliveries; progress, which may be nil, is called now and then with the entries checked so far. The error
// says that it could not go on; faults of the archive are in the Report.
func (j *Journal) Verify(ctx context.Context, progress func(month kv.Month, entries int64)) (*Report, error) {
	r := new(Report)
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	for _, m := range months {
		s, err := j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r.Volumes++
		v := &verifier{j: j, ctx: ctx, store: s, month: m, report: r, progress: progress}
		if err := v.run(); err != nil {
			return nil, fmt.Errorf("verify %s: %w", m, err)
		}
	}
	return r, nil
}

// verifier checks one volume. What deliveries write meanwhile is recognised by being checked again: see settled.
type verifier struct {
	j        *Journal
	ctx      context.Context
	store    kv.Store
	month    kv.Month
	report   *Report
	progress func(kv.Month, int64)

	referred []ChunkID // by entries
	counted  map[string]folderCounters
}

func (v *verifier) run() error {
	v.counted = make(map[string]folderCounters)
	for _, step := range []func() error{v.entries, v.counters, v.deliveries, v.outcomes, v.digests, v.chunks, v.records} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) scan(kind byte, fn func(kv.Pair) error) error {
	for p, err := range v.store.Scan(v.ctx, []byte{kind}, []byte{kind + 1}) {
		if err != nil {
			return err
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) has(key []byte) (bool, error) {
	_, err := v.store.Get(v.ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (v *verifier) entries() error {
	return v.scan('e', func(p kv.Pair) error {
		e, err := entryOf(v.month, p)
		if err != nil {
			v.report.fault("%s: %v", v.month, err)
			return nil
		}
		v.report.Entries++
		v.report.Bytes += e.Size
		if v.progress != nil && v.report.Entries%1000 == 0 {
			v.progress(v.month, v.report.Entries)
		}
		c := v.counted[e.Mailbox+"\x00"+e.Folder]
		c.entries++
		c.bytes += uint64(e.Size)
		c.nextUID = max(c.nextUID, e.UID+1)
		v.counted[e.Mailbox+"\x00"+e.Folder] = c
		for _, chunk := range e.Chunks {
			v.referred = append(v.referred, chunk.ID)
		}
		return v.entry(e)
	})
}

func (v *verifier) entry(e *Entry) error {
	name := fmt.Sprintf("%s %s %d", e.Mailbox, e.FolderName(), e.UID)
	place, err := v.store.Get(v.ctx, deliveryKey(e.Mailbox, deliveryDigest(e.Mailbox, e.Direction, e.MailFrom, e.SHA256)))
	if errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(place, encodePlace(e.Ref)) {
		if gone, err := v.gone(e.Ref); gone || err != nil {
			return err
		}
		v.report.fault("%s: its delivery key does not lead to it", name)
	} else if err != nil {
		return err
	}
	body, err := v.j.Body(v.ctx, e)
	if err == nil {
		h := sha256.New()
		if _, err = body.WriteTo(h); err == nil && Digest(h.Sum(nil)) != e.SHA256 {
			err = errors.New("the SHA-256 of its bytes is another one")
		}
	}
	if err != nil {
		if v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		v.report.fault("%s: %v", name, err)
	}
	for i, p := range e.Parts.Parts {
		if p.Header < 0 || p.Header > p.Body || p.Body > p.End || p.End > e.Size {
			v.report.fault("%s: part %d lies outside the message", name, i)
		}
	}
	return nil
}

// gone says whether an entry was withdrawn since it was read.
func (v *verifier) gone(r Ref) (bool, error) {
	there, err := v.has(entryKey(r))
	return !there, err
}

// counters compares the folder counters with what was counted; a folder that deliveries are changing is counted again.
func (v *verifier) counters() error {
	err := v.scan('s', func(p kv.Pair) error {
		mailbox, folder, rest, err := splitFolderKey(p.Key)
		if err != nil || len(rest) != 0 {
			v.report.fault("%s: counters with a malformed key %q", v.month, p.Key)
			return nil
		}
		counted := v.counted[mailbox+"\x00"+folder]
		delete(v.counted, mailbox+"\x00"+folder)
		c, err := decodeCounters(p.Value)
		if err != nil {
			v.report.fault("%s %s/%s: %v", mailbox, folder, v.month, err)
			return nil
		}
		if c.entries == counted.entries && c.bytes == counted.bytes && c.nextUID >= counted.nextUID {
			return nil
		}
		return v.recount(mailbox, folder)
	})
	if err != nil {
		return err
	}
	for name := range v.counted {
		mailbox, folder, _ := cutZero(name)
		if err := v.recount(mailbox, folder); err != nil {
			return err
		}
	}
	return nil
}

// recount compares the counters of one folder until they hold still while its entries are counted.
func (v *verifier) recount(mailbox, folder string) error {
	const tries = 20
	for range tries {
		before, err := v.readCounters(mailbox, folder)
		if err != nil {
			return err
		}
		var counted folderCounters
		prefix := folderKey('e', mailbox, folder)
		for p, err := range v.store.Scan(v.ctx, prefix, after(prefix)) {
			if err != nil {
				return err
			}
			if e, err := entryOf(v.month, p); err == nil {
				counted.entries++
				counted.bytes += uint64(e.Size)
				counted.nextUID = max(counted.nextUID, e.UID+1)
			}
		}
		now, err := v.readCounters(mailbox, folder)
		if err != nil {
			return err
		}
		if now != before {
			continue
		}
		if now.entries != counted.entries || now.bytes != counted.bytes || now.nextUID < counted.nextUID {
			v.report.fault("%s %s/%s: counters say %d entries of %d bytes, next UID %d; there are %d of %d, and UID %d is taken",
				mailbox, folder, v.month, now.entries, now.bytes, now.nextUID, counted.entries, counted.bytes, int64(counted.nextUID)-1)
		}
		return nil
	}
	return fmt.Errorf("%s %s/%s changes too fast to be counted", mailbox, folder, v.month)
}

func (v *verifier) readCounters(mailbox, folder string) (folderCounters, error) {
	b, err := v.store.Get(v.ctx, counterKey(mailbox, folder))
	if errors.Is(err, kv.ErrNotFound) {
		return folderCounters{}, nil
	}
	if err != nil {
		return folderCounters{}, err
	}
	return decodeCounters(b)
}

func cutZero(name string) (string, string, bool) {
	a, b, ok := bytes.Cut([]byte(name), []byte{0})
	return string(a), string(b), ok
}

func (v *verifier) deliveries() error {
	return v.scan('d', func(p kv.Pair) error {
		mailbox, _, err := splitMailboxKey(p.Key)
		if err != nil {
			v.report.fault("%s: malformed delivery key %q", v.month, p.Key)
			return nil
		}
		ref, err := decodePlace(mailbox, v.month, p.Value)
		if err != nil {
			v.report.fault("%s: delivery of %s: %v", v.month, mailbox, err)
			return nil
		}
		return v.leadsToEntry(p, ref, "a delivery key")
	})
}

func (v *verifier) leadsToEntry(p kv.Pair, r Ref, what string) error {
	there, err := v.has(entryKey(r))
	if err != nil || there {
		return err
	}
	// Withdrawn since the scan read the page: then the key is gone as well.
	if still, err := v.has(p.Key); err != nil || !still {
		return err
	}
	v.report.fault("%s leads to %s %s %d, which is not there", what, r.Mailbox, r.FolderName(), r.UID)
	return nil
}

func (v *verifier) outcomes() error {
	return v.scan('o', func(p kv.Pair) error {
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
		e, _ := entryOf(v.month, kv.Pair{Key: p.Key})
		return v.leadsToEntry(p, Ref{Mailbox: mailbox, Month: v.month, Folder: folder, UID: e.UID}, "an outcome")
	})
}

// digests checks that every digest leads to a chunk with these bytes.
func (v *verifier) digests() error {
	var buf []byte
	return v.scan('h', func(p kv.Pair) error {
		var id ChunkID
		if len(p.Value) != len(id) || len(p.Key) != 33 {
			v.report.fault("%s: malformed digest key %x", v.month, p.Key)
			return nil
		}
		copy(id[:], p.Value)
		data, err := v.j.readChunk(v.ctx, v.store, id, buf[:0])
		if err != nil {
			if v.ctx.Err() != nil {
				return v.ctx.Err()
			}
			if still, err := v.has(p.Key); err != nil || !still {
				return err
			}
			v.report.fault("%s: digest %x: %v", v.month, p.Key[1:], err)
			return nil
		}
		buf = data
		if sum := sha256.Sum256(data); !bytes.Equal(sum[:], p.Key[1:]) {
			v.report.fault("%s: chunk %x has the SHA-256 %x, not %x", v.month, id, sum, p.Key[1:])
		}
		return nil
	})
}

// chunks counts the chunks, and those that no entry refers to.
func (v *verifier) chunks() error {
	compare := func(a, b ChunkID) int { return bytes.Compare(a[:], b[:]) }
	slices.SortFunc(v.referred, compare)
	return v.scan('c', func(p kv.Pair) error {
		var id ChunkID
		if len(p.Key) != 1+len(id) {
			v.report.fault("%s: malformed chunk key %x", v.month, p.Key)
			return nil
		}
		copy(id[:], p.Key[1:])
		v.report.Chunks++
		v.report.Stored += int64(len(p.Value))
		if _, ok := slices.BinarySearchFunc(v.referred, id, compare); !ok {
			v.report.Orphans++
		}
		return nil
	})
}

func (v *verifier) records() error {
	return v.scan('g', func(p kv.Pair) error {
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
