package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"copialettere/journal/kv"
)

// validityBlock is how many values of UIDVALIDITY are reserved at a time.
const validityBlock = 256

// validityKey holds the end of the reserved values of UIDVALIDITY in the settings store. Volumes cannot remember it: they are dropped.
var validityKey = []byte("u")

// newValidity returns a UIDVALIDITY (RFC 9051 section 2.3.1.1) for a new folder. It is greater than all returned before, by whatever
// process and whatever the clock says: a folder that is dropped and made again never gets an old one.
func (j *Journal) newValidity(ctx context.Context) (uint32, error) {
	if err := j.validity.acquire(ctx); err != nil {
		return 0, fmt.Errorf("reserve values of UIDVALIDITY: %w", err)
	}
	defer j.validity.release()
	if j.nextValidity == j.endValidity {
		first, err := j.reserveValidities(ctx)
		if err != nil {
			return 0, fmt.Errorf("reserve values of UIDVALIDITY: %w", err)
		}
		j.nextValidity, j.endValidity = first, first+validityBlock
	}
	v := j.nextValidity
	j.nextValidity++
	return v, nil
}

func (j *Journal) reserveValidities(ctx context.Context) (first uint32, err error) {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return 0, err
	}
	// The clock keeps the values growing even if the settings were lost. A clock gone wild must not use them up.
	now := uint32(min(max(j.now().Unix(), 1), math.MaxInt32))
	err = s.Update(ctx, []string{"uidvalidity"}, func(tx kv.Tx) error {
		first = now
		switch v, err := tx.Get(validityKey); {
		case errors.Is(err, kv.ErrNotFound):
		case err != nil:
			return err
		case len(v) != 4:
			return errEncoding
		default:
			first = max(now, binary.BigEndian.Uint32(v))
		}
		if first > math.MaxUint32-validityBlock {
			return errors.New("none are left")
		}
		tx.Put(validityKey, binary.BigEndian.AppendUint32(nil, first+validityBlock))
		return nil
	})
	return first, err
}

// newFolder is what a folder without counters begins with.
type newFolder struct {
	validity uint32 // UIDVALIDITY; 0: not known yet
	first    uint32 // UID of its first entry
}

// newFolder returns what a folder without counters begins with. That is UID 1, unless the counters were lost and entries are there: no UID is given twice.
func (j *Journal) newFolder(ctx context.Context, s kv.Store, mailbox, folder string) (newFolder, error) {
	f := newFolder{first: 1}
	var err error
	if f.validity, err = j.newValidity(ctx); err != nil {
		return f, err
	}
	for _, kind := range []byte{'e', 't'} {
		prefix := folderKey(kind, mailbox, folder)
		for p, err := range s.Scan(ctx, prefix, after(prefix)) {
			if err != nil {
				return f, fmt.Errorf("look for entries of a folder without counters: %w", err)
			}
			if len(p.Key) == len(prefix)+4 {
				f.first = max(f.first, binary.BigEndian.Uint32(p.Key[len(prefix):])+1)
			}
		}
	}
	if f.first == 1 {
		return f, nil
	}
	// Who has begun the folder meanwhile has counted what is there.
	switch _, err := s.Get(ctx, counterKey(mailbox, folder)); {
	case errors.Is(err, kv.ErrNotFound):
		j.log.Error("the counters of a folder were lost: its UIDs go on behind those that are there", "mailbox", mailbox, "folder", folder, "next_uid", f.first)
	case err != nil:
		return f, fmt.Errorf("look for the counters of a folder: %w", err)
	}
	return f, nil
}
