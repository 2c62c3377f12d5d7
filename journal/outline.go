package journal

import (
	"context"
	"iter"
	"time"

	"copialettere/journal/kv"
)

// Outline is what of an entry tells what kind of message it is, when it came, and how much it counts.
type Outline struct {
	UID           uint32
	Direction     Direction
	Dated         time.Time // as Entry.Dated
	Class, SentTo string    // as those of Entry
	Size          int64     // bytes of the message
	Imported      bool      // brought in later
}

// Outlines is Filed for who wants to count a folder by kinds of messages: it decodes no more than that of each entry. Instead of an entry that cannot be
// read it yields an Outline that has only its UID, with an error that is ErrDamaged, and goes on; with the zero Outline, an error ends it.
func (j *Journal) Outlines(ctx context.Context, mailbox string, m kv.Month, folder string, first, last uint32) iter.Seq2[Outline, error] {
	return filedAs(ctx, j, mailbox, m, folder, first, last, decodeOutline)
}

func decodeOutline(r Ref, b []byte) (Outline, error) {
	o := Outline{UID: r.UID}
	var own time.Time
	err := decodeFields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case tagClass:
			o.Class = string(v)
		case tagSentTo:
			o.SentTo = string(v)
		case tagSize:
			o.Size, err = decodeSize(v, maxSize)
		case tagTime:
			o.Dated, err = decodeTime(v)
		case tagDirection:
			if len(v) != 1 {
				return errEncoding
			}
			o.Direction = Direction(v[0])
		case tagImportedBy:
			o.Imported = true
		case tagImportDate:
			own, err = decodeTime(v)
		}
		return err
	})
	if err != nil {
		return Outline{UID: r.UID}, err
	}
	if o.Imported {
		o.Dated = own
	}
	return o, nil
}
