package journal

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"copialettere/journal/kv"
)

// Entries and the keys that lead to them lie far apart, and to look each up costs more than all else of a verification. So both are read in the order of keys,
// and compared by sums: what an entry calls for is added, what is there is taken away. What does not come out at zero is looked up.

// pairBuckets is how many sums there are: what differs in one costs a look at all pairs of that one.
const pairBuckets = 4096

// pairing has sums of 128 bits of hashes of delivery keys and links: of those that entries call for, less those that are there. The hashes have a seed of their
// own in each verification, so nobody can make two sets alike that differ.
type pairing struct {
	seeds   [2]maphash.Seed
	buckets [pairBuckets][2]atomic.Uint64

	mu   sync.Mutex
	seen map[Ref]bool // entries whose delivery keys were looked up, though their sums will tell; guarded by mu
}

func newPairing() *pairing {
	return &pairing{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, seen: make(map[Ref]bool)}
}

// hash returns the hashes of a key that leads to a place.
func (p *pairing) hash(key []byte, r Ref) [2]uint64 {
	var room [256]byte
	b := append(append(append(room[:0], key...), 0), r.Folder...)
	b = binary.BigEndian.AppendUint32(b, r.UID)
	return [2]uint64{maphash.Bytes(p.seeds[0], b), maphash.Bytes(p.seeds[1], b)}
}

// called adds a key that an entry calls for.
func (p *pairing) called(key []byte, r Ref) {
	h := p.hash(key, r)
	sums := &p.buckets[h[0]%pairBuckets]
	sums[0].Add(h[0])
	sums[1].Add(h[1])
}

// there takes away a key that is there.
func (p *pairing) there(key []byte, r Ref) {
	h := p.hash(key, r)
	sums := &p.buckets[h[0]%pairBuckets]
	sums[0].Add(-h[0])
	sums[1].Add(-h[1])
}

// differs says whether the sums of a key do not come out.
func (p *pairing) differs(key []byte, r Ref) bool {
	sums := &p.buckets[p.hash(key, r)[0]%pairBuckets]
	return sums[0].Load() != 0 || sums[1].Load() != 0
}

// checkedID returns what stands for a digest and the chunk that it leads to. The ids of digests are in the order of these.
func (p *pairing) checkedID(d Digest, id ChunkID) (checked ChunkID) {
	var b [len(d) + len(id)]byte
	copy(b[copy(b[:], d[:]):], id[:])
	n := copy(checked[:8], d[:])
	binary.BigEndian.PutUint32(checked[n:], uint32(maphash.Bytes(p.seeds[0], b[:])))
	return checked
}

// lookUp says whether the delivery key of an entry is to be looked up at once, before another fault of it is told. It is so for the first ones: there are words
// for no more.
func (p *pairing) lookUp(r Ref) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == maxDetails {
		return false
	}
	p.seen[r] = true
	return true
}

func (p *pairing) lookedUp(r Ref) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[r]
}

// sound says whether all sums come out.
func (p *pairing) sound() bool {
	for i := range p.buckets {
		if p.buckets[i][0].Load() != 0 || p.buckets[i][1].Load() != 0 {
			return false
		}
	}
	return true
}

// old says whether a place was given before the verification began: then its entry and all keys that lead there are read, or are gone.
func (v *verifier) old(r Ref) bool { return r.UID < v.stored[folderName{r.Mailbox, r.Folder}].nextUID }

// unpaired looks up those entries, delivery keys and links whose sums do not come out, be it that something is wrong, or that it has changed meanwhile.
func (v *verifier) unpaired() error {
	if v.pairs.sound() {
		return nil
	}
	err := v.each([]byte{'e'}, func(v *verifier, p kv.Pair) error {
		r, err := refOf(v.month, p.Key)
		if err != nil || !v.old(r) {
			return nil // reported, or looked up already
		}
		e, err := decodeHead(r, p.Value)
		if err != nil {
			return nil // reported already
		}
		if v.pairs.differs(deliveryKey(e.Mailbox, e.deliveryDigest()), r) && !v.pairs.lookedUp(r) {
			if err := v.entryDelivery(e); err != nil {
				return err
			}
		}
		for _, l := range e.Links {
			if v.pairs.differs(linkKey(l, r), r) {
				if err := v.entryLink(e, l); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = v.each([]byte{'d'}, func(v *verifier, p kv.Pair) error {
		if r, ok := v.deliveredTo(p); ok && v.old(r) && v.pairs.differs(p.Key, r) {
			return v.delivery(p, r, false)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.each([]byte{'p'}, func(v *verifier, p kv.Pair) error {
		link, r, err := splitLinkKey(v.month, p.Key)
		if err == nil && v.old(r) && v.pairs.differs(p.Key, r) {
			return v.link(p, link, r)
		}
		return nil
	})
}

// deliveredTo returns where a delivery key leads that is no tombstone, and whether it leads anywhere.
func (v *verifier) deliveredTo(p kv.Pair) (r Ref, ok bool) {
	mailbox, _, err := splitMailboxKey(p.Key)
	place, gone := isTombstone(p.Value)
	if err != nil || gone {
		return r, false
	}
	r, err = decodePlace(mailbox, v.month, place)
	return r, err == nil
}
