package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"copialettere/journal/kv"
)

// RecordsBetween yields the skips and gaps of one mailbox that were filed from a time on and before another, in the order in which they are filed; a zero
// end is none. It reads no others, so it costs little where Records reads everything. It leaves out the spool, and passes over what cannot be read:
// Records tells of that.
func (j *Journal) RecordsBetween(ctx context.Context, mailbox string, since, until time.Time) iter.Seq2[*Record, error] {
	from, to := recordRange(mailbox, since, until)
	return filedSince(ctx, j.volumesSince(ctx, since), from, to, since, func(string) bool { return true }, decodeRecord)
}

// GapsSince is RecordsBetween from a time on without the skips, of which it does not read what they say.
func (j *Journal) GapsSince(ctx context.Context, mailbox string, since time.Time) iter.Seq2[*Record, error] {
	from, to := recordRange(mailbox, since, time.Time{})
	return filedSince(ctx, j.volumesSince(ctx, since), from, to, since, func(string) bool { return true }, func(mailbox string, b []byte) (*Record, error) {
		if isSkip(b) {
			return nil, errEncoding
		}
		return decodeRecord(mailbox, b)
	})
}

// recordRange returns the first key of the records of a mailbox in a time, and that after the last one.
func recordRange(mailbox string, since, until time.Time) (from, to []byte) {
	prefix := mailboxKey('g', mailbox, 0)
	from, to = prefix, after(prefix)
	if since.Unix() > 0 {
		from = recordKey(mailbox, since, 0)
	}
	if until.Unix() > 0 {
		to = recordKey(mailbox, until, 0)
	}
	return from, to
}

// EveryRecordSince is RecordsBetween from a time on for those of all mailboxes that are wanted, by month and mailbox.
func (j *Journal) EveryRecordSince(ctx context.Context, since time.Time, wanted func(mailbox string) bool) iter.Seq2[*Record, error] {
	return filedSince(ctx, j.volumesSince(ctx, since), []byte{'g'}, []byte{'g' + 1}, since, wanted, decodeRecord)
}

// ActsSince yields what was done from a time on with the entries of those mailboxes that are wanted, store by store and mailbox by mailbox. It passes
// over what cannot be read: Acts tells of that.
func (j *Journal) ActsSince(ctx context.Context, since time.Time, wanted func(mailbox string) bool) iter.Seq2[*Act, error] {
	return filedSince(ctx, j.recordStores(ctx), []byte{'a'}, []byte{'a' + 1}, since, wanted, decodeAct)
}

// volumesSince yields the stores of the months from a time on.
func (j *Journal) volumesSince(ctx context.Context, since time.Time) iter.Seq2[monthStore, error] {
	return func(yield func(monthStore, error) bool) {
		for s, err := range j.volumes(ctx) {
			if err == nil && !s.month.Next().Start().After(since) {
				continue
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

// filedSince yields what is filed by mailbox and time under a range of keys, from a time on. It decodes nothing older.
func filedSince[T any](ctx context.Context, stores iter.Seq2[monthStore, error], from, to []byte, since time.Time,
	wanted func(mailbox string) bool, decode func(mailbox string, b []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for s, err := range stores {
			if errors.Is(err, ErrDamaged) {
				continue
			}
			if err != nil {
				yield(none, err)
				return
			}
			for p, err := range s.Scan(ctx, from, to) {
				if errors.Is(err, kv.ErrClosed) {
					break // the volume was dropped meanwhile
				}
				if err != nil {
					yield(none, fmt.Errorf("what is on record since %s: %w", since.Format(time.DateOnly), err))
					return
				}
				if recordTime(p.Key).Before(since) {
					continue
				}
				mailbox, _, ok := bytes.Cut(p.Key[1:], []byte{0})
				if !ok || !wanted(string(mailbox)) {
					continue
				}
				v, err := decode(string(mailbox), p.Value)
				if err != nil {
					continue
				}
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}

// Waiting is how many messages of a mailbox have no outcome yet.
type Waiting struct {
	Deferred uint64 // the next hop refused them for now
	Unknown  uint64 // handed on without an answer: in flight, or lost in a crash
}

// WaitingSince counts the entries without an outcome by mailbox, in the months from a time on. It passes over what cannot be read.
func (j *Journal) WaitingSince(ctx context.Context, since time.Time) (map[string]Waiting, error) {
	waiting := make(map[string]Waiting)
	for s, err := range j.volumesSince(ctx, since) {
		if errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for p, err := range s.Scan(ctx, []byte{'o'}, []byte{'p'}) {
			if errors.Is(err, kv.ErrClosed) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("count what waits: %w", err)
			}
			mailbox, _, ok := bytes.Cut(p.Key[1:], []byte{0})
			o, err := decodeOutcome(p.Value)
			if !ok || err != nil {
				continue
			}
			w := waiting[string(mailbox)]
			switch o.state {
			case Deferred:
				w.Deferred++
			case Unknown:
				w.Unknown++
			}
			waiting[string(mailbox)] = w
		}
	}
	return waiting, nil
}

// MonthStats returns what every folder of one month holds, by mailbox and folder; nothing where the month has no volume.
func (j *Journal) MonthStats(ctx context.Context, m kv.Month) ([]FolderStats, error) {
	var list []FolderStats
	for f, err := range j.statsOf(ctx, m, []byte{'s'}) {
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}
