package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"copialettere/journal/kv"
)

// storedSum is a chunk as it is stored: its id, and the beginning of the digest of its bytes.
type storedSum struct {
	id     ChunkID
	sum    uint64
	shared bool // it is large enough to be shared, and can be read
	found  bool // a digest key leads to it
}

// digests recreates the digest keys from the chunks. It removes those that lead to no chunk, or to one of other bytes, and puts those that are missing. It
// reads all chunks once, and holds 24 bytes of each.
func (b *rebuilder) digests() error {
	var chunks []storedSum
	var buf []byte
	for p, err := range b.store.Scan(b.ctx, []byte{'c'}, []byte{'c' + 1}) {
		if err != nil {
			return b.j.monthError(b.ctx, b.month, err)
		}
		if len(p.Key) != 1+len(ChunkID{}) {
			continue
		}
		c := storedSum{id: ChunkID(p.Key[1:])}
		if buf, err = b.j.decode(b.ctx, b.month, b.store, p.Value, buf[:0]); err == nil && len(buf) >= shareMin {
			sum := sha256.Sum256(buf)
			c.sum, c.shared = binary.BigEndian.Uint64(sum[:]), true
		}
		chunks = append(chunks, c)
	}
	find := func(id []byte) *storedSum {
		i, ok := slices.BinarySearchFunc(chunks, ChunkID(id), func(c storedSum, id ChunkID) int { return compareIDs(c.id, id) })
		if !ok {
			return nil
		}
		return &chunks[i]
	}
	err := b.each('h', nil, func(c *change, p kv.Pair) error {
		if len(p.Value) == len(ChunkID{}) && len(p.Key) == 1+len(Digest{}) {
			// One that cannot be read says nothing against its digest.
			if s := find(p.Value); s != nil && (!s.shared || s.sum == binary.BigEndian.Uint64(p.Key[1:])) {
				s.found = true
				return nil
			}
		}
		c.Delete(p.Key)
		b.report.did(&b.report.Stale, "%s: a digest led to no chunk of its bytes: %x", b.month, p.Key)
		return nil
	})
	if err != nil {
		return err
	}
	missing := groups[ChunkID]{size: sweepGroup, do: b.putDigests}
	for _, c := range chunks {
		if c.shared && !c.found {
			if err := missing.add(c.id); err != nil {
				return b.j.monthError(b.ctx, b.month, err)
			}
		}
	}
	return b.j.monthError(b.ctx, b.month, missing.flush())
}

// putDigests puts the digest keys of chunks, where no other chunk of the same bytes has it, and the sweep has not marked the chunk.
func (b *rebuilder) putDigests(ids []ChunkID) error {
	sums := make([]Digest, len(ids))
	var buf []byte
	for i, id := range ids {
		var err error
		if buf, err = b.j.readChunk(b.ctx, b.month, b.store, id, buf[:0]); err != nil {
			return err
		}
		sums[i] = sha256.Sum256(buf)
	}
	before := *b.report
	return b.j.update(b.ctx, b.store, b.month, nil, func(c *change) error {
		*b.report = before
		for i, id := range ids {
			mark, err := c.Get(spareKey(id))
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			if err == nil && len(mark) != spareFresh {
				continue
			}
			if there, err := has(c, digestKey(sums[i])); there || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			c.Put(digestKey(sums[i]), slices.Clone(id[:]))
			b.report.did(&b.report.Digests, "%s: the digest of a shared chunk was missing: %s", b.month, sums[i])
		}
		return nil
	})
}
