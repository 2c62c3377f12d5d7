package level

import (
	"slices"
	"strings"
	"time"
)

// What the stores beside the newest volume may take in memory, in bytes: there can be hundreds of them.
const (
	// oldWriteBuffer is the write buffer of the settings, and of maxGrown of the older volumes that are being written to.
	oldWriteBuffer = 2 << 20
	// restWriteBuffer is that of all other volumes. goleveldb allocates it when a database is opened.
	restWriteBuffer = 64 << 10
	maxGrown        = 4
	// blockCache and openFiles are of the stores that every delivery reads: the settings, the newest volume and the one before it.
	blockCache = 2 << 20
	openFiles  = 200 // tables
	// restBlockCache and restOpenFiles are of all others.
	restBlockCache = 128 << 10
	restOpenFiles  = 32 // tables
)

// mayGrow says whether a store that is written to may take a large buffer. Where maxGrown others have theirs, those that were not written to
// lately are asked to give it back, for the next try.
func (e *Engine) mayGrow(s *store) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.grown) < maxGrown {
		e.grown[s] = true
		return true
	}
	for other := range e.grown {
		other.closeIfIdle(idleCheck{since: time.Now().Add(-time.Second), keep: true})
	}
	return false
}

// shrunk says that a store has no large buffer any more.
func (e *Engine) shrunk(s *store) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.grown, s)
}

// makeRoom has volumes closed that are not in use, when more are open than should be.
func (e *Engine) makeRoom() {
	open := e.openVolumes()
	for _, s := range open[min(len(open), e.opts.KeepOpen):] {
		if len(open) <= e.opts.MaxOpen {
			return
		}
		s.closeIfIdle(idleCheck{since: time.Now().Add(-time.Second)})
	}
}

// openVolumes returns the volumes whose database is open now, the newest first.
func (e *Engine) openVolumes() []*store {
	open := slices.DeleteFunc(e.openStores(), func(s *store) bool { return s.name == settingsName })
	slices.SortFunc(open, func(a, b *store) int { return strings.Compare(b.name, a.name) })
	return open
}
