package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// The MTA may take a message in anew before it was delivered.
//
// "postsuper -r" of Postfix takes a queued message in again under another queue id. Measured with Postfix 3.7: it puts one field on top,
//
//	Received: by mx.alpha.test (Postfix, from userid 102)
//		id D94439844A5; Sat, 28 Nov 2026 22:02:51 +0000 (UTC)
//
// and changes nothing else; each requeueing adds another one. IDENT of XFORWARD stays the first queue id, or stays absent for a message that
// a local program handed in. By its bytes the message that comes is thus a new one, and the entry of the old one would wait in vain.
//
// The new entry supersedes the old one when all of this holds: the bytes below one of the fields on top are those of the old message;
// mailbox, direction, envelope sender and queue id are the same; the old one is not known to be delivered, was not refused later, and is not
// held. The old entry is then put aside at its place (key t), with the delivery of the new one. It is neither listed nor counted, and stays
// as long as the retention of its mailbox says. A client's message has the Received field of its own arrival on top, which is no such field.
// Only a program on this machine that knows every byte of the old message can forge one, and the new entry then holds all those bytes.
//
// If the old message turns up again, or proves to have been delivered, its entry comes back with a new UID. If the new one is refused for
// good, the old one shares its fate.

// maxRequeues is how many Received fields of requeueings are looked at, from the top.
const maxRequeues = 8

// delivery names a delivery to a mailbox, wherever its entry has been moved.
type delivery struct {
	month kv.Month
	key   Digest // deliveryDigest
}

const deliverySize = 7 + len(Digest{})

func (d delivery) append(b []byte) []byte { return append(append(b, d.month...), d.key[:]...) }

func decodeDelivery(b []byte) (d delivery, err error) {
	if len(b) != deliverySize {
		return d, fmt.Errorf("delivery: %w", errEncoding)
	}
	if d.month, err = kv.ParseMonth(string(b[:7])); err != nil {
		return d, fmt.Errorf("delivery: %w: %w", errEncoding, err)
	}
	d.key = Digest(b[7:])
	return d, nil
}

// deliveredIn returns the delivery of an entry whose volume is that of month m.
func (e *candidate) deliveredIn(m kv.Month) delivery {
	return delivery{m, Digest(e.delivery[len(e.delivery)-len(Digest{}):])}
}

// belowHash computes, as the message passes, the digest of what lies below a field on top.
type belowHash struct {
	skip int // bytes still to pass before it begins
	hash hash.Hash
}

func (b *belowHash) write(data []byte) {
	n := min(b.skip, len(data))
	b.skip -= n
	b.hash.Write(data[n:])
}

// requeues returns the hashes for a message with this header, one for each field that a requeueing has put on top.
func requeues(header []byte) []belowHash {
	// Nearly all messages end here.
	if first := []byte("received: by "); len(header) < len(first) || !bytes.EqualFold(header[:len(first)], first) {
		return nil
	}
	var list []belowHash
	for f := range part.Fields(header) {
		// A field at the end may be cut.
		if len(list) == maxRequeues || f.End == len(header) || !isRequeue(f) {
			break
		}
		list = append(list, belowHash{skip: f.End, hash: sha256.New()})
	}
	return list
}

// isRequeue says whether a requeueing may have put a field on top.
func isRequeue(f part.Field) bool {
	words := bytes.Fields(f.Value)
	user := slices.IndexFunc(words, func(w []byte) bool { return string(w) == "userid" })
	return bytes.EqualFold(f.Name, []byte("Received")) && user > 1 && string(words[0]) == "by" && string(words[user-1]) == "from"
}

// olderDeliveries returns the delivery keys of the message as it was before it was requeued.
func (d *Draft) olderDeliveries(e *Entry) []Digest {
	var list []Digest
	for _, b := range d.below {
		list = append(list, deliveryDigest(e.Mailbox, e.Direction, e.MailFrom, Digest(b.hash.Sum(nil))))
	}
	return list
}

// olderElsewhere looks for the older deliveries of the entries in the months before and after that of the arrival, as for repetitions.
func (d *Draft) olderElsewhere(ctx context.Context, entries []candidate) error {
	if len(d.below) == 0 {
		return nil
	}
	month := kv.MonthOf(d.arrival)
	for _, m := range [...]kv.Month{month.Previous(), month.Next()} {
		s, err := d.j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		var bad *MonthError
		if errors.As(err, &bad) {
			continue // what is there keeps its state
		}
		if err != nil {
			return err
		}
		for i := range entries {
			for _, key := range entries[i].older {
				there, err := hasKey(ctx, s, deliveryKey(entries[i].Mailbox, key))
				if err = d.j.monthError(ctx, m, err); errors.As(err, &bad) {
					continue
				}
				if err != nil {
					return fmt.Errorf("look for what was requeued in %s: %w", m, err)
				}
				if there {
					entries[i].elsewhere = append(entries[i].elsewhere, delivery{m, key})
				}
			}
		}
	}
	return nil
}

// supersedeElsewhere has an entry in the journal supersede older ones in other months. One that cannot be written now stays as it is.
func (d *Draft) supersedeElsewhere(ctx context.Context, e *candidate, p Placement) {
	by := e.deliveredIn(p.Month)
	for _, old := range e.elsewhere {
		err := d.j.act(ctx, Ref{Mailbox: e.Mailbox, Month: old.month}, func(c *change) error {
			older, err := c.older(e.Entry, []Digest{old.key})
			if err != nil {
				return err
			}
			return c.supersede(older, by)
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			d.j.log.Warn("the older entry of a requeued message keeps its state", "mailbox", e.Mailbox, "month", old.month, "error", err)
		}
	}
}

// olderEntry is an entry that a newer one supersedes.
type olderEntry struct {
	*Entry
	key   Digest
	aside *aside // where it was superseded before; else nil
}

// older returns the entries of the volume, among those with these delivery keys, that e supersedes.
func (c *change) older(e *Entry, keys []Digest) ([]olderEntry, error) {
	var list []olderEntry
	for _, key := range keys {
		one, err := c.olderOf(e, key)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			continue // Verify reports the damage; mail must not wait for it
		}
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// olderOf returns the entry of a delivery if e supersedes it, and ErrNotFound otherwise.
func (c *change) olderOf(e *Entry, key Digest) (old olderEntry, err error) {
	v, err := c.Get(deliveryKey(e.Mailbox, key))
	if errors.Is(err, kv.ErrNotFound) {
		return old, ErrNotFound
	}
	if err != nil {
		return old, err
	}
	place, gone := isTombstone(v)
	r, err := decodePlace(e.Mailbox, c.month, place)
	if err != nil {
		return old, err
	}
	old.key = key
	if gone {
		if old.aside, old.Entry, err = c.aside(r); err == nil && (old.aside.by == nil || old.QueueID != e.QueueID) {
			err = ErrNotFound
		}
		return old, err
	}
	if old.Entry, err = c.entry(r); err != nil {
		return old, err
	}
	o, err := getOutcome(c, r)
	if err != nil {
		return old, err
	}
	// Count a delivery that is only in memory.
	for _, n := range c.j.outcomes.of(r) {
		o, _ = o.noted(n)
	}
	held, err := c.held(r)
	if err == nil && (o.state == Delivered || o.refused || held || old.QueueID != e.QueueID) {
		err = ErrNotFound
	}
	return old, err
}

// freed is how many bytes of the mailbox stop counting when these are superseded.
func freed(older []olderEntry) (bytes uint64) {
	for _, old := range older {
		if old.aside == nil {
			bytes += uint64(old.Size)
		}
	}
	return bytes
}

// supersede puts entries aside for a newer one.
func (c *change) supersede(older []olderEntry, by delivery) error {
	for _, old := range older {
		if old.aside != nil {
			old.aside.by = &by
			c.Put(asideKey(old.Ref), old.aside.encode())
			continue
		}
		if err := c.putAside(old.Entry, &aside{at: c.j.now().UTC(), by: &by}); err != nil {
			return err
		}
	}
	return nil
}

// errRefile says that an entry is to be filed anew, which needs movesLock.
var errRefile = errors.New("an entry is to be filed anew")

// returned brings back the superseded entry at a place, because its message has come again. ErrNotFound says that there is none: it was
// deleted.
func (c *change) returned(mailbox string, place []byte) (Ref, error) {
	r, err := decodePlace(mailbox, c.month, place)
	if err != nil {
		return Ref{}, err
	}
	a, e, err := c.aside(r)
	if err == nil && a.by == nil {
		err = ErrNotFound
	}
	if err != nil {
		return Ref{}, err
	}
	return c.bringBack(a, e)
}

// bringBack files a superseded entry again under a new UID. An act records that the UID is out of the order of time.
func (c *change) bringBack(a *aside, e *Entry) (to Ref, err error) {
	if !c.refiling {
		return to, errRefile
	}
	from := e.Ref
	to = Ref{Mailbox: e.Mailbox, Month: c.month, Folder: e.Folder}
	if to.UID, err = c.nextUID(e, to.Folder, newFolder{}); err != nil {
		return to, err
	}
	if err := c.relist(a, e, to); err != nil {
		return to, err
	}
	c.Put(deliveryKey(e.Mailbox, e.deliveryDigest()), encodePlace(to))
	e.Ref = to
	putLinks(c, e)
	if err := c.putActOn(ActReturn, "", c.j.now().UTC(), from, to, ""); err != nil {
		return to, err
	}
	return to, c.moved()
}

// withdrawOlder deals with an older entry whose newer one is withdrawn. One that was deferred goes too, or comes back as Refused if it is
// held. One that may have been delivered comes back, flagged.
func (c *change) withdrawOlder(mailbox string, old, by delivery) error {
	key := deliveryKey(mailbox, old.key)
	v, err := c.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	place, gone := isTombstone(v)
	r, err := decodePlace(mailbox, c.month, place)
	if !gone || err != nil {
		return err
	}
	a, e, err := c.aside(r)
	if errors.Is(err, ErrNotFound) || err == nil && (a.by == nil || *a.by != by) {
		return nil
	}
	if err != nil {
		return err
	}
	o, err := decodeOutcome(a.outcome)
	if err != nil {
		return err
	}
	if o.state == Deferred {
		switch _, err := c.purge(r, RemovedWithdrawn); {
		case err == nil:
			c.Delete(key)
			return nil
		case !errors.Is(err, ErrHeld):
			return err
		}
		o.state = Refused
	} else {
		o.refused = true
	}
	a.outcome = o.encode()
	_, err = c.bringBack(a, e)
	return err
}

// SupersededEntry is an entry whose message the MTA took in anew before it was delivered. The newer message has an entry of its own.
type SupersededEntry struct {
	*Entry
	By Ref // the entry that superseded it; zero where that is gone
}

// Superseded yields the superseded entries of a mailbox at the places that they had, by month, folder and UID. List leaves them out.
func (j *Journal) Superseded(ctx context.Context, mailbox string) iter.Seq2[*SupersededEntry, error] {
	all := monthly(ctx, j, mailbox, eachUnder(ctx, 't', mailbox, func(m kv.Month, p kv.Pair) (*SupersededEntry, error) {
		a, e, err := asideOf(m, p)
		if err != nil || a.by == nil {
			return nil, err
		}
		e.State = Superseded
		by, err := j.place(ctx, mailbox, *a.by)
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return &SupersededEntry{Entry: e, By: by}, err
	}))
	return func(yield func(*SupersededEntry, error) bool) {
		for e, err := range all {
			if e == nil && err == nil {
				continue // deleted by hand
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// supersededEntry returns the entry that was superseded at a place, or ErrNotFound.
func supersededEntry(ctx context.Context, s kv.Store, r Ref) (*Entry, error) {
	v, err := s.Get(ctx, asideKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read entry: %w", err)
	}
	a, e, err := decodeAside(r, v)
	if err == nil && a.by == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	e.State = Superseded
	return e, nil
}

// place returns where the entry of a delivery is.
func (j *Journal) place(ctx context.Context, mailbox string, d delivery) (Ref, error) {
	s, err := j.volume(ctx, d.month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return Ref{}, ErrNotFound
	}
	if err != nil {
		return Ref{}, err
	}
	v, err := s.Get(ctx, deliveryKey(mailbox, d.key))
	if errors.Is(err, kv.ErrNotFound) {
		return Ref{}, ErrNotFound
	}
	if err != nil {
		return Ref{}, err
	}
	place, _ := isTombstone(v)
	return decodePlace(mailbox, d.month, place)
}
