package level

import (
	"slices"
	"strings"
	"time"
)

// Memory for all stores but the newest volume, in bytes unless noted. It is small, as hundreds of them may be open.
const (
	// oldWriteBuffer is the write buffer of the settings, and of at most maxGrown older volumes that are being written to.
	oldWriteBuffer = 2 << 20
	// restWriteBuffer is the write buffer of all other volumes. goleveldb allocates it when it opens a database.
	restWriteBuffer = 64 << 10
	maxGrown        = 4
	// These block caches, and openFiles, are for the stores that every delivery reads: the settings, the newest volume and the one before it. Of a volume
	// they hold the index and the filter of the tables in which deliveries look for their keys, so they fill as the month grows.
	settingsBlockCache = 2 << 20
	newestBlockCache   = 16 << 20
	previousBlockCache = 4 << 20
	openFiles          = 200 // tables
	// restBlockCache and restOpenFiles are for all other stores.
	restBlockCache = 128 << 10
	restOpenFiles  = 32 // tables
)

// mayGrow reports whether a store that is written to may take a larger buffer. If maxGrown others have one, it asks those that were not
// written to lately to give it back, so a later try may succeed.
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

// shrunk records that a store gave its larger buffer back.
func (e *Engine) shrunk(s *store) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.grown, s)
}

// makeRoom closes unused volumes if more than Options.MaxOpen are open.
func (e *Engine) makeRoom() {
	open := e.openVolumes()
	for _, s := range open[min(len(open), e.opts.KeepOpen):] {
		if len(open) <= e.opts.MaxOpen {
			return
		}
		s.closeIfIdle(idleCheck{since: time.Now().Add(-time.Second)})
	}
}

// openVolumes returns the volumes whose database is open, newest first.
func (e *Engine) openVolumes() []*store {
	open := slices.DeleteFunc(e.openStores(), func(s *store) bool { return s.name == settingsName })
	slices.SortFunc(open, func(a, b *store) int { return strings.Compare(b.name, a.name) })
	return open
}
