package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"copialettere/journal/kv"
)

// RecordKind says what a Record is about.
type RecordKind byte

// The kinds of records.
const (
	Skip RecordKind = 1 // a message that an enabled mailbox did not get, and why; kept for a limited time
	Gap  RecordKind = 2 // a message or span that the archive does not hold although it should; kept for good
)

// Reasons of gaps, and of skips that the policy does not decide.
const (
	ReasonRefused      = "refused"       // skip: the next hop refused the message for good
	ReasonJournalFault = "journal-fault" // gap: delivered without being journaled, by on_journal_error = "deliver"
	ReasonLost         = "lost"          // gap: updates that were acknowledged are missing from a volume
	ReasonDisabled     = "disabled"      // gap: the archive of the mailbox was off
	ReasonFull         = "full"          // gap: the mailbox had no room for the message
	ReasonRoom         = "made-room"     // gap: the oldest entries were deleted because the mailbox was full
	ReasonRestored     = "restored"      // gap: the journal was restored from a backup, and what arrived since is missing
	ReasonErased       = "erased"        // gap: the archive of the mailbox was erased
	ReasonDeleted      = "deleted"       // skip: the entry of this delivery was made earlier and deleted since
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
	Entries     uint64     `json:"entries,omitempty"` // a span: the number of entries removed
	Bytes       uint64     `json:"bytes,omitempty"`   // a span: the bytes of their messages
	Cut         string     `json:"cut,omitempty"`     // filled in when filed: the values over their limit, and their length
	Spooled     bool       `json:"-"`                 // filled in by Records: it is only in the spool
}

// Limits of a record, in bytes: of one value, as of a header value in an entry, and of its detail.
const (
	recordValueMax  = MaxHeaderValue
	recordDetailMax = 4 << 10
)

// bounded returns the record as it is filed: values a sender can make long are cut, as Cut says.
func (r Record) bounded() Record {
	for _, v := range [...]struct {
		name  string
		value *string
		limit int
	}{
		{"mail_from", &r.MailFrom, recordValueMax}, {"rcpt_to", &r.RcptTo, recordValueMax}, {"orcpt", &r.ORCPT, recordValueMax},
		{"message_id", &r.MessageID, recordValueMax}, {"queue_id", &r.QueueID, recordValueMax}, {"detail", &r.Detail, recordDetailMax},
	} {
		if len(*v.value) <= v.limit {
			continue
		}
		if r.Cut != "" {
			r.Cut += ", "
		}
		r.Cut += fmt.Sprintf("%s of %d bytes", v.name, len(*v.value))
		*v.value = cut(*v.value, v.limit)
	}
	return r
}

// cut returns a text, cut to so many bytes where it is longer, between two characters where it has them. What is cut keeps no memory of the rest.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end])
}

// boundedRecords returns records as they are filed.
func boundedRecords(records []Record) []Record {
	list := make([]Record, len(records))
	for i, r := range records {
		list[i] = r.bounded()
	}
	return list
}

func (r Record) encode() []byte {
	r = r.bounded()
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
	if r.Entries > 0 || r.Bytes > 0 {
		enc.uint(tagEntries, r.Entries)
		enc.uint(tagBytes, r.Bytes)
	}
	enc.string(tagCut, r.Cut)
	return enc.b
}

// isSkip reports whether an encoded record is a skip. Of these there may be many more than gaps, and few want to know what they say. Only skips are
// sealed under a key of their mailbox.
func isSkip(b []byte) bool {
	return len(b) > 0 && b[0] == kv.Sealed || len(b) > 2 && b[0] == tagKind && b[1] == 1 && RecordKind(b[2]) == Skip
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
		case tagEntries:
			r.Entries, err = decodeCount(v)
		case tagBytes:
			r.Bytes, err = decodeCount(v)
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
		case tagCut:
			r.Cut = string(v)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", mailbox, err)
	}
	return r, nil
}

// checkRecords returns an error if one of the records cannot be filed.
func checkRecords(records []Record) error {
	for i := range records {
		r := &records[i]
		if r.Mailbox != "" {
			if err := checkMailbox(r.Mailbox); err != nil {
				return fmt.Errorf("record: %w", err)
			}
		}
		if year := r.Time.Year(); year < 1970 || year > 2200 {
			return fmt.Errorf("record of %s: its time is %s", r.Mailbox, r.Time)
		}
	}
	return nil
}

// recordGroup splits off as many records as one update takes.
func recordGroup(records []Record) (group, rest []Record) {
	size := 0
	for i := range records {
		r := &records[i]
		size += 200 + len(r.Mailbox) + len(r.Reason) + len(r.Detail) + len(r.MailFrom) + len(r.RcptTo) + len(r.ORCPT) +
			len(r.MessageID) + len(r.QueueID) + len(r.Transaction)
		if i > 0 && size > groupSize/4 {
			return records[:i], records[i:]
		}
	}
	return records, nil
}

// lockRecords appends the locks needed to put records.
func lockRecords(locks []string, records []Record) []string {
	for i := range records {
		locks = append(locks, records[i].Mailbox)
	}
	return locks
}

// putRecords files records under their mailbox and time. The same record again, after a try with an unknown outcome, stays one.
func putRecords(tx kv.Tx, records []Record) error {
	for i := range records {
		r := &records[i]
		if err := putRecord(tx, r, r.encode()); err != nil {
			return fmt.Errorf("record of %s: %w", r.Mailbox, err)
		}
	}
	return nil
}

func putRecord(tx kv.Tx, r *Record, value []byte) error {
	for n := range math.MaxUint16 {
		key := recordKey(r.Mailbox, r.Time, uint16(n))
		switch there, err := tx.Get(key); {
		case errors.Is(err, kv.ErrNotFound):
			tx.Put(key, value)
			return nil
		case err != nil:
			return err
		case bytes.Equal(there, value):
			return nil
		}
	}
	return fmt.Errorf("too many at %s", r.Time)
}

// recorded counts the gaps among records that are now durable, and passes them to Options.Recorded.
func (j *Journal) recorded(records []Record) {
	var gaps []Record
	for i := range records {
		if records[i].Kind == Gap {
			gaps = append(gaps, records[i])
		}
	}
	if len(gaps) > 0 {
		j.gaps.Add(int64(len(gaps)))
		j.tell(gaps)
	}
}

// Record files records in the volume of their time, durably.
func (j *Journal) Record(ctx context.Context, records ...Record) error {
	if err := checkRecords(records); err != nil {
		return err
	}
	byMonth := make(map[kv.Month][]Record)
	for _, r := range boundedRecords(records) {
		m := kv.MonthOf(r.Time)
		byMonth[m] = append(byMonth[m], r)
	}
	var errs []error // one month must not stop the records of the others
	for m, list := range byMonth {
		s, err := j.volume(ctx, m, true)
		if err == nil {
			err = j.recordIn(ctx, s, list)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recordIn files records in one volume, in as many updates as needed.
func (j *Journal) recordIn(ctx context.Context, s kv.Store, records []Record) error {
	for len(records) > 0 {
		var group []Record
		group, records = recordGroup(records)
		if err := s.Update(ctx, lockRecords(nil, group), func(tx kv.Tx) error { return putRecords(tx, group) }); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		j.recorded(group)
	}
	return nil
}

// ExpireSkips deletes the skips from before a time, as the operator's limit for personal data demands, and returns their number. Gaps
// stay. The error is PassedOver if months were.
func (j *Journal) ExpireSkips(ctx context.Context, before time.Time) (deleted int, err error) {
	var passed PassedOver
	for s, err := range j.volumes(ctx) {
		if err == nil {
			var n int
			n, err = expireSkips(ctx, s, before)
			deleted += n
			err = j.monthError(ctx, s.month, err)
		}
		if err != nil && !passed.Add(err) {
			return deleted, fmt.Errorf("expire skips: %w", err)
		}
	}
	return deleted, passed.Err()
}

func expireSkips(ctx context.Context, s kv.Store, before time.Time) (deleted int, err error) {
	skips := groups[[]byte]{size: 1000, do: func(keys [][]byte) error {
		err := s.Update(ctx, nil, func(tx kv.Tx) error {
			for _, k := range keys {
				tx.Delete(k)
			}
			return nil
		})
		if err == nil {
			deleted += len(keys)
		}
		return err
	}}
	for p, err := range s.Scan(ctx, []byte{'g'}, []byte{'h'}) {
		if err != nil {
			return deleted, err
		}
		// Verify reports what cannot be read; it must not stop the others.
		r, err := decodeRecord("", p.Value)
		if err != nil || r.Kind != Skip || !r.Time.Before(before) {
			continue
		}
		if err := skips.add(p.Key); err != nil {
			return deleted, err
		}
	}
	err = skips.flush()
	return deleted, err
}

// recordLosses puts the losses of a store on record, once, as gaps of all mailboxes.
func (j *Journal) recordLosses(ctx context.Context, s kv.Store) error {
	losses, err := s.Lost(ctx)
	if err != nil || len(losses) == 0 {
		return err
	}
	known := true // then write nothing: the volume may be readable only
	for i, l := range losses {
		there, err := hasKey(ctx, s, recordKey("", l.Found, uint16(i)))
		if err != nil {
			return err
		}
		known = known && there
	}
	if known {
		return nil
	}
	var gaps []Record
	err = s.Update(ctx, []string{""}, func(tx kv.Tx) error {
		gaps = nil
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
			gaps = append(gaps, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.recorded(gaps)
	return nil
}

func bound(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}
