package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"time"

	"copialettere/journal/kv"
)

// RecordKind says what a Record is about.
type RecordKind byte

// The kinds of records.
const (
	Skip RecordKind = 1 // one message that an enabled mailbox did not get, and why; kept for a limited time
	Gap  RecordKind = 2 // a message or span that the archive does not hold although it should; kept as long as the volume
)

// Reasons of gaps and of the skips that are decided by the journal's callers beside the policy.
const (
	ReasonRefused      = "refused"       // skip: the next hop refused the message for good
	ReasonJournalFault = "journal-fault" // gap: delivered without being journaled, as on_journal_error = "deliver" wants it
	ReasonLost         = "lost"          // gap: updates that were acknowledged are missing from a volume
	ReasonDisabled     = "disabled"      // gap: the archive of the mailbox was off
)

// Record is what the journal knows of something that it does not hold.
type Record struct {
	Kind        RecordKind `json:"kind"`
	Mailbox     string     `json:"mailbox"` // empty: any mailbox
	Time        time.Time  `json:"time"`
	Until       time.Time  `json:"until,omitzero"` // end of a span; zero for a single message
	Reason      string     `json:"reason"`
	Detail      string     `json:"detail,omitempty"`
	Direction   Direction  `json:"direction,omitempty"`
	MailFrom    string     `json:"mail_from,omitempty"`
	RcptTo      string     `json:"rcpt_to,omitempty"`
	ORCPT       string     `json:"orcpt,omitempty"`
	MessageID   string     `json:"message_id,omitempty"`
	QueueID     string     `json:"queue_id,omitempty"`
	Transaction string     `json:"transaction,omitempty"`
}

func (r *Record) encode() []byte {
	var enc encoder
	enc.bytes(tagKind, []byte{byte(r.Kind)})
	enc.time(tagTime, r.Time)
	if !r.Until.IsZero() {
		enc.time(tagUntil, r.Until)
	}
	enc.string(tagReason, r.Reason)
	enc.string(tagDetail, r.Detail)
	if r.Direction != 0 {
		enc.bytes(tagDirection, []byte{byte(r.Direction)})
	}
	enc.string(tagMailFrom, r.MailFrom)
	enc.string(tagRcptTo, r.RcptTo)
	enc.string(tagORCPT, r.ORCPT)
	enc.string(tagMessageID, r.MessageID)
	enc.string(tagQueueID, r.QueueID)
	enc.string(tagTransaction, r.Transaction)
	return enc.b
}

func decodeRecord(mailbox string, b []byte) (*Record, error) {
	r := &Record{Mailbox: mailbox}
	err := decodeFields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case tagKind, tagDirection:
			if len(v) != 1 {
				return errEncoding
			}
			if tag == tagKind {
				r.Kind = RecordKind(v[0])
			} else {
				r.Direction = Direction(v[0])
			}
		case tagTime:
			r.Time, err = decodeTime(v)
		case tagUntil:
			r.Until, err = decodeTime(v)
		case tagReason:
			r.Reason = string(v)
		case tagDetail:
			r.Detail = string(v)
		case tagMailFrom:
			r.MailFrom = string(v)
		case tagRcptTo:
			r.RcptTo = string(v)
		case tagORCPT:
			r.ORCPT = string(v)
		case tagMessageID:
			r.MessageID = string(v)
		case tagQueueID:
			r.QueueID = string(v)
		case tagTransaction:
			r.Transaction = string(v)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", mailbox, err)
	}
	return r, nil
}

// putRecords files records under their mailbox and time.
func putRecords(tx kv.Tx, records []Record) error {
	for i := range records {
		r := &records[i]
		for n := 0; ; n++ {
			if n > math.MaxUint16 {
				return fmt.Errorf("too many records of %s at %s", r.Mailbox, r.Time)
			}
			key := recordKey(r.Mailbox, r.Time, uint16(n))
			_, err := tx.Get(key)
			if errors.Is(err, kv.ErrNotFound) {
				tx.Put(key, r.encode())
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Record files records in the volume of their time, durably.
func (j *Journal) Record(ctx context.Context, records ...Record) error {
	byMonth := make(map[kv.Month][]Record)
	for _, r := range records {
		m := kv.MonthOf(r.Time)
		byMonth[m] = append(byMonth[m], r)
	}
	for m, list := range byMonth {
		s, err := j.volume(ctx, m, true)
		if err != nil {
			return err
		}
		locks := make([]string, len(list))
		for i, r := range list {
			locks[i] = r.Mailbox
		}
		if err := s.Update(ctx, locks, func(tx kv.Tx) error { return putRecords(tx, list) }); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		for _, r := range list {
			if r.Kind == Gap {
				j.gaps.Inc()
			}
		}
	}
	return nil
}

// Gap puts gaps on record, durably: in the journal, or in the gap spool when the journal can not take them now. With an error
// nothing is on record, and the message must not be delivered.
func (j *Journal) Gap(ctx context.Context, gaps ...Record) error {
	err := j.Record(ctx, gaps...)
	if err == nil || j.gapSpool == "" {
		return err
	}
	if spoolErr := j.spool(gaps); spoolErr != nil {
		return errors.Join(err, spoolErr)
	}
	j.log.Error("gaps spooled: the journal can not take them", "gaps", len(gaps), "spool", j.gapSpool, "error", err)
	return nil
}

func (j *Journal) spool(gaps []Record) error {
	j.spoolMu.Lock()
	defer j.spoolMu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, g := range gaps {
		if err := enc.Encode(g); err != nil {
			return fmt.Errorf("spool gap: %w", err)
		}
	}
	f, err := os.OpenFile(j.gapSpool, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("spool gap: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("spool gap: %w", err)
	}
	return nil
}

// Unspool takes the gaps of the spool into the journal and empties the spool. It is called at the start and now and then.
func (j *Journal) Unspool(ctx context.Context) error {
	if j.gapSpool == "" {
		return nil
	}
	j.spoolMu.Lock()
	defer j.spoolMu.Unlock()
	b, err := os.ReadFile(j.gapSpool)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read gap spool: %w", err)
	}
	var gaps []Record
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var g Record
		// A torn last line is of a gap whose delivery was not acknowledged.
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			j.log.Warn("unreadable line in gap spool", "spool", j.gapSpool, "error", err)
			continue
		}
		gaps = append(gaps, g)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read gap spool: %w", err)
	}
	if err := j.Record(ctx, gaps...); err != nil {
		return fmt.Errorf("take in gap spool: %w", err)
	}
	if err := os.Remove(j.gapSpool); err != nil {
		return fmt.Errorf("empty gap spool: %w", err)
	}
	return nil
}

// Records yields the skips and gaps of a mailbox, and the gaps of all mailboxes, volume by volume in the order of time.
func (j *Journal) Records(ctx context.Context, mailbox string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for s, err := range j.volumes(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, m := range []string{"", mailbox} {
				prefix := mailboxKey('g', m, 0)
				for p, err := range s.Scan(ctx, prefix, after(prefix)) {
					var r *Record
					if err == nil {
						r, err = decodeRecord(m, p.Value)
					}
					if !yield(r, err) || err != nil {
						return
					}
				}
			}
		}
	}
}

// ExpireSkips deletes the skips from before a time: they are kept no longer than the operator's privacy limit says. Gaps stay.
func (j *Journal) ExpireSkips(ctx context.Context, before time.Time) (deleted int, err error) {
	for s, err := range j.volumes(ctx) {
		if err != nil {
			return deleted, err
		}
		n, err := expireSkips(ctx, s, before)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("expire skips: %w", err)
		}
	}
	return deleted, nil
}

func expireSkips(ctx context.Context, s kv.Store, before time.Time) (int, error) {
	const group = 1000
	deleted := 0
	for {
		var keys [][]byte
		for p, err := range s.Scan(ctx, []byte{'g'}, []byte{'h'}) {
			if err != nil {
				return deleted, err
			}
			r, err := decodeRecord("", p.Value)
			if err != nil {
				return deleted, err
			}
			if r.Kind == Skip && r.Time.Before(before) {
				if keys = append(keys, p.Key); len(keys) == group {
					break
				}
			}
		}
		if len(keys) == 0 {
			return deleted, nil
		}
		err := s.Update(ctx, nil, func(tx kv.Tx) error {
			for _, k := range keys {
				tx.Delete(k)
			}
			return nil
		})
		if err != nil {
			return deleted, err
		}
		deleted += len(keys)
	}
}

// recordLosses puts what a store lost on record as gaps of all mailboxes, once.
func (j *Journal) recordLosses(ctx context.Context, s kv.Store) error {
	losses, err := s.Lost(ctx)
	if err != nil || len(losses) == 0 {
		return err
	}
	return s.Update(ctx, []string{""}, func(tx kv.Tx) error {
		for i, l := range losses {
			key := recordKey("", l.Found, uint16(i))
			if _, err := tx.Get(key); !errors.Is(err, kv.ErrNotFound) {
				if err != nil {
					return err
				}
				continue
			}
			r := Record{
				Kind: Gap, Time: l.Found, Reason: ReasonLost,
				Detail: fmt.Sprintf("%d updates of the store are missing, made between %s and %s", l.Count, bound(l.After), bound(l.Before)),
			}
			tx.Put(key, r.encode())
			j.gaps.Inc()
		}
		return nil
	})
}

func bound(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}
