package files

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"copialettere/journal/metrics"
)

// settleTime is how long a file must have been left alone before it is read anew: one that is written in place is not read half.
const settleTime = 5 * time.Second

// Watch keeps in force what the files hold. InForce may be called concurrently. A nil one has no files.
type Watch struct {
	sources Sources
	log     *slog.Logger
	files   []*watchedFile
	looked  time.Time // the last look
	inForce atomic.Pointer[Set]
}

// watchedFile is a file of which some state is in force. It belongs to whoever calls Look.
type watchedFile struct {
	source
	seen    fileState // of what was read last; nil where it is to be read at the next look, whatever it is
	extent  extent    // of what is in force
	problem string    // for which the file that is there is not in force; "" where it is
	time    *metrics.Gauge
	failing *metrics.Gauge
}

// Open reads the files. An error is that of the first one that cannot be used; without files, the watch is nil.
func Open(s Sources, m *metrics.Registry, log *slog.Logger) (*Watch, error) {
	w := &Watch{sources: s, log: log}
	files := new(Set)
	for _, named := range s.named() {
		f := &watchedFile{
			source: named,
			time: m.Gauge("copialettere_pec_file_timestamp_seconds",
				"When the file of [pec] that is in force was last modified, in seconds since 1970.", "file", named.key),
			failing: m.Gauge("copialettere_pec_file_failing",
				"1 while the file of [pec] that is there cannot be used, and an earlier state of it is in force.", "file", named.key),
		}
		state, err := f.stat(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		x, err := f.read(files, f.path)
		if err != nil {
			return nil, err
		}
		f.take(state, x, log)
		w.files = append(w.files, f)
	}
	if len(w.files) == 0 {
		return nil, nil
	}
	w.put(files)
	return w, nil
}

// put puts files into force, all at once.
func (w *Watch) put(files *Set) {
	files.verify(w.sources)
	for _, reason := range files.verifier.UnusedLists() {
		w.log.Warn("file of [pec] of no use", "detail", reason)
	}
	w.inForce.Store(files)
}

// InForce returns what is in force; nil where there are no files.
func (w *Watch) InForce() *Set {
	if w == nil {
		return nil
	}
	return w.inForce.Load()
}

// Look takes files into use whose time, size or inode is not that of the file that was read last. It has one caller at a time.
func (w *Watch) Look(now time.Time) {
	if w == nil {
		return
	}
	next, changed := *w.inForce.Load(), false
	for _, f := range w.files {
		changed = f.look(&next, now, w.log) || changed
	}
	if changed {
		w.put(&next)
	}
	for _, l := range w.inForce.Load().crls {
		if end := l.NextUpdate(); !end.After(now) && end.After(w.looked) {
			w.log.Warn("revocation list ran out, and no certificate is known to be good by it: put a new one in its place", "issuer", l.Issuer(), "end", end)
		}
	}
	w.looked = now
}

// look reads the file if it has changed, and reports whether there is something new in next.
func (f *watchedFile) look(next *Set, now time.Time, log *slog.Logger) bool {
	state, err := f.stat(f.path)
	if err != nil {
		f.fail(nil, fmt.Errorf("%s: %w", f.name, err), log)
		return false
	}
	if f.seen != nil && f.seen.same(state) || !state.settled(now) {
		return false
	}
	files := *next
	x, err := f.read(&files, f.path)
	if again, lookErr := f.stat(f.path); lookErr != nil || !state.same(again) {
		return false // it changed meanwhile: the next look will tell
	}
	if err == nil && x.shrunk(f.extent) {
		err = fmt.Errorf("%s, which is less than half of what is in force (%s): where that is right, restart the daemon", f.detail(x), f.extent.text)
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread {
		state = nil // what keeps it from being read need not show on the file
	}
	if err != nil {
		f.fail(state, err, log)
		return false
	}
	*next = files
	f.take(state, x, log)
	return true
}

// take notes that the file is in force.
func (f *watchedFile) take(state fileState, x extent, log *slog.Logger) {
	f.seen, f.extent, f.problem = state, x, ""
	f.time.Set(state.modified())
	f.failing.Set(0)
	log.Info("file of [pec] in force", "file", f.name, "detail", f.detail(x))
}

// fail notes that the file that is there is not in force, and says so once.
func (f *watchedFile) fail(state fileState, err error, log *slog.Logger) {
	f.seen = state
	f.failing.Set(1)
	if state == nil && f.problem == err.Error() {
		return
	}
	f.problem = err.Error()
	log.Error("file of [pec] cannot be used, what was read before stays in force: put a whole one in its place", "file", f.name, "error", err)
}
