package journal

import (
	"hash/maphash"
	"iter"

	"copialettere/journal/evidence"
)

// loggedPlaces is what a log has at its places, or at one part of them: about 26 bytes for each.
type loggedPlaces struct {
	seed  maphash.Seed
	part  uint64 // which part, from 0
	parts uint64 // how many parts there are

	folders []string
	numbers map[string]uint64 // of the folders
	at      map[uint64]logged // by number of the folder (32 bits) and UID
}

// logged is an entry as its log has it: whether it was seen in the store, whether it is put aside, and a hash of the SHA-256 of its stored value. The hash
// has a seed of its own in each verification, so nobody can make another value with the same one.
type logged uint64

const (
	loggedSeen  logged = 1 << 63
	loggedAside logged = 1 << 62
)

func newLoggedPlaces(parts uint64) *loggedPlaces {
	return &loggedPlaces{seed: maphash.MakeSeed(), parts: max(parts, 1), numbers: make(map[string]uint64), at: make(map[uint64]logged)}
}

// nextPart goes over to the next part, if there is one.
func (l *loggedPlaces) nextPart() bool {
	l.part++
	clear(l.at)
	return l.part < l.parts
}

// key returns the key of a place, and whether that is in the part.
func (l *loggedPlaces) key(p evidence.Place) (key uint64, here bool) {
	number, known := l.numbers[p.Folder]
	if !known {
		number = uint64(len(l.folders))
		l.numbers[p.Folder] = number
		l.folders = append(l.folders, p.Folder)
	}
	return number<<32 | uint64(p.UID), uint64(p.UID)%l.parts == l.part
}

// entry returns what an entry is as its log has it.
func (l *loggedPlaces) entry(value evidence.Hash, aside bool) logged {
	e := logged(maphash.Bytes(l.seed, value[:])) &^ (loggedSeen | loggedAside)
	if aside {
		e |= loggedAside
	}
	return e
}

// get returns what is at a place. here says whether that is in the part.
func (l *loggedPlaces) get(p evidence.Place) (e logged, there, here bool) {
	key, here := l.key(p)
	e, there = l.at[key]
	return e &^ loggedSeen, there, here
}

func (l *loggedPlaces) put(p evidence.Place, e logged) {
	if key, here := l.key(p); here {
		l.at[key] = e
	}
}

func (l *loggedPlaces) remove(p evidence.Place) {
	key, _ := l.key(p)
	delete(l.at, key)
}

// see notes that an entry was seen at a place, and says whether the log has it so, or the place is not in the part.
func (l *loggedPlaces) see(p evidence.Place, value evidence.Hash, aside bool) bool {
	key, here := l.key(p)
	if !here {
		return true
	}
	e, there := l.at[key]
	if !there || e&^loggedSeen != l.entry(value, aside) {
		return false
	}
	l.at[key] = e | loggedSeen
	return true
}

// unseen yields the places of the part at which nothing was seen.
func (l *loggedPlaces) unseen() iter.Seq[evidence.Place] {
	return func(yield func(evidence.Place) bool) {
		for key, e := range l.at {
			if e&loggedSeen == 0 && !yield(evidence.Place{Folder: l.folders[key>>32], UID: uint32(key)}) {
				return
			}
		}
	}
}
