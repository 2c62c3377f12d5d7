package journal

import (
	"bytes"
	"errors"

	"copialettere/journal/kv"
)

// indexOf is the block of an index that tells of the entry read last.
type indexOf struct {
	key, value []byte
	block      *indexed // nil: there is none that counts
}

// indexed checks that the index of its folder tells of an entry as it is.
func (v *verifier) indexed(e *Entry) error {
	key := indexKey(e.Mailbox, e.Folder, e.UID/indexBlock)
	if !bytes.Equal(v.index.key, key) {
		if err := v.readIndex(key, e); err != nil {
			return err
		}
	}
	x := v.index.block
	if x == nil || e.UID > x.last() || x.tells(e) {
		return nil
	}
	// The archive of the mailbox may have been erased and begun anew.
	value, err := v.get(key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	now, err := v.readCounters(folderName{e.Mailbox, e.Folder})
	if err == nil && bytes.Equal(value, v.index.value) && now.uidValidity == x.uidValidity {
		v.report.fault("%s %s %d: the index of its folder tells of another message", e.Mailbox, e.FolderName(), e.UID)
	}
	return err
}

// readIndex reads the block with a key. One that cannot be read is reported by the step indexes.
func (v *verifier) readIndex(key []byte, e *Entry) error {
	v.index = indexOf{key: key}
	value, err := v.get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if x, err := decodeIndexed(e.UID/indexBlock, value); err == nil && x.uidValidity == v.stored[folderName{e.Mailbox, e.Folder}].uidValidity {
		v.index.value, v.index.block = value, x
	}
	return nil
}

// indexes checks that every block of an index is of a folder, and of UIDs that it has given.
func (v *verifier) indexes() error {
	return v.scan([]byte{'m'}, func(p kv.Pair) error {
		mailbox, folder, n, err := splitIndexKey(p.Key)
		var x *indexed
		if err == nil {
			x, err = decodeIndexed(n, p.Value)
		}
		if err != nil {
			v.report.fault("%s: key %q: %v", v.month, p.Key, err)
			return nil
		}
		counters, err := v.readCounters(folderName{mailbox, folder})
		if err != nil {
			return err
		}
		if counters.uidValidity != 0 && (counters.uidValidity != x.uidValidity || x.last() < counters.nextUID) {
			return nil
		}
		if there, err := v.has(p.Key); !there || err != nil {
			return err // erased meanwhile
		}
		v.report.fault("%s %s/%s: its index tells of UIDs up to %d, and the next one is %d", mailbox, folder, v.month, x.last(), counters.nextUID)
		return nil
	})
}
