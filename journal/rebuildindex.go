package journal

import (
	"encoding/binary"
	"errors"

	"copialettere/journal/kv"
)

// indexes removes the blocks of indexes that are wrong, once counters are right. KeepIndexed makes them anew; until then the entries are read themselves.
func (b *rebuilder) indexes() error {
	return b.each('m', nil, func(c *change, p kv.Pair) error {
		mailbox, folder, n, err := splitIndexKey(p.Key)
		sound := err == nil
		if sound {
			sound, err = b.soundIndex(c, mailbox, folder, n, p.Value)
			if err != nil {
				return err
			}
		}
		if !sound {
			c.Delete(p.Key)
			b.report.did(&b.report.Indexes, "%s: a block of an index was wrong, and was removed: %q", b.month, p.Key)
		}
		return nil
	})
}

// soundIndex says whether a block of an index tells of its entries as they are.
func (b *rebuilder) soundIndex(c *change, mailbox, folder string, n uint32, value []byte) (bool, error) {
	x, err := decodeIndexed(n, value)
	if err != nil {
		return false, nil
	}
	counters, err := getCounters(c, mailbox, folder)
	if errors.Is(err, errEncoding) {
		return false, nil
	}
	if err != nil || counters.uidValidity != x.uidValidity || x.last() >= counters.nextUID {
		return false, err
	}
	prefix := folderKey('e', mailbox, folder)
	from := binary.BigEndian.AppendUint32(prefix[:len(prefix):len(prefix)], x.first)
	to := append(binary.BigEndian.AppendUint32(prefix[:len(prefix):len(prefix)], x.last()), 0)
	for p, err := range b.store.Scan(b.ctx, from, to) {
		if err != nil {
			return false, err
		}
		if e, err := entryOf(b.month, p); err == nil && !x.tells(e) {
			return false, nil
		}
	}
	return true, nil
}
