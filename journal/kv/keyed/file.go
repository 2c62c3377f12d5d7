package keyed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"copialettere/journal/durable"
)

// slotSize is the size of a slot, in bytes. A sector has a whole number of them.
const slotSize = 128

// slot is a slot of the file: see the package comment.
type slot [slotSize]byte

// CopySuffix is what the name of the second file has behind that of the first.
const CopySuffix = ".copy"

const (
	stateLive      = 1
	stateDestroyed = 2

	atID       = 4
	atWrapper  = 12
	atNonce    = 20
	atSealed   = 32
	atZeros    = 112
	atChecksum = 124
)

var (
	head       = slotOf("copialettere-mailbox-keys 1\n")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func slotOf(text string) (s slot) {
	copy(s[:], text)
	return s
}

func (s *slot) id() id { return id(s[atID:]) }

func (s *slot) wrapper() [8]byte { return [8]byte(s[atWrapper:]) }

// summed returns the slot with its checksum.
func (s slot) summed() slot {
	binary.BigEndian.PutUint32(s[atChecksum:], crc32.Checksum(s[:atChecksum], castagnoli))
	return s
}

// state returns the state of a slot; 0 where it was not written, or is damaged.
func (s *slot) state() byte {
	state := s[0]
	if state != stateLive && state != stateDestroyed || binary.BigEndian.Uint32(s[atChecksum:]) != crc32.Checksum(s[:atChecksum], castagnoli) {
		return 0
	}
	return state
}

// destroyed returns the slot of a key that is destroyed.
func destroyed(key id) slot {
	s := slot{stateDestroyed}
	copy(s[atID:], key[:])
	return s.summed()
}

// newGCM returns AES-256-GCM under a key.
func newGCM(key *[32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the size is right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the sizes are those of AES
	}
	return aead
}

// aboutSlot returns what is authenticated with the key in a slot.
func aboutSlot(s *slot) []byte {
	return append([]byte("copialettere mailbox key"), s[atID:atNonce]...)
}

// wrap returns the slot of a key.
func (k *mailboxKey) wrap(w *Wrapper) slot {
	s := slot{stateLive}
	copy(s[atID:], k.id[:])
	copy(s[atWrapper:], w.ID[:])
	rand.Read(s[atNonce:atSealed])
	newGCM(&w.Key).Seal(s[atSealed:atSealed], s[atNonce:atSealed], slices.Concat(k.secret[:], k.mailbox[:]), aboutSlot(&s))
	return s.summed()
}

// unwrap returns the key in a slot that is whole; nil where none of the operator's keys opens it.
func unwrap(s *slot, wrappers []Wrapper) *mailboxKey {
	for i := range wrappers {
		if wrappers[i].ID != s.wrapper() {
			continue
		}
		if b, err := newGCM(&wrappers[i].Key).Open(nil, s[atNonce:atSealed], s[atSealed:atZeros], aboutSlot(s)); err == nil {
			return &mailboxKey{id: s.id(), secret: [32]byte(b), mailbox: [sha256.Size]byte(b[32:])}
		}
	}
	return nil
}

// parse returns the slots of a file, the head included. An unfinished one at the end does not count. It is nil where the file is none of ours.
func parse(b []byte) []slot {
	slots := make([]slot, 0, len(b)/slotSize)
	for part := range slices.Chunk(b[:len(b)/slotSize*slotSize], slotSize) {
		slots = append(slots, slot(part))
	}
	if len(slots) == 0 || slots[0] != head {
		return nil
	}
	return slots
}

// merge returns what two files have together: see the package comment. damaged are the slots that neither has. Of two that hold the same key, wrapped by
// two keys of the operator's, one that opens counts.
func merge(a, b []slot, opens func(s *slot) bool) (merged []slot, damaged []int) {
	gone := make(map[id]bool)
	for _, s := range slices.Concat(a, b) {
		if s.state() == stateDestroyed {
			gone[s.id()] = true
		}
	}
	var others []slot // live ones that another key has the place of
	there := make(map[id]bool)
	at := func(list []slot, i int) (s slot) {
		if i < len(list) {
			s = list[i]
		}
		if s.state() == stateLive && gone[s.id()] {
			s = destroyed(s.id())
		}
		return s
	}
	merged = []slot{head}
	for i := 1; i < max(len(a), len(b)); i++ {
		one, two := at(a, i), at(b, i)
		switch {
		case one.state() == 0 && two.state() == 0 && one != (slot{}) && two != (slot{}):
			damaged = append(damaged, i)
		case one.state() == 0, one.state() == stateDestroyed && two.state() == stateLive, two.state() == stateLive && !opens(&one) && opens(&two):
			one, two = two, one
		}
		merged = append(merged, one)
		there[one.id()] = true
		if two.state() == stateLive {
			others = append(others, two)
		}
	}
	for _, s := range others {
		if !there[s.id()] {
			there[s.id()] = true
			merged = append(merged, s)
		}
	}
	return merged, damaged
}

// Make makes the files of the keys, without a key. What there is of them stays.
func Make(path string) error {
	for _, file := range []string{path, path + CopySuffix} {
		switch _, err := os.Stat(file); {
		case err == nil:
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if err := durable.Write(file, bytes.NewReader(head[:]), nil); err != nil {
			return fmt.Errorf("make the file of the keys of mailboxes: %w", err)
		}
	}
	return nil
}

// OpenRing opens the files of the keys, makes them alike, and has the first of the operator's keys wrap all keys. The error wraps ErrLost where neither
// file is there. Nobody else may have them open.
func OpenRing(path string, o Options) (*Ring, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.step == nil {
		o.step = func(string) error { return nil }
	}
	r := &Ring{path: path, options: o, log: o.Logger, turn: make(chan struct{}, 1), keys: make(map[id]*mailboxKey), of: make(map[[sha256.Size]byte][]*mailboxKey)}
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return r, nil
}

// load reads the files, and brings them in order.
func (r *Ring) load() error {
	a, err := r.read(r.path)
	b, err2 := r.read(r.path + CopySuffix)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if a == nil && b == nil {
		return fmt.Errorf("%w: put it back from a backup", ErrLost)
	}
	var damaged []int
	r.image, damaged = merge(a, b, func(s *slot) bool {
		return slices.ContainsFunc(r.options.Wrappers, func(w Wrapper) bool { return w.ID == s.wrapper() })
	})
	if damaged != nil {
		r.log.Error("keys of mailboxes are damaged, and what they sealed cannot be read: put "+filepath.Base(r.path)+
			" back from a backup, leave the other file as it is, and restart", "file", r.path, "keys", len(damaged))
	}
	for _, one := range []struct {
		path string
		has  []slot
	}{{r.path, a}, {r.path + CopySuffix, b}} {
		if err := r.repair(one.path, one.has); err != nil {
			return err
		}
	}
	return r.rewrap()
}

// Health is what Examine found.
type Health struct {
	Missing []string // files that are not there, or damaged as a whole; where it is one, OpenRing makes it anew of the other
	Differs []string // files that lack what the other has, or of which a part is damaged; OpenRing makes both alike
	Damaged int      // keys that neither file has
	Locked  int      // keys that none of the operator's keys opens
}

// Examine looks at the files of the keys, which nobody has open, and changes nothing.
func Examine(path string, wrappers []Wrapper) (h Health, err error) {
	var both [2][]slot
	for i, file := range [...]string{path, path + CopySuffix} {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return h, err
		}
		if both[i] = parse(b); both[i] == nil {
			h.Missing = append(h.Missing, file)
		}
	}
	merged, damaged := merge(both[0], both[1], func(*slot) bool { return true })
	h.Damaged = len(damaged)
	for i := range merged {
		if s := &merged[i]; s.state() == stateLive && unwrap(s, wrappers) == nil {
			h.Locked++
		}
	}
	for i, file := range [...]string{path, path + CopySuffix} {
		differs := false
		for n := range merged {
			differs = differs || stale(merged, both[i], n)
		}
		if both[i] != nil && differs {
			h.Differs = append(h.Differs, file)
		}
	}
	return h, nil
}

func (r *Ring) read(path string) ([]slot, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	slots := parse(b)
	if slots == nil {
		r.log.Error("a file of the keys of mailboxes is damaged: the other one counts", "file", path)
	}
	return slots, nil
}

// stale reports whether a file that has these slots is to get slot i of the image: one that is damaged in both files stays as it is.
func stale(image, has []slot, i int) bool {
	return i >= len(has) || image[i] != has[i] && image[i].state() != 0
}

// repair has a file be as the image, as far as that is whole. has is what the file has.
func (r *Ring) repair(path string, has []slot) error {
	if has == nil {
		if err := r.options.step("create " + path); err != nil {
			return err
		}
		return durable.Write(path, bytes.NewReader(bytesOf(r.image)), r.options.step)
	}
	return r.write(path, func(write func(i int, s *slot) error) error {
		for i := range r.image {
			if stale(r.image, has, i) {
				if err := write(i, &r.image[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// rewrap has the first of the operator's keys wrap what another one has wrapped, and takes the keys into the ring.
func (r *Ring) rewrap() error {
	var anew []int
	var locked [][8]byte
	for i := range r.image {
		s := &r.image[i]
		if s.state() != stateLive {
			continue
		}
		k := unwrap(s, r.options.Wrappers)
		if k == nil {
			if !slices.Contains(locked, s.wrapper()) {
				locked = append(locked, s.wrapper())
			}
			continue
		}
		k.slot = i
		r.add(k)
		if w := &r.options.Wrappers[0]; s.wrapper() != w.ID {
			*s = k.wrap(w)
			anew = append(anew, i)
		}
	}
	for _, wrapper := range locked {
		r.log.Error("keys of mailboxes cannot be had, and what they sealed cannot be read: name the key of the operator that wraps them", "file", r.path,
			"key", fmt.Sprintf("%x", wrapper))
	}
	if anew == nil {
		return nil
	}
	// Each file by itself: one of them is always whole.
	for _, path := range []string{r.path, r.path + CopySuffix} {
		if err := r.write(path, func(write func(i int, s *slot) error) error {
			for _, i := range anew {
				if err := write(i, &r.image[i]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("wrap the keys of mailboxes anew: %w", err)
		}
	}
	r.log.Info("the keys of mailboxes are wrapped by another key now", "file", r.path, "keys", len(anew), "key", fmt.Sprintf("%x", r.options.Wrappers[0].ID))
	return nil
}

// writeBoth writes some slots of an image to both files, one after the other.
func (r *Ring) writeBoth(image []slot, from, to int) error {
	for _, path := range []string{r.path, r.path + CopySuffix} {
		if err := r.write(path, func(write func(i int, s *slot) error) error {
			for i := from; i < to; i++ {
				if err := write(i, &image[i]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// write writes slots of a file in their places, and syncs it if there were any.
func (r *Ring) write(path string, fill func(write func(i int, s *slot) error) error) (err error) {
	var f *os.File
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := fill(func(i int, s *slot) error {
		if err := r.options.step("write " + path); err != nil {
			return err
		}
		if f == nil {
			if f, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
				return err
			}
		}
		_, err := f.WriteAt(s[:], int64(i)*slotSize)
		return err
	}); err != nil || f == nil {
		return err
	}
	if err := r.options.step("sync " + path); err != nil {
		return err
	}
	return f.Sync()
}

func bytesOf(slots []slot) []byte {
	b := make([]byte, 0, len(slots)*slotSize)
	for i := range slots {
		b = append(b, slots[i][:]...)
	}
	return b
}

// Scrub returns the content of a file of keys without the keys that another content tells to be destroyed, and whether that changed anything. A content that
// is none of ours stays.
func Scrub(content, tells []byte) ([]byte, bool) {
	slots := parse(content)
	gone := make(map[id]bool)
	for _, s := range parse(tells) {
		if s.state() == stateDestroyed {
			gone[s.id()] = true
		}
	}
	changed := false
	for i := range slots {
		if s := &slots[i]; s.state() == stateLive && gone[s.id()] {
			*s = destroyed(s.id())
			changed = true
		}
	}
	if !changed {
		return content, false
	}
	return bytesOf(slots), true
}

// Merge returns the content of a file of keys with the keys that another content has besides, but for those that either tells to be destroyed. A content that
// is none of ours counts for nothing.
func Merge(content, other []byte) []byte {
	merged, _ := merge(parse(content), parse(other), func(*slot) bool { return true })
	return bytesOf(merged)
}
