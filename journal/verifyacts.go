package journal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/kv"
)

// Verify also checks totals, links, holds, acts and deleted entries.

// asides checks the entries that are put aside.
func (v *verifier) asides() error {
	return v.scan([]byte{'t'}, func(p kv.Pair) error {
		d, err := deletedOf(v.month, p)
		if err != nil {
			v.report.fault("%s: %v", v.month, err)
			return nil
		}
		if err := v.refers(d.Entry); err != nil {
			return err
		}
		if err := v.asideFault(p.Key, d, v.aside, v.report.fault); err != nil {
			return err
		}
		if v.pass.skips(p.Key) {
			return nil
		}
		if err := v.asideFault(p.Key, d, func(d *Deleted) error { return v.body(d.Entry) }, v.unreadable); err != nil {
			return err
		}
		return v.pass.reached(p.Key)
	})
}

// asideFault reports what a check finds wrong with an entry that is put aside, if it still is.
func (v *verifier) asideFault(key []byte, d *Deleted, check func(*Deleted) error, report func(string, ...any)) error {
	err := check(d)
	if err == nil || v.interrupted(err) {
		return err
	}
	there, thereErr := v.has(key)
	if there {
		report("deleted entry %s %s %d: %v", d.Mailbox, d.FolderName(), d.UID, err)
	}
	return thereErr
}

// aside says what is wrong with an entry that is put aside, beside its bytes.
func (v *verifier) aside(d *Deleted) error {
	if there, err := v.has(entryKey(d.Ref)); err != nil {
		return err
	} else if there {
		return errors.New("it is there as well")
	}
	place, err := v.get(deliveryKey(d.Mailbox, d.deliveryDigest()))
	if err != nil {
		return fmt.Errorf("its delivery key: %w", err)
	}
	if !bytes.Equal(place, encodeTombstone(d.Ref)) {
		return errors.New("its delivery key does not tell of it")
	}
	if d.DeletedUID == 0 {
		return nil
	}
	value, err := v.get(deletedKey(d.Mailbox, d.DeletedUID))
	if err != nil {
		return fmt.Errorf("its key among the deleted: %w", err)
	}
	p, err := deletedPlace(v.month, kv.Pair{Key: deletedKey(d.Mailbox, d.DeletedUID), Value: value})
	if err == nil && (p.Ref != d.Ref || p.Size != d.Size) {
		err = errors.New("its key among the deleted tells of another one")
	}
	return err
}

// deleted checks that every key of the deleted leads to an entry that was deleted under that UID, one of those that were taken.
func (v *verifier) deleted() error {
	settings, err := v.j.engine.Settings(v.ctx)
	if err != nil {
		return err
	}
	return v.scan([]byte{'w'}, func(p kv.Pair) error {
		d, err := deletedPlace(v.month, p)
		if err != nil {
			v.report.fault("%s: %v", v.month, err)
			return nil
		}
		if counters, err := getDeletedCounters(storeView{v.ctx, settings}, d.Mailbox); err != nil || d.DeletedUID >= counters.nextUID {
			v.report.fault("%s: UID %d of what was deleted of %s is not below the next one, %d, %v", v.month, d.DeletedUID, d.Mailbox, counters.nextUID, err)
		}
		value, err := v.get(asideKey(d.Ref))
		if errors.Is(err, kv.ErrNotFound) {
			return v.astray(p, d.Ref, "a key among the deleted")
		}
		if err != nil {
			return err
		}
		if a, _, err := decodeAside(d.Ref, value); err == nil && a.uid != d.DeletedUID {
			v.report.fault("a key among the deleted leads to %s %s %d, which has another UID there", d.Mailbox, d.FolderName(), d.UID)
		}
		return nil
	})
}

// totals checks that the total of every mailbox is the sum of its folders.
func (v *verifier) totals() error {
	mailboxes, err := v.mailboxes()
	if err != nil {
		return err
	}
	for mailbox := range mailboxes {
		if err := v.total(mailbox); err != nil {
			return err
		}
	}
	return nil
}

// mailboxes returns those that have anything in the volume.
func (v *verifier) mailboxes() (map[string]bool, error) {
	mailboxes := make(map[string]bool)
	for name := range v.folders {
		mailboxes[name.mailbox] = true
	}
	err := v.scan([]byte{'q'}, func(p kv.Pair) error {
		mailboxes[string(p.Key[1:])] = true
		return nil
	})
	return mailboxes, err
}

// maxTotalTries is how often a total is compared with the folders of its mailbox, as both may change meanwhile.
const maxTotalTries = 100

func (v *verifier) total(mailbox string) error {
	for tries := 0; ; tries++ {
		before, err := v.get(totalKey(mailbox))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		var sum uint64
		err = v.scan(mailboxKey('s', mailbox, 0), func(p kv.Pair) error {
			c, err := decodeCounters(p.Value)
			if err != nil {
				return nil // reported already
			}
			sum += c.bytes
			return nil
		})
		if err != nil {
			return err
		}
		var stored uint64
		if before != nil {
			if stored, err = decodeTotal(before); err != nil {
				v.report.fault("%s: %s: %v", v.month, mailbox, err)
				return nil
			}
		}
		if stored == sum {
			return nil
		}
		now, err := v.get(totalKey(mailbox))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if bytes.Equal(now, before) && tries > 2 || tries == maxTotalTries {
			v.report.fault("%s: the total of %s says %d bytes; its folders hold %d", v.month, mailbox, stored, sum)
			return nil
		}
	}
}

// spares checks the keys of the chunks that the sweep is to look at.
func (v *verifier) spares() error {
	return v.scan([]byte{'x'}, func(p kv.Pair) error {
		if len(p.Key) != 1+len(ChunkID{}) || !slices.Contains([]int{spareFresh, spareMarked, spareGarbage}, len(p.Value)) {
			v.report.fault("%s: malformed key of a spare chunk %x", v.month, p.Key)
		}
		return nil
	})
}

// links checks that every link leads to an entry that has it.
func (v *verifier) links() error {
	return v.each([]byte{'p'}, func(v *verifier, p kv.Pair) error {
		link, ref, err := splitLinkKey(v.month, p.Key)
		if err != nil {
			v.report.fault("%s: malformed link key %q", v.month, p.Key)
			return nil
		}
		if v.old(ref) {
			v.pairs.there(p.Key, ref)
			return nil
		}
		return v.link(p, link, ref)
	})
}

// link checks a link, which leads to a place.
func (v *verifier) link(p kv.Pair, link string, ref Ref) error {
	value, err := v.get(entryKey(ref))
	if errors.Is(err, kv.ErrNotFound) {
		return v.astray(p, ref, "a link")
	}
	if err != nil {
		return err
	}
	if e, err := decodeHead(ref, value); err == nil && !slices.Contains(e.Links, link) {
		v.report.fault("a link leads to %s %s %d, which does not have it", ref.Mailbox, ref.FolderName(), ref.UID)
	}
	return nil
}

// holds checks that every hold is on an entry.
func (v *verifier) holds() error {
	return v.scan([]byte{'l'}, func(p kv.Pair) error {
		ref, err := refOf(v.month, p.Key)
		if err == nil {
			_, err = decodeHolding(ref, p.Value)
		}
		if err != nil {
			v.report.fault("%s: hold: %v", v.month, err)
			return nil
		}
		there, err := v.has(entryKey(ref))
		if err != nil || there {
			return err
		}
		return v.astray(p, ref, "a hold")
	})
}

func (v *verifier) acts() error {
	return v.scan([]byte{'a'}, func(p kv.Pair) error {
		mailbox, _, err := splitMailboxKey(p.Key)
		if err == nil {
			_, err = decodeAct(mailbox, p.Value)
		}
		if err != nil {
			v.report.fault("%s: act: %v", v.month, err)
		}
		return nil
	})
}
