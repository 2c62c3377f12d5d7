package journal

import (
	"context"
	"errors"
	"iter"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
)

// Entries, and those that are put aside, say much that others say too: the hop, the provider, the parts of a receipt. In the month that mail is written to
// they are compressed with its newest dictionary, as chunks are. This is done here, at the boundary to the engine: nobody else sees a packed value.
//
//	0xfd      1 byte
//	frame     a zstd frame of the value, with a dictionary of the month (package codec)
//
// A value stays as it is where that is shorter, where the month has no dictionary yet, and where it is moved or put aside in an older month.
const packed = 0xfd

// isPacked reports whether a value that was read is still packed: it is damaged, or its dictionary is.
func isPacked(value []byte) bool { return len(value) > 0 && value[0] == packed }

// isUnreadable reports whether a value says nothing: it is packed, or sealed under a key that is not there.
func isUnreadable(value []byte) bool {
	return isPacked(value) || len(value) > 0 && value[0] == kv.Sealed
}

// packing is an engine whose entries are packed.
type packing struct {
	kv.Engine
	j *Journal
}

// Volume implements kv.Engine.
func (p packing) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := p.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return &packedStore{s, p.j, m}, nil
}

// packedStore is the store of a month.
type packedStore struct {
	kv.Store
	j     *Journal
	month kv.Month
}

// Get implements kv.Store.
func (s *packedStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	value, err := s.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return s.unpacker(ctx).value(key, value)
}

// GetAll implements kv.Store.
func (s *packedStore) GetAll(ctx context.Context, keys [][]byte) ([][]byte, error) {
	values, err := s.Store.GetAll(ctx, keys)
	if err != nil {
		return nil, err
	}
	return s.unpacker(ctx).values(keys, values)
}

// Scan implements kv.Store.
func (s *packedStore) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		u := s.unpacker(ctx)
		for p, err := range s.Store.Scan(ctx, from, to) {
			if err == nil {
				p.Value, err = u.value(p.Key, p.Value)
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// Update implements kv.Store.
func (s *packedStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	return s.Store.Update(ctx, locks, func(below kv.Tx) error {
		return fn(&packedTx{Tx: below, unpacker: unpacker{s.j, s.month, below.Get}})
	})
}

func (s *packedStore) unpacker(ctx context.Context) unpacker {
	return unpacker{s.j, s.month, func(key []byte) ([]byte, error) { return s.Store.Get(ctx, key) }}
}

// packedTx is a kv.Tx.
type packedTx struct {
	kv.Tx
	unpacker unpacker
	with     *codec.Dictionaries // nil: values stay as they are
	asked    bool                // with is known
}

// Get implements kv.View.
func (t *packedTx) Get(key []byte) ([]byte, error) { return packedView{t.Tx, t.unpacker}.Get(key) }

// GetAll implements kv.View.
func (t *packedTx) GetAll(keys [][]byte) ([][]byte, error) {
	return packedView{t.Tx, t.unpacker}.GetAll(keys)
}

// In implements kv.Tx.
func (t *packedTx) In(m kv.Month) (kv.View, error) {
	v, err := t.Tx.In(m)
	if err != nil || m == "" {
		return v, err
	}
	return packedView{v, unpacker{t.unpacker.j, m, v.Get}}, nil
}

// Put implements kv.Tx.
func (t *packedTx) Put(key, value []byte) {
	if packs(key) {
		if !t.asked {
			t.with, t.asked = t.dictionaries(), true
		}
		value = t.unpacker.j.codec.Pack(packed, value, t.with)
	}
	t.Tx.Put(key, value)
}

// packs reports whether the values of a key are packed.
func packs(key []byte) bool { return len(key) > 0 && (key[0] == 'e' || key[0] == 't') }

// dictionaries returns those to pack with: they are durable, and in the volume that the Update writes to.
func (t *packedTx) dictionaries() *codec.Dictionaries {
	j := t.unpacker.j
	c := j.dictionaries.current.Load()
	if c == nil || c.month != t.unpacker.month || c.list == nil {
		return nil
	}
	if there, err := c.there(j, t.Tx); err != nil || !there {
		return nil
	}
	return c.list
}

// packedView is a kv.View.
type packedView struct {
	kv.View
	unpacker unpacker
}

// Get implements kv.View.
func (v packedView) Get(key []byte) ([]byte, error) {
	value, err := v.View.Get(key)
	if err != nil {
		return nil, err
	}
	return v.unpacker.value(key, value)
}

// GetAll implements kv.View.
func (v packedView) GetAll(keys [][]byte) ([][]byte, error) {
	values, err := v.View.GetAll(keys)
	if err != nil {
		return nil, err
	}
	return v.unpacker.values(keys, values)
}

// unpacker unpacks values of a month. Get reads its dictionaries, in an Update too: so the one of two copies that is damaged is not written anew here.
type unpacker struct {
	j     *Journal
	month kv.Month
	get   func(key []byte) ([]byte, error)
}

func (u unpacker) values(keys, values [][]byte) ([][]byte, error) {
	for i, key := range keys {
		var err error
		if values[i], err = u.value(key, values[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// value unpacks a value. One that is damaged, or whose dictionary is, stays packed. The error is that of the store.
func (u unpacker) value(key, value []byte) ([]byte, error) {
	if !packs(key) || !isPacked(value) {
		return value, nil
	}
	list, drops := u.j.dictionaries.of(u.month)
	if plain, err := u.j.codec.Decode(value[1:], nil, list); err == nil {
		return plain, nil
	}
	// It is not known, or another process has begun the volume anew.
	number := codec.NumberOf(value[1:])
	if number == 0 || list.Has(number) && u.j.alone {
		return value, nil
	}
	content, err := u.dictionary(number)
	if err != nil || content == nil {
		return value, err
	}
	if list, err = list.With(codec.Dictionary{Number: number, Content: content}); err != nil {
		return value, nil //nolint:nilerr // no such dictionary can have been used
	}
	u.j.dictionaries.keep(u.month, list, drops)
	if plain, err := u.j.codec.Decode(value[1:], nil, list); err == nil {
		return plain, nil
	}
	return value, nil
}

// dictionary reads one dictionary, from the copy that is not damaged; nil where there is none.
func (u unpacker) dictionary(number byte) ([]byte, error) {
	for _, kind := range []byte{dictionaryKind, dictionaryCopyKind} {
		value, err := u.get(dictionaryKey(kind, number))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return nil, err
		}
		if content, ok := decodeDictionary(value); ok {
			return content, nil
		}
	}
	return nil, nil
}
