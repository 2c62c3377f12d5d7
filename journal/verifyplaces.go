package journal

import (
	"hash/maphash"
	"iter"

	"copialettere/journal/evidence"
)

// placePage is how many UIDs, one behind the other, are in memory together.
const placePage = 16

// loggedPlaces is what a log has at its places, or at one part of them: about 10 bytes for each UID.
type loggedPlaces struct {
	seed  maphash.Seed
	part  uint64 // which part, from 0
	parts uint64 // how many parts there are

	folders []string
	numbers map[string]uint64             // of the folders
	pages   map[uint64]*[placePage]logged // by number of the folder (32 bits) and UID, divided by placePage
}

// logged is an entry as its log has it: whether it was seen in the store, whether it is put aside, and a hash of the SHA-256 of its stored value. The hash
// has a seed of its own in each verification, so nobody can make another value with the same one.
type logged uint64

const (
	loggedSeen  logged = 1 << 63
	loggedAside logged = 1 << 62
	loggedThere logged = 1 << 61 // always set
)

func newLoggedPlaces(parts uint64) *loggedPlaces {
	return &loggedPlaces{seed: maphash.MakeSeed(), parts: max(parts, 1), numbers: make(map[string]uint64), pages: make(map[uint64]*[placePage]logged)}
}

// nextPart goes over to the next part, if there is one.
func (l *loggedPlaces) nextPart() bool {
	l.part++
	clear(l.pages)
	return l.part < l.parts
}

// at returns where a place is in memory, and whether it is in the part. It is nil where nothing was put near it, unless it is to be made.
func (l *loggedPlaces) at(p evidence.Place, create bool) (e *logged, here bool) {
	number, known := l.numbers[p.Folder]
	if !known {
		number = uint64(len(l.folders))
		l.numbers[p.Folder] = number
		l.folders = append(l.folders, p.Folder)
	}
	if uint64(p.UID/placePage)%l.parts != l.part {
		return nil, false
	}
	key := (number<<32 | uint64(p.UID)) / placePage
	page := l.pages[key]
	if page == nil {
		if !create {
			return nil, true
		}
		page = new([placePage]logged)
		l.pages[key] = page
	}
	return &page[p.UID%placePage], true
}

// entry returns what an entry is as its log has it.
func (l *loggedPlaces) entry(value evidence.Hash, aside bool) logged {
	e := logged(maphash.Bytes(l.seed, value[:]))&^(loggedSeen|loggedAside) | loggedThere
	if aside {
		e |= loggedAside
	}
	return e
}

// get returns what is at a place. here says whether that is in the part.
func (l *loggedPlaces) get(p evidence.Place) (e logged, there, here bool) {
	at, here := l.at(p, false)
	if at == nil {
		return 0, false, here
	}
	return *at &^ loggedSeen, *at != 0, true
}

func (l *loggedPlaces) put(p evidence.Place, e logged) {
	if at, here := l.at(p, true); here {
		*at = e
	}
}

func (l *loggedPlaces) remove(p evidence.Place) {
	if at, _ := l.at(p, false); at != nil {
		*at = 0
	}
}

// see notes that an entry was seen at a place, and says whether the log has it so, or the place is not in the part.
func (l *loggedPlaces) see(p evidence.Place, value evidence.Hash, aside bool) bool {
	at, here := l.at(p, false)
	if !here {
		return true
	}
	if at == nil || *at&^loggedSeen != l.entry(value, aside) {
		return false
	}
	*at |= loggedSeen
	return true
}

// unseen yields the places of the part at which nothing was seen.
func (l *loggedPlaces) unseen() iter.Seq[evidence.Place] {
	return func(yield func(evidence.Place) bool) {
		for key, page := range l.pages {
			first := key * placePage
			for i, e := range page {
				if e != 0 && e&loggedSeen == 0 && !yield(evidence.Place{Folder: l.folders[first>>32], UID: uint32(first) + uint32(i)}) {
					return
				}
			}
		}
	}
}
