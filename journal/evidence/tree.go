package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrTree says that bytes are no tree.
var ErrTree = errors.New("malformed tree")

// Tree is a growing Merkle tree (RFC 6962 section 2.1), of which only the right edge is kept: the roots of the whole subtrees, largest first. It grows
// and has its root in time that is logarithmic in its size. The zero value is the empty tree.
type Tree struct {
	Size int64
	edge []Hash
}

// Append adds the hash of a leaf.
func (t *Tree) Append(leaf Hash) {
	for n := t.Size; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		leaf = tlog.NodeHash(t.edge[last], leaf)
		t.edge = t.edge[:last]
	}
	t.edge = append(t.edge, leaf)
	t.Size++
}

// Root returns the hash of the tree; of the empty one it is the SHA-256 of nothing.
func (t *Tree) Root() Hash {
	if t.Size == 0 {
		root, _ := tlog.TreeHash(0, nil) // reads nothing
		return root
	}
	last := len(t.edge) - 1
	root := t.edge[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(t.edge[i], root)
	}
	return root
}

// AppendBinary appends the stored form of a tree: its size (8 bytes, big-endian) and the hashes of its edge. The error is always nil.
func (t *Tree) AppendBinary(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Size))
	for _, h := range t.edge {
		b = append(b, h[:]...)
	}
	return b, nil
}

// UnmarshalBinary reads a tree as AppendBinary writes it.
func (t *Tree) UnmarshalBinary(b []byte) error {
	if len(b) < 8 {
		return ErrTree
	}
	size := binary.BigEndian.Uint64(b)
	b = b[8:]
	if size > 1<<62 || len(b) != bits.OnesCount64(size)*len(Hash{}) {
		return fmt.Errorf("%w: %d bytes for a size of %d", ErrTree, len(b), size)
	}
	t.Size, t.edge = int64(size), make([]Hash, 0, len(b)/len(Hash{})+1)
	for ; len(b) > 0; b = b[len(Hash{}):] {
		t.edge = append(t.edge, Hash(b[:len(Hash{})]))
	}
	return nil
}

// Prover makes proofs about a tree. It keeps all its hashes: 64 bytes a leaf.
type Prover struct {
	size   int64
	stored []Hash
}

// Append adds the hash of a leaf.
func (p *Prover) Append(leaf Hash) error {
	hashes, err := tlog.StoredHashesForRecordHash(p.size, leaf, tlog.HashReaderFunc(p.read))
	if err != nil {
		return fmt.Errorf("add to a tree: %w", err)
	}
	p.stored = append(p.stored, hashes...)
	p.size++
	return nil
}

func (p *Prover) read(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(p.stored)) {
			return nil, fmt.Errorf("hash %d is not in a tree of %d leaves", index, p.size)
		}
		hashes[i] = p.stored[index]
	}
	return hashes, nil
}

// Root returns the root of the first size leaves.
func (p *Prover) Root(size int64) (Hash, error) {
	if size > p.size {
		return Hash{}, fmt.Errorf("a tree of %d leaves has no root at %d", p.size, size)
	}
	return tlog.TreeHash(size, tlog.HashReaderFunc(p.read))
}

// Prove returns the audit path of leaf n in the tree of the first size leaves (RFC 6962 section 2.1.1).
func (p *Prover) Prove(n, size int64) ([]Hash, error) {
	if n < 0 || n >= size || size > p.size {
		return nil, fmt.Errorf("leaf %d is not in the first %d of %d leaves", n, size, p.size)
	}
	return tlog.ProveRecord(size, n, tlog.HashReaderFunc(p.read))
}
