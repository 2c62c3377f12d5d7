package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
)

// The dictionaries of a month lie in it, each twice: under an f key and under a v key, so that the copies stand apart in the tables of LevelDB. Kinds before c
// would do worse: a table with keys of them and chunks would overlap all others with chunks. A value is the SHA-256 of a dictionary, and the dictionary.
//
// A chunk is compressed with a dictionary only after both copies of it are durable. They go with the month, and no earlier.
const (
	dictionaryKind     = 'f'
	dictionaryCopyKind = 'v'
)

func dictionaryKey(kind, number byte) []byte { return []byte{kind, number} }

// dictionaryLock is the lock under which the dictionaries of a month are numbered.
func dictionaryLock(m kv.Month) string { return "\x00dictionaries " + string(m) }

// encodeDictionary returns the value of both keys of a dictionary.
func encodeDictionary(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(sum[:], content...)
}

// decodeDictionary returns the content of a dictionary; ok is false for a damaged one.
func decodeDictionary(value []byte) (content []byte, ok bool) {
	if len(value) <= sha256.Size || len(value) > sha256.Size+codec.MaxDictionary {
		return nil, false
	}
	content = value[sha256.Size:]
	sum := sha256.Sum256(content)
	return content, bytes.Equal(sum[:], value[:sha256.Size])
}

// maxDictionaryMonths is of how many months memory keeps the dictionaries.
const maxDictionaryMonths = 16

// dictionaries are those that were read or made.
type dictionaries struct {
	current atomic.Pointer[monthDictionaries] // of the month that mail is written to
	drops   atomic.Uint64                     // volumes dropped so far: what was read before the last one may be of another volume of the month

	mu    sync.Mutex
	known map[kv.Month]*codec.Dictionaries // guarded by mu
}

// monthDictionaries are those that drafts of a month use.
type monthDictionaries struct {
	month kv.Month
	list  *codec.Dictionaries // nil: there are none
	gone  atomic.Bool         // the volume that they lie in was dropped
}

// keep keeps the dictionaries of a month that were read after so many drops.
func (d *dictionaries) keep(m kv.Month, list *codec.Dictionaries, drops uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drops.Load() != drops {
		return
	}
	if d.known == nil {
		d.known = make(map[kv.Month]*codec.Dictionaries)
	}
	d.known[m] = list
	for other := range d.known { // in no order, which is as good as any
		if len(d.known) > maxDictionaryMonths && other != m {
			delete(d.known, other)
		}
	}
}

// of returns the dictionaries of a month that are known, and after how many drops.
func (d *dictionaries) of(m kv.Month) (list *codec.Dictionaries, drops uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[m], d.drops.Load()
}

// use has drafts use the dictionaries of a month that were read or made after so many drops.
func (d *dictionaries) use(m kv.Month, list *codec.Dictionaries, drops uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drops.Load() == drops {
		d.current.Store(&monthDictionaries{month: m, list: list})
	}
}

// dropped forgets the dictionaries of a month whose volume was dropped.
func (d *dictionaries) dropped(m kv.Month) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drops.Add(1)
	delete(d.known, m)
	if c := d.current.Load(); c != nil && c.month == m {
		c.gone.Store(true)
		d.current.Store(nil)
	}
}

// errDictionaryGone says that a volume was dropped while a message was on its way into it. The MTA sends it again.
var errDictionaryGone = errors.New("the dictionary that the message was compressed with is gone")

// keepsDictionaries checks that the month still has the dictionary that the chunks of a draft may need. Only a month that was dropped and begun anew has not.
func (d *Draft) keepsDictionaries(c *change) error {
	if d.with() == nil {
		return nil
	}
	there, err := d.dictionaries.there(d.j, c)
	if err == nil && !there {
		err = errDictionaryGone
	}
	return err
}

// there reports whether the volume that an Update writes to has the newest of the dictionaries, of which there is one.
func (d *monthDictionaries) there(j *Journal, v kv.View) (bool, error) {
	if d.gone.Load() {
		return false, nil
	}
	if j.alone {
		return true, nil
	}
	newest := d.list.Newest()
	value, err := v.Get(dictionaryKey(dictionaryKind, newest.Number))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	content, ok := decodeDictionary(value)
	return err == nil && (!ok || bytes.Equal(content, newest.Content)), err
}

// with returns the dictionaries that the chunks of the draft are compressed with.
func (d *Draft) with() *codec.Dictionaries {
	if d.dictionaries == nil {
		return nil
	}
	return d.dictionaries.list
}

// decode appends the bytes of a chunk of a month to buf. The error is ErrDamaged where the value is not that of a chunk.
func (j *Journal) decode(ctx context.Context, m kv.Month, s kv.Store, value, buf []byte) ([]byte, error) {
	return j.decodeWith(ctx, m, s, value, func(list *codec.Dictionaries) ([]byte, error) { return j.codec.Decode(value, buf, list) })
}

// decodeWith decodes a value with the dictionaries of its month.
func (j *Journal) decodeWith(ctx context.Context, m kv.Month, s kv.Store, value []byte, decode func(*codec.Dictionaries) ([]byte, error)) ([]byte, error) {
	var list *codec.Dictionaries
	number := codec.NumberOf(value)
	if number != 0 {
		var err error
		if list, err = j.dictionariesWith(ctx, m, s, number); err != nil {
			return nil, err
		}
	}
	data, err := decode(list)
	if err != nil && number != 0 && !j.alone {
		// Another process may have dropped the volume and begun it anew.
		if list, err = j.readDictionaries(ctx, m, s); err != nil {
			return nil, err
		}
		data, err = decode(list)
	}
	if err != nil {
		return nil, damage(err.Error())
	}
	return data, nil
}

// dictionariesWith returns the dictionaries of a month. Where the one of that number is not among those that are known, it reads them.
func (j *Journal) dictionariesWith(ctx context.Context, m kv.Month, s kv.Store, number byte) (*codec.Dictionaries, error) {
	d := &j.dictionaries
	list, drops := d.of(m)
	if list.Has(number) {
		return list, nil
	}
	list, err := j.readDictionaries(ctx, m, s)
	if err != nil {
		return nil, err
	}
	d.keep(m, list, drops)
	return list, nil
}

// readDictionaries reads the dictionaries of a month. Where one copy of a dictionary is damaged or missing it makes it anew from the other.
func (j *Journal) readDictionaries(ctx context.Context, m kv.Month, s kv.Store) (*codec.Dictionaries, error) {
	copies, err := dictionaryCopies(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("read the dictionaries of %s: %w", m, err)
	}
	var list []codec.Dictionary
	for number, c := range copies {
		content, ok := c.whole()
		if !ok {
			j.log.Error("both copies of a dictionary are damaged: messages that need it cannot be read", "month", m, "dictionary", number)
			continue
		}
		list = append(list, codec.Dictionary{Number: number, Content: content})
		if !c.alike() {
			if err := j.mendDictionary(ctx, m, s, number, content); err != nil {
				j.log.Warn("one of the two copies of a dictionary is damaged, and cannot be written anew", "month", m, "dictionary", number, "error", err)
			} else {
				j.log.Warn("one of the two copies of a dictionary was damaged, and was written anew", "month", m, "dictionary", number)
			}
		}
	}
	return codec.NewDictionaries(list...)
}

// copies are the two values of a dictionary; nil for one that is missing.
type copies [2][]byte

// whole returns the content of a dictionary by the copy that is not damaged.
func (c copies) whole() (content []byte, ok bool) {
	for _, value := range c {
		if content, ok = decodeDictionary(value); ok {
			return content, true
		}
	}
	return nil, false
}

func (c copies) alike() bool { return bytes.Equal(c[0], c[1]) }

// dictionaryCopies reads both copies of all dictionaries of a month, by their number.
func dictionaryCopies(ctx context.Context, s kv.Store) (map[byte]copies, error) {
	found := make(map[byte]copies)
	for i, kind := range []byte{dictionaryKind, dictionaryCopyKind} {
		for p, err := range s.Scan(ctx, []byte{kind}, []byte{kind + 1}) {
			if err != nil {
				return nil, err
			}
			if len(p.Key) != 2 || p.Key[1] == 0 || p.Key[1] > codec.MaxDictionaries {
				continue // no chunk can name it
			}
			c := found[p.Key[1]]
			c[i] = p.Value
			found[p.Key[1]] = c
		}
	}
	return found, nil
}

// mendDictionary writes both copies of a dictionary anew.
func (j *Journal) mendDictionary(ctx context.Context, m kv.Month, s kv.Store, number byte, content []byte) error {
	value := encodeDictionary(content)
	return s.Update(ctx, []string{dictionaryLock(m)}, func(tx kv.Tx) error {
		tx.Put(dictionaryKey(dictionaryKind, number), value)
		tx.Put(dictionaryKey(dictionaryCopyKind, number), value)
		return nil
	})
}

// errNoNumber says that a month has as many dictionaries as it may.
var errNoNumber = errors.New("no number is left for a dictionary")

// addDictionary puts a dictionary into a month, and returns those that the month has then. The copies come in two updates: what costs one of these need not
// cost the other.
func (j *Journal) addDictionary(ctx context.Context, m kv.Month, s kv.Store, content []byte) (*codec.Dictionaries, error) {
	value := encodeDictionary(content)
	var number byte
	for _, kind := range []byte{dictionaryKind, dictionaryCopyKind} {
		err := s.Update(ctx, []string{dictionaryLock(m)}, func(tx kv.Tx) error {
			if kind == dictionaryKind {
				var err error
				if number, err = freeNumber(tx); err != nil {
					return err
				}
			}
			tx.Put(dictionaryKey(kind, number), value)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("store a dictionary in %s: %w", m, err)
		}
	}
	return j.readDictionaries(ctx, m, s)
}

// freeNumber returns the number behind all dictionaries.
func freeNumber(v kv.View) (byte, error) {
	keys := make([][]byte, 0, 2*codec.MaxDictionaries)
	for number := byte(1); number <= codec.MaxDictionaries; number++ {
		keys = append(keys, dictionaryKey(dictionaryKind, number), dictionaryKey(dictionaryCopyKind, number))
	}
	values, err := v.GetAll(keys)
	if err != nil {
		return 0, err
	}
	number := 1
	for i, value := range values {
		if value != nil {
			number = i/2 + 2
		}
	}
	if number > codec.MaxDictionaries {
		return 0, errNoNumber
	}
	return byte(number), nil
}

// dictionaries is the step of a verification that looks at both copies of every dictionary. One that is damaged it has written anew.
func (v *verifier) dictionaries() error {
	found, err := dictionaryCopies(v.ctx, v.store)
	for err != nil && v.wait(err) {
		found, err = dictionaryCopies(v.ctx, v.store)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(slices.Collect(maps.Values(found)), func(c copies) bool { return !c.alike() }) {
		if _, err := v.j.readDictionaries(v.ctx, v.month, v.store); err != nil {
			return err
		}
		if found, err = dictionaryCopies(v.ctx, v.store); err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(found)) {
		c := found[number]
		if _, ok := c.whole(); !ok {
			v.report.fault("%s: both copies of dictionary %d are damaged", v.month, number)
		} else if !c.alike() {
			v.report.fault("%s: one of the two copies of dictionary %d is damaged or missing", v.month, number)
		}
	}
	return nil
}

// takeDictionary reports whether both copies of a dictionary are in a range.
func (k keyRanges) takeDictionary() bool {
	for number := byte(1); number <= codec.MaxDictionaries; number++ {
		if k.has(dictionaryKey(dictionaryKind, number)) && k.has(dictionaryKey(dictionaryCopyKind, number)) {
			return true
		}
	}
	return false
}
