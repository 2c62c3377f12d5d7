package journal

import (
	"context"
	"errors"
	"iter"

	"copialettere/journal/kv"
)

// SHA256 returns the digest of the bytes of the message. It is known after Finish.
func (d *Draft) SHA256() Digest { return d.digest }

// StatsIn is Stats of one mailbox and one month. A month without a volume has no folders.
func (j *Journal) StatsIn(ctx context.Context, mailbox string, m kv.Month) ([]FolderStats, error) {
	if err := checkMailbox(mailbox); err != nil {
		return nil, err
	}
	var list []FolderStats
	for f, err := range j.statsOf(ctx, m, mailboxKey('s', mailbox, 0)) {
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// Fingerprint is what tells the bytes of an entry from those of others.
type Fingerprint struct {
	UID    uint32
	SHA256 Digest // of the bytes of the message
}

// Fingerprints is Filed for who looks for bytes: it decodes no more than that of each entry. Instead of an entry that cannot be read it yields a
// Fingerprint that has only its UID, with an error that is ErrDamaged, and goes on.
func (j *Journal) Fingerprints(ctx context.Context, mailbox string, m kv.Month, folder string, first, last uint32) iter.Seq2[Fingerprint, error] {
	return filedAs(ctx, j, mailbox, m, folder, first, last, decodeFingerprint)
}

// errFound ends the decoding of a value of which nothing more is asked.
var errFound = errors.New("found")

func decodeFingerprint(r Ref, b []byte) (Fingerprint, error) {
	f := Fingerprint{UID: r.UID}
	err := decodeFields(b, func(tag byte, v []byte) error {
		if tag != tagSHA256 {
			return nil
		}
		if len(v) != len(f.SHA256) {
			return errEncoding
		}
		copy(f.SHA256[:], v)
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return f, nil
	case err == nil:
		err = errEncoding // every entry has one
	}
	return Fingerprint{UID: r.UID}, err
}
